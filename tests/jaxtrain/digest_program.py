"""Train every kind of task a little and print a digest of each: of all states, message maps and metrics.

CARRIER=int8|float32|float64|auto  JIT=0  ONE_CORE=1  INEXACT=1 (a matrix product of the platform instead)
"""

import contextlib
import hashlib
import json
import os

if os.environ.get("ONE_CORE") == "1":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax
from kinds import KINDS, chunk_of, signs_of

from p2pai import jobs
from p2pai.chain.training import Numerics
from p2pai.jaxtrain import message_map
from p2pai.jaxtrain.exact import carrier
from p2pai.jaxtrain.session import Session, State
from p2pai.jaxtrain.worker import initial_values
from p2pai.primitives.ids import Hash32

SEED = Hash32(bytes(range(32)))
STEPS = int(os.environ.get("STEPS", "4"))


def train(task, steps=STEPS):
    """Return the digest of a few iterations, with peers' maps of other taus."""
    chunks = [chunk_of(task, i, samples=12 - i % 2) for i in range(3)]
    session, digest = Session(task, SEED, State(initial_values(task, SEED)), chunks), hashlib.sha256()
    for i in range(steps):
        peers = [jobs.PeerUpdate(9 + n, message_map.encode(signs_of(task, 10 * i + n))) for n in range(2)]
        _, outcome, end = session.step(jobs.Position(1 + i // 2, i, 8 + i % 2), i % 3, peers)
        metrics = outcome.score.bits(task.metrics)
        for part in (*session.state.blobs, outcome.message_map, repr((metrics, end)).encode()):
            digest.update(part)
    digest.update(repr(session.validate((0, 1)).bits(task.metrics)).encode())
    return digest.hexdigest()


def train_inexactly():
    """Return the digests of training whose matrix products are the platform's own."""
    from dataclasses import replace

    from p2pai.jaxtrain import native, operations

    exact = operations.exact
    operations.exact = lambda bits: replace(exact(bits), dot=native.dot)
    return {
        "dense": train(KINDS["dense"]),
        "native": train(replace(KINDS["dense"], numerics=Numerics.NATIVE)),
    }


def main():
    forced = os.environ.get("CARRIER", "auto")
    using = contextlib.nullcontext() if forced == "auto" else carrier.using(forced)
    jitted = jax.disable_jit() if os.environ.get("JIT") == "0" else contextlib.nullcontext()
    wanted = os.environ.get("KINDS", "")
    kinds = {name: task for name, task in KINDS.items() if wanted in ("", name)}
    with using, jitted:
        inexact = os.environ.get("INEXACT") == "1"
        print(
            json.dumps(train_inexactly() if inexact else {name: train(task) for name, task in kinds.items()})
        )


if __name__ == "__main__":
    main()
