"""What each remote's behaviour has earned it, and what follows: no mesh, no ear, no connection.

Every offence has points and a cap. Points of all offences are summed, each kind up to its cap; first
deliveries of good messages earn a little credit. Both fade with a half-life, so who stops offending is
forgiven. Only what no honest node does can reach `BANNED_AT`: what an overloaded, lossy or paused honest
node may do as well is capped above it, so it costs a place in the mesh and never the connection.

Nobody is blamed for a message that he couldn't judge: what the core answers with IGNORE (a block whose parent
we lack, a task we don't follow, a message that came late) costs nothing here, only tokens of the rate. REJECT
is kept for what breaks a rule. Whoever says such a thing himself, or passes on what its envelope alone shows
to be false, is fully to blame. Whoever passes on another's message that only a node with the chain can tell
to be false is blamed too, since nodes judge before they forward, but never banned for it: a listener has no
chain, and an author could have it banned by spoiling his own messages. What turns out false later (a block
that doesn't replay) is the author's, and is settled on chain.

The library's own scorer stays off: it mutes this node itself after an own message that fails, and leaves bad
remotes in the mesh.

Source: libp2p specs, gossipsub v1.1, "Peer Scoring" (P2, P4, P6, P7); RELIABILITY (4), I15.
"""

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Final

HALF_LIFE_S: Final = 60
"""Seconds in which a counter falls to half when nothing is added; up to 87 when something is, each second."""

UNWANTED_AT: Final = -20
IGNORED_AT: Final = -70
BANNED_AT: Final = -100
"""Scores from which a remote is kept out of the mesh; no longer listened to; disconnected and refused."""

SOFT_CAP: Final = 60
"""Points at most from all that an honest node under loss may be charged with: it is never banned for it."""

CREDIT_MAX: Final = 20
"""Points that good deliveries earn at most: two small offences, and never a large one."""

DELIVERIES_PER_POINT: Final = 4

BAN_S: Final = 60
BAN_S_MAX: Final = 3600
"""Seconds of a first ban, doubled by each further one, and of the longest."""

REMEMBERED_MAX: Final = 4096
"""Remotes with a record, and bans, at a time; the record untouched for longest is forgotten first."""

COLOCATED_FREE: Final = 4
"""Remotes of one network group (/24, /48) that cost nothing; each beyond costs all of them."""

COLOCATION_POINTS: Final = 2
"""Times the square of how many there are beyond `COLOCATED_FREE`."""

_MILLI: Final = 1000


class Offence(Enum):
    """What is held against a remote: name, points, and whether an honest one under loss may do it."""

    FORGED = ("forged", 30, False)
    """A message whose author did not sign it; every libp2p node checks that before it forwards."""
    REJECTED = ("rejected", 15, False)
    """A message that breaks a rule: his own, or one whose envelope alone shows it."""
    PASSED_ON = ("passed on", 15, True)
    """Somebody else's message that breaks a rule, which only who follows the chain can tell."""
    MALFORMED = ("malformed", 35, False)
    """Bytes that are no frame of the protocol, or a longer one than it has."""
    CRUMBS = ("crumbs", 35, False)
    """A frame with more entries than any frame of ours has."""
    FLOOD = ("flood", 15, False)
    """One second for which our reader had to wait, for what the remote sent beyond its rate."""
    STREAMS = ("streams", 5, False)
    """A stream beyond those that one remote may have open, or opens in a while."""
    FALSE_BLOB = ("false blob", 35, False)
    """Content that is not what its id says; whoever stores it has checked it."""
    OVERRUN = ("overrun", 100, False)
    """Bytes beyond the window that its stream had been granted: the connection is lost anyway."""
    HEEDLESS = ("heedless", 3, False)
    """A frame while it is not listened to; who waits is forgiven."""
    SUBSCRIPTIONS = ("subscriptions", 2, False)
    """A topic of no chain, or one more topic than a remote may follow."""
    EAGER_GRAFT = ("eager graft", 4, True)
    """A graft while it must wait after a prune; once, the two may have crossed."""
    BROKEN_PROMISE = ("broken promise", 5, True)
    """A message that it offered, we asked for and nobody delivered."""
    STALLED = ("stalled", 30, True)
    """It did not read for so long that the connection was given up."""

    def __init__(self, label: str, points: int, is_soft: bool) -> None:  # noqa: FBT001
        self.label = label
        self.points = points
        self.is_soft = is_soft


class Standing(IntEnum):
    """What may be done with a remote; the larger the worse."""

    GOOD = 0
    UNWANTED = 1
    """Not in the mesh."""
    IGNORED = 2
    """Not listened to."""
    BANNED = 3
    """Not connected."""


