"""A fetch whose process is killed goes on where it stopped; a large blob needs little memory.

Real processes, and a wire that counts what goes over it.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from gossip_lab import Node, Start, until

from p2pai.primitives import merkle
from p2pai.primitives.ids import BlobId
from p2pai.shell.blobs import BlobStore

CHUNK = 1 << 20


class Wire:
    """A relay of TCP that counts the bytes coming from the far end."""

    def __init__(self) -> None:
        self.size = 0

    async def run(self, target: tuple[str, int], task_status: trio.TaskStatus[int]) -> None:
        async def relay(near: trio.SocketStream) -> None:
            far = await trio.open_tcp_stream(*target)
            async with near, far, trio.open_nursery() as nursery:
                nursery.start_soon(self._copy, near, far, False)
                await self._copy(far, near, True)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, relay, 0, host="127.0.0.1"))
            task_status.started(listeners[0].socket.getsockname()[1])

    async def _copy(self, source: trio.SocketStream, sink: trio.SocketStream, counts: bool) -> None:  # noqa: FBT001
        try:
            async for data in source:
                self.size += len(data) if counts else 0
                await sink.send_all(data)
        except trio.BrokenResourceError:
            return


def chunks(count: int) -> list[bytes]:
    return [number.to_bytes(8, "big") * (CHUNK // 8) for number in range(count)]


@contextmanager
def child(directory: Path, address: str, blob: BlobId) -> Iterator[subprocess.Popen[bytes]]:
    """Run a fetcher; it is killed at the end."""
    directory.mkdir(exist_ok=True)
    here = Path(__file__).parent
    process = subprocess.Popen(
        [sys.executable, str(here / "fetcher.py"), str(directory), address, blob.hex()],
        env={**os.environ, "PYTHONPATH": f"{here.parents[2]}:{here}"},
        stdout=subprocess.PIPE,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def stored(directory: Path) -> int:
    return sum(1 for _ in (directory / "blobs" / "chunks").glob("??/*"))


async def ended(process: subprocess.Popen[bytes], timeout_s: float) -> int:
    await until(lambda: process.poll() is not None, timeout_s)
    return int(process.returncode)


async def relayed(holder: Node, wire: Wire, nursery: trio.Nursery) -> str:
    """Return an address of the holder that leads over the wire."""
    parts = holder.network.addresses[0].split("/")
    port = await nursery.start(wire.run, ("127.0.0.1", int(parts[4])))
    parts[4] = str(port)
    return "/".join(parts)


@pytest.mark.trio
async def test_a_killed_fetch_goes_on_where_it_stopped(
    start: Start, tmp_path: Path, nursery: trio.Nursery
) -> None:
    count = 96
    holder, wire = await start("h"), Wire()
    blob = holder.seen.share(chunks(count))
    address = await relayed(holder, wire, nursery)
    directory = tmp_path / "fetcher"
    with child(directory, address, blob):
        await until(lambda: stored(directory) >= count // 3, 30)
    here = stored(directory)
    assert count // 3 <= here < count, "it was killed in the middle"
    with child(directory, address, blob) as second:
        assert await ended(second, 60) == 0
    store = BlobStore(directory / "blobs")
    assert b"".join(store.get(blob)) == b"".join(chunks(count))
    assert store.begun(blob) is None
    assert wire.size <= 1.1 * count * CHUNK, f"{wire.size / CHUNK:.1f} MiB for {count}"
    print(f"{here} of {count} chunks at the kill; {wire.size / CHUNK:.2f} MiB on the wire")


class Large(Sequence[bytes]):
    """Chunks of a blob that is never whole in memory."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> bytes:  # type: ignore[override]
        if not 0 <= index < self._count:
            raise IndexError
        return index.to_bytes(8, "big") * (CHUNK // 8)


@pytest.mark.slow
@pytest.mark.trio
async def test_a_large_blob_needs_little_memory(start: Start, tmp_path: Path) -> None:
    large, holder = Large(256), await start("h")
    leaves = tuple(map(merkle.leaf_hash, large))
    blob = BlobId(merkle.root(leaves))
    holder.seen.manifests[blob] = leaves
    holder.seen.chunk = lambda _, index: large[index]  # type: ignore[method-assign]
    with child(tmp_path / "fetcher", holder.network.addresses[0], blob) as fetcher:
        assert await ended(fetcher, 120) == 0
        assert fetcher.stdout is not None
        grown = int(fetcher.stdout.read().splitlines()[-1])
    assert BlobStore(tmp_path / "fetcher" / "blobs").size_bytes(blob) == 256 * CHUNK
    print(f"memory grew by {grown / CHUNK:.0f} MiB")
    assert grown < 64 * CHUNK
