"""What waits to be written to one gossip remote: bounded in bytes, sent in bursts, by one writer.

The stock queue holds 32 RPCs whatever their size, and other tasks write beside it, which tears frames apart.
Here everything goes through one queue, and a burst of small messages leaves as one write.
"""

from collections import deque
from typing import Final

import trio

from p2pai.gossip.allowance import Pool, Share

DATA_SIZE_MAX: Final = 4 << 20
"""Bytes of messages that may wait for one remote; beyond it they are dropped, and counted."""

CONTROL_SIZE_MAX: Final = DATA_SIZE_MAX + (1 << 20)
"""Bytes in all at which control messages are dropped too."""

BURST_SIZE: Final = 64 << 10
"""Bytes after which a burst is long enough; about one frame of the layers below."""


class Outbox:
    """A queue of encoded frames with one consumer."""

    def __init__(self, share: Share | None = None) -> None:
        """Begin empty; `share` is the memory that it may use."""
        self._frames: deque[bytes] = deque()
        self._share = share or Share(Pool(CONTROL_SIZE_MAX), own=0, size_max=DATA_SIZE_MAX)
        self._closed = False
        self._wake = trio.Event()
        self.dropped = 0
        """Frames refused because the remote reads too slowly."""

    def push(self, frame: bytes, *, control: bool = False) -> bool:
        """Append a frame; False when there is no room for it."""
        extra = CONTROL_SIZE_MAX - DATA_SIZE_MAX if control else 0
        if self._closed or not self._share.take(len(frame), extra):
            self.dropped += 1
            return False
        self._frames.append(frame)
        self._wake.set()
        return True

    async def pop(self) -> bytes | None:
        """Wait for frames and return a burst of them, oldest first; None once closed."""
        while not self._frames:
            if self._closed:
                return None
            self._wake = trio.Event()
            await self._wake.wait()
        burst = [self._frames.popleft()]
        size = len(burst[0])
        while self._frames and size + len(self._frames[0]) <= BURST_SIZE:
            burst.append(self._frames.popleft())
            size += len(burst[-1])
        self._share.give_back(size)
        return b"".join(burst)

    def close(self) -> None:
        """Refuse more frames, forget those that wait and let the consumer end."""
        self._closed = True
        self._frames.clear()
        self._share.give_back(self._share.held)
        self._wake.set()
