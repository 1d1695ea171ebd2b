"""The file of `p2pai start --record`: written while the node runs, continued by its next life."""

from dataclasses import replace

import pytest
import trio
from recordings import OTHER, birth, head, written
from test_rpc import BUSY_S

from p2pai.gossip.recording import Found, Holds, Place, Reading
from p2pai.gossip.sightings import Closed, Opened
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import PeerId
from p2pai.shell import record_file
from p2pai.shell.record_file import RecordFile

HEAD = head(birth=birth())


async def live(path, *seen, head=HEAD):
    """Record one life."""
    with trio.fail_after(BUSY_S):
        async with trio.open_nursery() as nursery:
            file = RecordFile(path, head)
            for what in seen[:1]:
                file.write(what)
            await nursery.start(file.run)
            for what in seen[1:]:
                file.write(what)
            nursery.cancel_scope.cancel()
    return file


def read(path):
    reading = Reading([path.read_bytes()])
    return [entry.what for entry in reading], reading


async def test_what_waits_is_written_at_the_end(tmp_path):
    await live(tmp_path / "f", Opened(OTHER))
    found, reading = read(tmp_path / "f")
    assert found == [Opened(OTHER)]
    assert reading.head.holds == (Holds.GOSSIP, Holds.INBOX)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600


async def test_the_next_life_goes_on_behind_the_last_whole_entry(tmp_path):
    path = tmp_path / "f"
    await live(path, Opened(OTHER), Closed(OTHER))
    path.write_bytes(path.read_bytes()[:-3])
    await live(path, Opened(OTHER))
    assert read(path)[0] == [Opened(OTHER), Opened(OTHER)]


async def test_a_file_with_nothing_but_a_head_is_continued(tmp_path):
    await live(tmp_path / "f")
    await live(tmp_path / "f", Closed(OTHER))
    assert read(tmp_path / "f")[0] == [Closed(OTHER)]


@pytest.mark.parametrize("contents", [b"", b"my notes", written()])
def test_other_files_are_left_alone(tmp_path, contents):
    path = tmp_path / "f"
    path.write_bytes(contents)
    with pytest.raises(InvalidInput, match="choose another file"):
        RecordFile(path, HEAD)
    assert path.read_bytes() == contents


async def test_another_nodes_recording_is_left_alone(tmp_path):
    await live(tmp_path / "f")
    with pytest.raises(InvalidInput, match="of another node"):
        RecordFile(tmp_path / "f", replace(HEAD, peer=PeerId("12D3KooWx")))


async def test_a_full_disk_ends_the_recording_and_nothing_else(tmp_path):
    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    with trio.fail_after(BUSY_S):
        async with trio.open_nursery() as nursery:
            file = RecordFile(tmp_path / "f", HEAD)
            file._file.close()
            file._file = Full()
            await nursery.start(file.run)
            file.write(Opened(OTHER))
        file.write(Opened(OTHER))
    assert not file._feed.rest()


async def test_a_disk_that_is_too_slow_ends_it_too(tmp_path, monkeypatch):
    monkeypatch.setattr(record_file, "WAITING_BYTES_MAX", 100_000)
    with trio.fail_after(BUSY_S):
        async with trio.open_nursery() as nursery:
            file = RecordFile(tmp_path / "f", HEAD)
            await nursery.start(file.run)
            for _ in range(3000):
                file.write(Opened(OTHER))
    found, reading = read(tmp_path / "f")
    assert 0 < len(found) < 3000
    assert reading.cut_bytes == 0


async def test_a_start_may_hand_over_more_than_waits_for_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(record_file, "WAITING_BYTES_MAX", 10_000)
    parts = [Found(Place.BLOCK, bytes(9_000)) for _ in range(5)]
    with trio.fail_after(BUSY_S):
        async with trio.open_nursery() as nursery:
            file = RecordFile(tmp_path / "f", HEAD)
            for part in parts:
                file.write(part)
            await nursery.start(file.run)
            nursery.cancel_scope.cancel()
    assert read(tmp_path / "f")[0] == parts


async def test_an_entry_that_nobody_could_read_ends_it(tmp_path, monkeypatch):
    monkeypatch.setattr(record_file, "ENTRY_SIZE_MAX", 100)
    await live(tmp_path / "f", Opened(OTHER), Found(Place.BLOCK, bytes(200)), Closed(OTHER))
    assert read(tmp_path / "f")[0] == [Opened(OTHER)]
