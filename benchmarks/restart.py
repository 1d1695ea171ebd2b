"""How long a node with a long chain takes to start, and what it needs of memory and disk.

    python -m benchmarks.restart [--blocks 100000]

The blocks above the snapshot are real and connected again, as at any start. Those below are synthetic:
well-formed rows of a typical size that a start doesn't read; making them really would take hours of mining.

The floor is what SQLite and SHA-256 take to read those rows that a start does read.
"""

import argparse
import hashlib
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from p2pai.chain import snapshot
from p2pai.chain.snapshot import snapshot_id
from p2pai.effects import StoreBlock, StoreSnapshot
from p2pai.primitives.hashing import tagged_hash
from p2pai.shell.store import Store
from tests.node.parts import stored
from tests.node.test_keeping import voted

BODY_BYTES = 5_000
"""Of a synthetic block: a work proof and a few transactions."""

TOGETHER = 1_000
MIB = 1 << 20

START = """
import resource, sys, time
from pathlib import Path
from p2pai.node.core import NodeCore
from p2pai.primitives.ids import PeerId
from p2pai.shell.store import Store
from tests.chain.ledger import keys
from tests.node.test_keeping import SPEC
from p2pai.chain.snapshot import snapshot_id
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
store = Store.open(Path(sys.argv[1]))
core = NodeCore(SPEC, keys(7), PeerId("peer7"), ("peer",), store.archive)
core.handle(store.started(), 1_780_000_000_000)
seconds = time.perf_counter() - start
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(seconds, before, after, core.state.height, snapshot_id(core.state).hex())
"""


def fill(directory: Path, count: int) -> None:
    """Write `count` synthetic final blocks below a snapshot, and the real ones above it."""
    chain = voted()
    root = chain.state.checkpoint.height
    real = stored(chain.blocks)
    # Heights of the synthetic ones lie below zero: they fill the same tables and indexes.
    with closing(Store.open(directory)) as store:
        for first in range(0, count, TOGETHER):
            numbers = range(first, first + TOGETHER)
            names = [tagged_hash("p2pai/benchmark", n.to_bytes(8, "big")) for n in numbers]
            blocks = [
                StoreBlock(0, name, n - count, name * (BODY_BYTES // 32))
                for n, name in zip(numbers, names, strict=True)
            ]
            final = StoreSnapshot(0, first + TOGETHER - 1 - count, b"", tuple(names))
            store.write_all([*blocks, final])
        hashes = tuple(block.hash for block in chain.blocks[:root])
        body = snapshot.encode(chain.state_at(root))
        store.write_all([*real, StoreSnapshot(0, root, body, hashes)])


def read_floor(directory: Path) -> float:
    """Return the seconds that SQLite and SHA-256 take over what a start reads."""
    start = time.perf_counter()
    with closing(sqlite3.connect(directory / "journal.db")) as file:
        (top, body) = file.execute("SELECT height, body FROM snapshot ORDER BY height DESC").fetchone()
        hashlib.sha256(body).digest()
        for (block,) in file.execute("SELECT body FROM block WHERE height > ? ORDER BY arrival", (top,)):
            hashlib.sha256(block).digest()
    return time.perf_counter() - start


def read_all(directory: Path) -> tuple[float, int]:
    """Return the seconds that the same takes over all blocks, and their bytes."""
    start, size = time.perf_counter(), 0
    with closing(sqlite3.connect(directory / "journal.db")) as file:
        for (block,) in file.execute("SELECT body FROM block ORDER BY arrival"):
            hashlib.sha256(block).digest()
            size += len(block)
    return time.perf_counter() - start, size


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--blocks", type=int, default=100_000)
    count = parser.parse_args().blocks
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        fill(directory, count)
        size = (directory / "journal.db").stat().st_size
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-c", START, made], capture_output=True, text=True, check=True, env=os.environ
        )
        seconds, before, after, height, state = done.stdout.split()
        assert state == snapshot_id(voted().state).hex(), "the node is in another state"
        whole, whole_bytes = read_all(directory)
        print(f"{count:,} synthetic final blocks of {BODY_BYTES:,} bytes; {height} real ones, above")
        print(f"database {size / MIB:,.0f} MiB")
        print(f"start {float(seconds) * 1e3:,.0f} ms (goal 10,000 ms)")
        print(f"floor {read_floor(directory) * 1e3:,.1f} ms: SQLite and SHA-256 over what a start reads")
        print(
            f"all blocks read {whole * 1e3:,.0f} ms, {whole_bytes / MIB:,.0f} MiB: what a start leaves undone"
        )
        print(f"memory at most {int(before) / 1024:,.0f} MiB before, {int(after) / 1024:,.0f} MiB after")


if __name__ == "__main__":
    main()
