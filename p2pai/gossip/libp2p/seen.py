"""Which gossip messages were seen already."""

from typing import Final

import trio

SEEN_FOR_S: Final = 120
"""Seconds at least for which a message is recognised when it comes again."""


class SeenMessages:
    """Message ids of the last minutes, in two generations so that forgetting is cheap."""

    def __init__(self) -> None:
        self._young: dict[bytes, None] = {}
        self._old: dict[bytes, None] = {}
        self._born = trio.current_time()

    def has(self, message_id: bytes) -> bool:
        """Tell whether the message was seen."""
        return message_id in self._young or message_id in self._old

    def add(self, message_id: bytes) -> None:
        """Remember a message for `SEEN_FOR_S` to twice as long."""
        if trio.current_time() - self._born > SEEN_FOR_S:
            self._old, self._young = self._young, {}
            self._born = trio.current_time()
        self._young[message_id] = None