@dataclass(slots=True)
class _Record:
    """Counters of one remote, in thousandths of a point."""

    at_s: int
    hard: int = 0
    soft: int = 0
    credit: int = 0
    counts: dict[Offence, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Ban:
    until_ms: int
    strikes: int = 1


class Scores:
    """The behaviour of all remotes; remotes are named by whatever is hashable and compares."""

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}
        self._bans: dict[str, _Ban] = {}
        self._groups: dict[str, str] = {}
        self._crowds: dict[str, int] = {}

    def arrive(self, remote: str, group: str | None) -> None:
        """Note that a remote connected; `group` is its network, None for one whose crowd doesn't matter."""
        self.depart(remote)
        if group is not None:
            self._groups[remote] = group
            self._crowds[group] = self._crowds.get(group, 0) + 1

    def depart(self, remote: str) -> None:
        """Note that a remote is no longer connected; what it did is remembered."""
        group = self._groups.pop(remote, None)
        if group is not None:
            self._crowds[group] -= 1
            if not self._crowds[group]:
                del self._crowds[group]

    def credit(self, remote: str, now_ms: int) -> None:
        """Note a good message that this remote was the first to bring."""
        record = self._record(remote, now_ms)
        record.credit = min(CREDIT_MAX * _MILLI, record.credit + _MILLI // DELIVERIES_PER_POINT)

    def blame(self, remote: str, offence: Offence, now_ms: int, times: int = 1) -> Standing:
        """Note an offence; return how the remote stands now, BANNED if that was the last straw."""
        record = self._record(remote, now_ms)
        record.counts[offence] = record.counts.get(offence, 0) + times
        points = offence.points * times * _MILLI
        if offence.is_soft:
            record.soft = min(SOFT_CAP * _MILLI, record.soft + points)
        else:
            record.hard += points
        if self.score(remote, now_ms) <= BANNED_AT:
            self._ban(remote, now_ms)
        return self.standing(remote, now_ms)

    def score(self, remote: str, now_ms: int) -> int:
        """Return the sum of what is for and against a remote, points; 0 for a stranger."""
        record = self._records.get(remote)
        if record is None:
            return -self._crowd_points(remote)
        _fade(record, now_ms)
        soft = min(SOFT_CAP * _MILLI, record.soft + self._crowd_points(remote) * _MILLI)
        balance = record.credit - record.hard - soft
        # Towards zero: a fraction of a point decides nothing.
        return balance // _MILLI if balance >= 0 else -(-balance // _MILLI)

    def standing(self, remote: str, now_ms: int) -> Standing:
        """Return what may be done with a remote."""
        if self.is_banned(remote, now_ms):
            return Standing.BANNED
        score = self.score(remote, now_ms)
        if score <= IGNORED_AT:
            return Standing.IGNORED
        return Standing.UNWANTED if score <= UNWANTED_AT else Standing.GOOD

    def is_banned(self, remote: str, now_ms: int) -> bool:
        """Tell whether a remote is refused at present."""
        ban = self._bans.get(remote)
        return ban is not None and now_ms < ban.until_ms

    def ban_ms(self, remote: str, now_ms: int) -> int:
        """Return how long a remote is still refused, milliseconds."""
        ban = self._bans.get(remote)
        return 0 if ban is None else max(0, ban.until_ms - now_ms)

    def offences(self, remote: str) -> dict[Offence, int]:
        """Return how often a remote did what, as far as is remembered."""
        record = self._records.get(remote)
        return {} if record is None else dict(record.counts)

    def _ban(self, remote: str, now_ms: int) -> None:
        before = self._bans.pop(remote, None)
        strikes = 1 if before is None else before.strikes + 1
        seconds = min(BAN_S_MAX, BAN_S << min(strikes - 1, 16))
        _make_room(self._bans)
        self._bans[remote] = _Ban(now_ms + seconds * _MILLI, strikes)
        # It comes back with a clean sheet, but its next ban is twice as long.
        record = self._records[remote]
        record.hard = record.soft = record.credit = 0

    def _record(self, remote: str, now_ms: int) -> _Record:
        record = self._records.pop(remote, None)
        if record is None:
            _make_room(self._records)
            record = _Record(now_ms // _MILLI)
        self._records[remote] = record
        _fade(record, now_ms)
        return record

    def _crowd_points(self, remote: str) -> int:
        group = self._groups.get(remote)
        surplus = 0 if group is None else max(0, self._crowds[group] - COLOCATED_FREE)
        return min(SOFT_CAP, COLOCATION_POINTS * surplus * surplus)


def _make_room(entries: dict[str, _Record] | dict[str, _Ban]) -> None:
    if len(entries) >= REMEMBERED_MAX:
        del entries[next(iter(entries))]


def _fade(record: _Record, now_ms: int) -> None:
    elapsed_s = now_ms // _MILLI - record.at_s
    if elapsed_s <= 0:
        return
    record.at_s += elapsed_s
    record.hard = _halve(record.hard, elapsed_s)
    record.soft = _halve(record.soft, elapsed_s)
    record.credit = _halve(record.credit, elapsed_s)


def _halve(value: int, elapsed_s: int) -> int:
    # Whole half-lives by shifting, the rest along a straight line.
    halvings, rest_s = divmod(elapsed_s, HALF_LIFE_S)
    value >>= min(halvings, 64)
    return value - value * rest_s // (2 * HALF_LIFE_S)
