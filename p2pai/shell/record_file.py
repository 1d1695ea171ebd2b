"""The file of `p2pai start --record`: all that a node sees and is told, in all its lives.

Until the node serves, entries are written at once: a start may hand over more than there is memory for. From
then on they wait in memory for a thread that writes them; a disk that is too slow, or full, ends the
recording and not the node. When the node ends, whatever the reason, what still waits is written.

Source: docs/RECORDING.md; docs/adr/0038-recordings.md.
"""

import os
from contextlib import ExitStack
from dataclasses import replace
from io import RawIOBase
from pathlib import Path
from typing import Any, Final

import structlog
import trio

from p2pai.gossip import recording
from p2pai.gossip.recording import ENTRY_SIZE_MAX, LENGTH_SIZE, Holds, Reading, Recording, What
from p2pai.primitives.errors import InvalidInput, InvalidMessage
from p2pai.shell.files import open_new
from p2pai.shell.recorder import Feed, begun, stamped

WAITING_BYTES_MAX: Final = 64 << 20
"""Bytes waiting for the disk: a snapshot of a young chain, or a second of the busiest node."""

_PIECE_BYTES: Final = 1 << 16
_log = structlog.get_logger(__name__)


class RecordFile:
    """A file that entries are written to; `run` does."""

    def __init__(self, path: Path, head: Recording) -> None:
        """Open the file: a new one, or one of earlier lives of the same node, which is continued.

        Raises:
          InvalidInput: it is something else, or can't be written.
        """
        self._path = path
        self._feed = Feed(WAITING_BYTES_MAX)
        self._is_running = False
        whole = begun(head, (Holds.GOSSIP, Holds.INBOX))
        if path.exists():
            self._file = _continued(path, whole)
        else:
            self._file = open_new(path)
            self._put(recording.begin(whole))

    def write(self, what: What) -> None:
        """Note something with the time of now; never waits once `run` runs."""
        if self._feed.is_cut:
            return
        data = stamped(what)
        if len(data) > ENTRY_SIZE_MAX:
            self._end("an entry is larger than readers take")
        elif self._is_running:
            self._feed.put(data)
            if self._feed.is_cut:
                self._end("the disk can't keep up with it")
        else:
            self._put(data)

    async def run(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:  # noqa: ANN401
        """Write until cancelled."""
        self._is_running = True
        with ExitStack() as at_end:
            at_end.callback(self._file.close)
            at_end.callback(lambda: self._put(self._feed.rest()))
            task_status.started()
            while data := await self._feed.take():
                # What was taken is written, also when the node ends now.
                with trio.CancelScope(shield=True):
                    await trio.to_thread.run_sync(self._put, data)

    def _put(self, data: bytes) -> None:
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            self._end(error.strerror)

    def _end(self, reason: str | None) -> None:
        self._feed.is_cut = True
        _log.error("the recording ends", path=str(self._path), reason=reason)


def pieces(file: RawIOBase) -> Any:  # noqa: ANN401
    """Give a file's bytes piece by piece."""
    return iter(lambda: file.read(_PIECE_BYTES), b"")


def _continued(path: Path, head: Recording) -> RawIOBase:
    """Open a recording of earlier lives behind its last whole entry."""
    file = path.open("r+b", buffering=0)
    try:
        earlier = Reading(pieces(file)).head
        if replace(earlier, began_us=head.began_us) != head:
            raise InvalidInput(
                f"{path} is a recording of another node, or by another version; choose another file"
            )
        file.truncate(_whole_bytes(file))
        file.seek(0, os.SEEK_END)
    except InvalidMessage as error:
        file.close()
        raise InvalidInput(f"{path} exists, and {error}; choose another file") from error
    except BaseException:
        file.close()
        raise
    return file


def _whole_bytes(file: RawIOBase) -> int:
    """Return where the last whole frame ends."""
    size, end = file.seek(0, os.SEEK_END), 0
    while True:
        file.seek(end)
        after = end + LENGTH_SIZE + int.from_bytes(file.read(LENGTH_SIZE) or b"", "big")
        if after > size or end == size:
            return end
        end = after
