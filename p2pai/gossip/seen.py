"""Message ids of the last minutes, in two generations so that forgetting is cheap.

Bounded in count and, since ids are bounded in size by whoever reads them, in bytes: a flood of new messages
makes the older generation go early, and nothing else.
"""

from typing import Final

SEEN_FOR_S: Final = 120
"""Seconds at least for which a message is recognised when it comes again, but for a flood."""

GENERATION_COUNT_MAX: Final = 65_536
"""Ids in one generation: 120 s of 546 new messages a second; about 10 MiB, so 20 MiB in all."""


class SeenMessages:
    """What was seen, for `SEEN_FOR_S` to twice as long."""

    def __init__(self, now_s: float) -> None:
        self._young: dict[bytes, None] = {}
        self._old: dict[bytes, None] = {}
        self._born_s = now_s

    def has(self, message_id: bytes) -> bool:
        """Tell whether the message was seen."""
        return message_id in self._young or message_id in self._old

    def add(self, message_id: bytes, now_s: float) -> None:
        """Remember a message."""
        if now_s - self._born_s > SEEN_FOR_S or len(self._young) >= GENERATION_COUNT_MAX:
            self._old, self._young = self._young, {}
            self._born_s = now_s
        self._young[message_id] = None

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
