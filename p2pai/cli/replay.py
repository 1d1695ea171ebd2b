"""`p2pai replay`: recompute the training iteration that earned a block, and compare every value.

Nothing is taken on trust: the trainer loads the capsule (weights, residual, batch, peers' updates) from the
data directory by content id, runs the iteration, and the outcome is held against what the block's certified
message recorded, bit for bit. Two engines can do it, written independently of each other: that which trains
(JAX), and one that only replays (NumPy).

Source: PROTOCOL section 8.
"""

import time
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import trio
import typer

from p2pai import jobs
from p2pai.cli import options, screen
from p2pai.cli.access import Source, reader
from p2pai.primitives import record
from p2pai.primitives.errors import Unavailable
from p2pai.primitives.ids import BlobId, Hash32
from p2pai.shell.blobs import BlobStore
from p2pai.shell.config import BLOBS_NAME
from p2pai.shell.trainer import Trainer

JOB_SIZE_MAX: Final = 16 << 20
"""Bytes of a replay job: the peers' message maps are most of it."""


class Engine(StrEnum):
    """What recomputes; the same names as shell/trainer.ENGINES."""

    JAX = "jax"
    NUMPY = "numpy"


def replay(
    block: Annotated[
        str, typer.Argument(metavar="BLOCK", help="A height, or the beginning of a block's hash.")
    ],
    *,
    engine: Annotated[
        Engine, typer.Option(help="What recomputes: the code that trains, or the independent replayer.")
    ] = Engine.JAX,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """Recompute a block's lucky iteration from its capsule; exit status 0 only if it is identical."""
    directory = options.expand(data_dir)
    answer = run(reader(directory), directory, block, engine)
    if as_json:
        screen.show_json(answer)
    elif answer["identical"]:
        screen.show_line(f"identical: {_place(answer)}, recomputed by {engine} in {answer['seconds']} s")
    else:
        screen.show_line(f"different: {_place(answer)}, recomputed by {engine}: {answer['difference']}")
    if not answer["identical"]:
        raise typer.Exit(1)


def run(source: Source, directory: Path, block: str, engine: Engine = Engine.JAX) -> dict[str, Any]:
    """Replay a block and say what came of it.

    Raises:
      Unavailable: the capsule isn't in this data directory, or the trainer could not run it.
    """
    parts = source.call("replay.job", {"block": block})["parts"]
    applied = _read_blob(directory, parts["applied"], block)
    asked = source.call("replay.job", {"block": block, "applied": applied.hex()})
    job: jobs.Replay = record.decode_tagged(jobs.Job, bytes.fromhex(asked["job"]), size_max=JOB_SIZE_MAX)
    start_s = time.monotonic()
    result = trio.run(partial(_recompute, directory, job, engine))
    if isinstance(result, jobs.Failed):
        raise _no_capsule(directory, block, result.reason)
    assert isinstance(result, jobs.Replayed), result
    verdict = source.call("replay.verdict", {"block": block, "replayed": record.encode(result).hex()})
    difference = str(verdict["reason"])
    return {
        **{key: asked[key] for key in ("block", "task", "iteration", "recorded_nonce")},
        "engine": engine.value,
        "identical": not difference,
        "difference": difference,
        "seconds": round(time.monotonic() - start_s, 2),
    }


def _read_blob(directory: Path, blob: str, block: str) -> bytes:
    try:
        return b"".join(BlobStore(directory / BLOBS_NAME).get(BlobId(Hash32(bytes.fromhex(blob)))))
    except Unavailable as error:
        raise _no_capsule(directory, block, str(error)) from error


def _no_capsule(directory: Path, block: str, reason: str) -> Unavailable:
    return Unavailable(
        f"block {block} can't be replayed from {directory}: {reason}; "
        "verifiers keep capsules, so name a verifier's --data-dir"
    )


async def _recompute(directory: Path, job: jobs.Replay, engine: Engine) -> jobs.Result:
    async with Trainer(directory, directory / BLOBS_NAME, engine=engine) as trainer:
        return await trainer.run(job)


def _place(answer: dict[str, Any]) -> str:
    return f"block {screen.short(answer['block'])}, iteration {answer['iteration']}"
