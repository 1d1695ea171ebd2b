"""What is wrong with the links of a laboratory just now: troubles come and go, and what they do adds up.

Pure but for `Weather`, which tells a laboratory what has changed. Nodes are numbered as there, from 1.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from testnet.devnet.wires import Link, Wire

COUNTED: Final = {
    "partition": "cut",
    "loss": "lost",
    "duplicate": "copied",
    "reorder": "disordered",
    "delay": "late",
    "slow-remote": "late",
    "clog": "late",
}
"""By kind of fault: what the laboratory counts when a packet meets it (see `NetLab.counts`)."""


FAIR: Final = Link()


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something wrong with some wires; nothing until a field says what."""

    wires: tuple[Wire, ...]
    cuts: bool = False
    """Nothing passes."""
    worse: Link = FAIR
    """What is added to each wire."""


class Lab(Protocol):
    """What weather needs of a laboratory; NetLab has exactly this."""

    def shape(
        self, some: Iterable[int], others: Iterable[int], link: Link, *, one_way: bool = ...
    ) -> None: ...

    def cut(self, some: Iterable[int], others: Iterable[int], *, one_way: bool = ...) -> None: ...

    def mend(self, some: Iterable[int], others: Iterable[int], *, one_way: bool = ...) -> None: ...


class Weather:
    """All troubles of one laboratory."""

    def __init__(self, lab: Lab, fair: Mapping[Wire, Link]) -> None:
        """Begin without any.

        Args:
          lab: which is told.
          fair: what each wire is without troubles; all wires that there are.
        """
        self._lab, self._fair = lab, dict(fair)
        self._troubles: list[Trouble] = []
        self._now = {wire: (link, False) for wire, link in self._fair.items()}
        for wire, link in self._fair.items():
            self._shape(wire, link)

    def begin(self, trouble: Trouble) -> None:
        """Let a trouble begin."""
        self._troubles.append(trouble)
        self._change()

    def end(self, trouble: Trouble) -> None:
        """Let it end."""
        self._troubles = [other for other in self._troubles if other is not trouble]
        self._change()

    def _change(self) -> None:
        for wire, fair in self._fair.items():
            met = [trouble for trouble in self._troubles if wire in trouble.wires]
            link, is_cut = together(fair, met), any(trouble.cuts for trouble in met)
            before, was_cut = self._now[wire]
            self._now[wire] = link, is_cut
            if link != before:
                self._shape(wire, link)
            if is_cut != was_cut:
                (self._lab.cut if is_cut else self._lab.mend)([wire[0]], [wire[1]], one_way=True)

    def _shape(self, wire: Wire, link: Link) -> None:
        self._lab.shape([wire[0]], [wire[1]], link, one_way=True)


def together(fair: Link, troubles: Sequence[Trouble]) -> Link:
    """Return what a link becomes in some troubles: delays add up, shares of packets fall independently."""
    link = fair
    for worse in (trouble.worse for trouble in troubles):
        rates = [rate for rate in (link.rate_bps, worse.rate_bps) if rate]
        rooms = [room for room in (link.room, worse.room) if room]
        link = replace(
            link,
            delay_ms=link.delay_ms + worse.delay_ms,
            jitter_ms=link.jitter_ms + worse.jitter_ms,
            loss=_either(link.loss, worse.loss),
            rate_bps=min(rates, default=0.0),
            copies=_either(link.copies, worse.copies),
            disorder=_either(link.disorder, worse.disorder),
            disorder_ms=max(link.disorder_ms, worse.disorder_ms),
            late_ms=link.late_ms + worse.late_ms,
            room=min(rooms, default=0),
        )
    return link


def _either(a: float, b: float) -> float:
    return 1 - (1 - a) * (1 - b)
