"""What remotes offered and we asked them for: how much at once, and who kept his word.

A request is a promise of whoever offered: its messages should be there within `PATIENCE_S`, from him or from
anybody. So much is asked of one remote in a while, so that a flood of invented ids costs little.

Source: libp2p specs, gossipsub v1.1, "Spam Protection Measures".
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

PATIENCE_S: Final = 3.0
"""Seconds in which what was asked for is there."""

OPEN_IDS_MAX: Final = 512
"""Messages that one remote may owe us at a time."""


@dataclass(slots=True)
class _Debtor:
    promises: list[tuple[float, tuple[bytes, ...]]] = field(default_factory=list)
    """When each is due, oldest first, and what was asked for."""
    ids: int = 0


class Promises:
    """All that remotes owe us."""

    def __init__(self) -> None:
        self._debtors: dict[Any, _Debtor] = {}

    def ask(self, remote: Any, ids: Sequence[bytes], now_s: float) -> Sequence[bytes]:  # noqa: ANN401
        """Note that messages are asked for now; return those that may be."""
        debtor = self._debtors.setdefault(remote, _Debtor())
        allowed = ids[: OPEN_IDS_MAX - debtor.ids]
        if allowed:
            debtor.promises.append((now_s + PATIENCE_S, tuple(allowed)))
            debtor.ids += len(allowed)
        return allowed

    def broken(self, has: Callable[[bytes], bool], now_s: float) -> Iterator[Any]:
        """Settle what is due; yield each remote once for each request of which something is missing."""
        for remote, debtor in list(self._debtors.items()):
            while debtor.promises and debtor.promises[0][0] <= now_s:
                _, ids = debtor.promises.pop(0)
                debtor.ids -= len(ids)
                if not all(map(has, ids)):
                    yield remote
            if not debtor.promises:
                del self._debtors[remote]

    def forget(self, remote: Any) -> None:  # noqa: ANN401
        """Forget what a remote owes that is gone."""
        self._debtors.pop(remote, None)
