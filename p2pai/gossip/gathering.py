"""Which remote is asked for which chunk of a blob: a machine without I/O, which a transfer feeds and asks.

Each *source* is a remote that has the blob's manifest; it may lack chunks. Whoever is free is given the first
chunk that nobody is asked for. Once all that are missing are under way (the endgame), a free source is given
one that has been under way for long, so that a slow or silent remote holds up nothing. A chunk that came is
called off elsewhere.

A remote is asked for a chunk again only after it was late with it, or the connection ended meanwhile, and
never after it said that it lacks it. It is dropped for a lie, and when it is late and gave nothing meanwhile.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from p2pai.primitives.ids import Hash32, PeerId

STALE_MS: Final = 2_000
"""After this a chunk under way is asked for elsewhere too, when nothing else is left to ask for."""

LATE_MAX: Final = 3
"""Times that a source may be late with one chunk."""

SOURCES_MAX: Final = 8
"""Sources asked at once."""

CHUNKS_PER_SOURCE: Final = 4
"""Missing chunks for each of which one more source is worth asking."""

HEDGE_MS: Final = 1_000
"""For each such time without any progress one more source is worth asking."""


class Miss(Enum):
    """Why an asked source gave no chunk."""

    ABSENT = "it lacks the chunk"
    LATE = "it was late"


@dataclass(slots=True)
class _Source:
    asked: dict[Hash32, int] = field(default_factory=dict)
    """Under way, with the time asked."""
    lacks: dict[Hash32, None] = field(default_factory=dict)
    late: dict[Hash32, int] = field(default_factory=dict)
    gave_ms: int = -1

    def may_give(self, leaf: Hash32) -> bool:
        return leaf not in self.lacks and self.late.get(leaf, 0) < LATE_MAX


class Gathering:
    """The chunks of one blob on their way, from several sources."""

    def __init__(self, now_ms: int) -> None:
        """Begin, with nothing known but the blob's id.

        Args:
          now_ms: some clock that never goes back, milliseconds; the same one everywhere here.
        """
        self.leaves: tuple[Hash32, ...] | None = None
        """In the blob's order, once a manifest was checked."""
        self.reasons: dict[PeerId, str] = {}
        """Why remotes were dropped."""
        self.progress_ms = now_ms
        """When something came last."""
        self._missing: dict[Hash32, None] = {}
        self._under_way: dict[Hash32, dict[PeerId, int]] = {}
        self._sources: dict[PeerId, _Source] = {}
        self._away: dict[PeerId, _Source] = {}
        """Sources whose connection ended."""

    def begin(self, leaves: Sequence[Hash32], here: Collection[Hash32], now_ms: int) -> None:
        """Take the checked manifest.

        Args:
          leaves: of the blob, in order; equal chunks have equal ones.
          here: of these, whose chunks are here already.
          now_ms: the clock.
        """
        assert self.leaves is None, "a blob has one manifest"
        self.leaves = tuple(leaves)
        self._missing = dict.fromkeys(leaf for leaf in leaves if leaf not in here)
        self.progress_ms = now_ms

    @property
    def is_complete(self) -> bool:
        """Whether all chunks are here."""
        return self.leaves is not None and not self._missing

    @property
    def missing_count(self) -> int:
        """Different chunks that are not here, once the manifest is."""
        return len(self._missing)

    @property
    def sources(self) -> tuple[PeerId, ...]:
        """Who is asked, or may be."""
        return tuple(self._sources)

    def wanted(self, now_ms: int) -> int:
        """Return how many remotes are worth asking at once."""
        many = max(1, -(-len(self._missing) // CHUNKS_PER_SOURCE))
        return min(SOURCES_MAX, many + (now_ms - self.progress_ms) // HEDGE_MS)

    # --- sources

    def join(self, remote: PeerId) -> None:
        """Take in a remote that has the manifest, or is back; not one that was dropped."""
        if remote not in self.reasons:
            self._sources.setdefault(remote, self._away.pop(remote, _Source()))

    def leave(self, remote: PeerId) -> None:
        """Note that a source's connection ended; what it was asked for is free for others, and for it."""
        source = self._sources.pop(remote, None)
        if source is None:
            return
        for leaf in source.asked:
            self._release(remote, leaf)
        source.asked.clear()
        self._away[remote] = source

    def drop(self, remote: PeerId, reason: str) -> None:
        """Ask a remote for nothing more; what it was asked for is free for others."""
        self.leave(remote)
        self._away.pop(remote, None)
        self.reasons.setdefault(remote, reason)

    def is_useful(self, remote: PeerId) -> bool:
        """Return whether a source is asked for something, or may be."""
        source = self._sources.get(remote)
        if source is None:
            return False
        return bool(source.asked) or any(source.may_give(leaf) for leaf in self._missing)

    # --- chunks

    def choose(self, remote: PeerId, now_ms: int) -> Hash32 | None:
        """Return what to ask a source for now, and note that it is asked; None when there is nothing."""
        source = self._sources.get(remote)
        chosen = None if source is None else self._choose(source, now_ms)
        if source is None or chosen is None:
            return None
        source.asked[chosen] = now_ms
        self._under_way.setdefault(chosen, {})[remote] = now_ms
        return chosen

    def _choose(self, source: _Source, now_ms: int) -> Hash32 | None:
        second: tuple[int, int, Hash32] | None = None
        for leaf in self._missing:
            if leaf in source.asked or not source.may_give(leaf):
                continue
            lateness, askers = source.late.get(leaf, 0), self._under_way.get(leaf)
            if not askers and not lateness:
                return leaf
            asked_ms = max(askers.values()) if askers else 0
            # What nobody is asked for before what may still come, and that in the order of asking.
            if not askers or now_ms - asked_ms >= STALE_MS:
                rank = (lateness if not askers else LATE_MAX, asked_ms, leaf)
                second = rank if second is None else min(second, rank)
        return None if second is None else second[2]

    def came(self, remote: PeerId, leaf: Hash32, now_ms: int) -> tuple[PeerId, ...]:
        """Note a checked chunk; return who else was asked for it and need not answer any more."""
        source = self._sources.get(remote)
        if source is not None:
            source.gave_ms = now_ms
        self._missing.pop(leaf, None)
        self.progress_ms = now_ms
        askers = self._under_way.pop(leaf, {})
        for asked in askers:
            self._sources[asked].asked.pop(leaf, None)
        return tuple(asked for asked in askers if asked != remote)

    def missed(self, remote: PeerId, leaf: Hash32, miss: Miss) -> None:
        """Note that a source didn't give what it was asked for."""
        source = self._sources.get(remote)
        if source is None or leaf not in source.asked:
            return
        asked_ms = source.asked.pop(leaf)
        self._release(remote, leaf)
        if miss is Miss.ABSENT:
            source.lacks[leaf] = None
            return
        source.late[leaf] = source.late.get(leaf, 0) + 1
        if source.gave_ms < asked_ms:
            self.drop(remote, "it stopped answering")

    def _release(self, remote: PeerId, leaf: Hash32) -> None:
        askers = self._under_way.get(leaf, {})
        askers.pop(remote, None)
        if not askers:
            self._under_way.pop(leaf, None)
