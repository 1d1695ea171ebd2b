"""`p2pai chain` and `p2pai supply`: the chain as a whole, and where its money is."""

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import RenderableType

from p2pai.cli import options, screen
from p2pai.cli.access import reader
from p2pai.primitives.errors import InvalidInput

app = typer.Typer(no_args_is_help=True, help="Look at the chain as a whole; take it out, in, and check it.")

PIPE: Final = Path("-")
TOLD_S: Final = 5.0
"""Between two lines of progress."""


@app.command("status")
def status(*, data_dir: options.DataDir = options.DATA_DIR_DEFAULT, as_json: options.AsJson = False) -> None:
    """Show tip, weight, checkpoint, next target, tickets by role, side branches and mempool."""
    answer = reader(options.expand(data_dir)).call("chain.status", {})
    if as_json:
        screen.show_json(answer)
    else:
        screen.show(render_status(answer))


@app.command("export")
def export_blocks(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; - is standard output.")],
    *,
    first: Annotated[int, typer.Option("--from", min=1, help="Height of the first block.")] = 1,
    last: Annotated[
        int | None, typer.Option("--to", min=1, help="Height of the last block; else the tip.")
    ] = None,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
) -> None:
    """Write the blocks of the best chain to a file; a node may be running."""
    from p2pai.shell import chain_file
    from p2pai.shell.chain_disk import Disk
    from p2pai.shell.files import replacing

    disk = Disk(options.expand(data_dir))
    top = disk.state.height if last is None else last
    if disk.state.height == 0:
        raise InvalidInput("the chain has no block yet but genesis, which every node knows")
    if not first <= top <= disk.state.height:
        raise InvalidInput(f"the chain has blocks 1 to {disk.state.height}, not {first} to {top}")
    try:
        with nullcontext(sys.stdout.buffer) if file == PIPE else replacing(file) as stream:
            count = chain_file.write(stream, disk.spec.id, disk.blocks(first, top))
    except OSError as error:
        raise InvalidInput(f"{file} can't be written: {error.strerror}") from error
    if file != PIPE:
        screen.show_line(f"{count} blocks, height {first} to {top}, are in {file}")


@app.command("import")
def import_blocks(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Made by export; - is standard input.")],
    *,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
) -> None:
    """Take the blocks of a file into a node that is stopped, each with all checks."""
    from p2pai.shell.chain_disk import Imported, take_in

    done, progress = Imported(), _Progress()
    try:
        source = nullcontext(sys.stdin.buffer) if file == PIPE else file.open("rb")
    except OSError as error:
        raise InvalidInput(f"{file} can't be read: {error.strerror}") from error
    try:
        with source as stream:
            take_in(options.expand(data_dir), stream, done, progress)
    finally:
        if done.new or done.known:
            screen.show_line(
                f"{done.new} new blocks, {done.known} known before; the chain is at height {done.height}"
            )


@app.command("verify")
def verify(*, data_dir: options.DataDir = options.DATA_DIR_DEFAULT, as_json: options.AsJson = False) -> None:
    """Check the whole chain on disk again from genesis: signatures, work proofs, all rules, the state."""
    from p2pai.shell import chain_disk

    progress = _Progress()
    found = chain_disk.verify(chain_disk.Disk(options.expand(data_dir)), progress)
    speed = round(found.blocks / max(progress.seconds, 0.001))
    answer = {
        "blocks": found.blocks,
        "checkpoints": found.checkpoints,
        "state": found.snapshot.hex(),
        "blocks_per_s": speed,
    }
    if as_json:
        screen.show_json(answer)
        return
    screen.show_line(f"{found.blocks} blocks are valid and lead to the state {found.snapshot.hex()}")
    screen.show_line(f"{found.checkpoints} snapshots agree; {speed} blocks per second")


class _Progress:
    """Tells the height on standard error, every few seconds."""

    def __init__(self) -> None:
        self._began = self._told = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def __call__(self, height: int) -> None:
        """Hear of a height."""
        if time.monotonic() - self._told >= TOLD_S:
            self._told = time.monotonic()
            screen.remark(f"height {height}, {self.seconds:.0f} s")


def supply(*, data_dir: options.DataDir = options.DATA_DIR_DEFAULT, as_json: options.AsJson = False) -> None:
    """Show where all coins are, and whether every atom issued is accounted for."""
    answer = reader(options.expand(data_dir)).call("supply", {})
    if as_json:
        screen.show_json(answer)
    else:
        screen.show(render_supply(answer))


def render_status(answer: dict[str, Any]) -> RenderableType:
    """Show an answer of `chain.status`."""
    checkpoint, pool = answer["checkpoint"], answer["mempool"]
    rate = pool["fee_rate_min"]
    side = [f"{branch['tip']} at height {branch['height']}" for branch in answer["side_branches"]]
    facts = [
        ("Chain", f"{answer['chain']}, {answer['chain_id']}"),
        ("Height", answer["height"]),
        ("Tip", answer["tip"]),
        ("Time of the tip", screen.moment(answer["time"])),
        ("Weight", f"{answer['weight']} expected hashes, approved"),
        ("Last checkpoint", f"height {checkpoint['height']}, block {checkpoint['block']}"),
        ("Its snapshot", checkpoint["snapshot"]),
        ("Next target", f"{answer['next_bits']}, {answer['next_work']} expected hashes"),
        ("Ticket price", screen.coins(answer["ticket_price"])),
        ("Side branches", "\n".join(side) or "none"),
        ("Mempool", f"{pool['count']} transactions, {pool['bytes']} bytes"),
        ("Least fee rate", f"{rate} atom{'' if rate == 1 else 's'} per byte"),
    ]
    stages = ("live", "immature", "working", "expired")
    rows = [(row["role"], *(row[stage] for stage in stages)) for row in answer["tickets"]]
    return screen.stack(
        screen.facts(facts), screen.table(("tickets", *(f"{stage}>" for stage in stages)), rows)
    )


def render_supply(answer: dict[str, Any]) -> RenderableType:
    """Show an answer of `supply`."""
    staked = answer["staked_by_tickets"] + answer["staked_by_tasks"]
    balance = "issued - burned = unspent" if answer["holds"] else "NO: issued - burned is not unspent"
    return screen.facts(
        [
            ("At height", answer["height"]),
            ("Genesis", screen.coins(answer["genesis"])),
            ("Subsidies", screen.coins(answer["subsidies"])),
            ("Issued", screen.coins(answer["issued"])),
            ("Burned", screen.coins(answer["burned"] - answer["captured"])),
            ("Captured of stakes", f"{screen.coins(answer['captured'])}, to be paid when their tasks end"),
            ("Unspent", screen.coins(answer["unspent"])),
            ("  staked by tickets", screen.coins(answer["staked_by_tickets"])),
            ("  staked by tasks", screen.coins(answer["staked_by_tasks"])),
            ("  free", screen.coins(answer["unspent"] - staked)),
            ("Holds", balance),
        ]
    )
