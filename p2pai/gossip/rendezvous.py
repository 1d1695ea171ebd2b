"""Keys of the DHT under which nodes of one chain, one task, or one role in a task find each other.

A DHT keeps a provider's record for a day or two, and nothing in its protocol takes one back. So the key names
the hour too: who left a task isn't found any more when the next hour begins, whatever nodes keep the
records, and to own the place of a key in the DHT an attacker has to find new identities each hour.

Records for the next hour are put there before it begins, so looking up the present hour is enough, with
clocks a few minutes apart too.
"""

from dataclasses import dataclass
from typing import Final

from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Millis, TaskId

PERIOD_MS: Final = 3600 * 1000
"""Milliseconds for which a key holds."""

AHEAD_MS: Final = PERIOD_MS // 6
"""Milliseconds before a period's begin from which on its records are put; clocks may differ by as much."""

_SHA256_MULTIHASH: Final = b"\x12\x20"


@dataclass(frozen=True, slots=True)
class Meeting:
    """What nodes meet for."""

    chain: str
    """First digits of the chain's id, as in topics."""
    task: TaskId | None = None
    """A task that they follow; None for the whole chain."""
    role: str = ""
    """What they do for the task; empty for whoever follows it."""


def current_key(meeting: Meeting, now_ms: Millis) -> bytes:
    """Return the key to look up now, a multihash."""
    return _key(meeting, now_ms // PERIOD_MS)


def provided_keys(meeting: Meeting, now_ms: Millis) -> tuple[bytes, ...]:
    """Return the keys under which to be found now: the present one, and when it is time the next."""
    return tuple(
        _key(meeting, period)
        for period in dict.fromkeys((now_ms // PERIOD_MS, (now_ms + AHEAD_MS) // PERIOD_MS))
    )


def _key(meeting: Meeting, period: int) -> bytes:
    scope = meeting.task.hex() if meeting.task else "chain"
    text = f"{meeting.chain}/{scope}/{meeting.role}/{period}"
    return _SHA256_MULTIHASH + tagged_hash("p2pai/providers", text.encode())
