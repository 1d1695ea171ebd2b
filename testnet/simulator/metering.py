"""How much work one event costs a node, in checks of signatures: a measure that is the same everywhere.

Everything that a remote can make a node do for nothing ends in checking a signature, a certificate or a draw,
and these are the dear part of it. A sum of certificates counts as one check.

Source: RELIABILITY (4), I17.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from types import ModuleType
from typing import Any, Final

from p2pai.events import Event
from p2pai.node.core import NodeCore
from p2pai.primitives import bls, ecdsa
from p2pai.vrf import ecvrf

CHECKS: Final[tuple[tuple[ModuleType, str], ...]] = (
    (ecdsa, "verify"),
    (ecvrf, "verify"),
    (bls, "verify"),
    (bls, "verify_possession"),
    (bls, "verify_same_message"),
    (bls, "verify_each_message"),
    (bls, "verify_sum"),
    (bls, "verify_sums"),
)
"""What is counted."""


@dataclass
class Meter:
    """Counts while `metered` lasts."""

    count: int = 0
    """Of all checks so far."""
    last: int = 0
    """Of those in the event that a node handled last."""

    def counted(self, check: Callable[..., Any]) -> Callable[..., Any]:
        """Return a check that is counted."""

        @wraps(check)
        def counting(*args: object, **options: object) -> Any:  # noqa: ANN401
            self.count += 1
            return check(*args, **options)

        return counting

    def measured(
        self, handle: Callable[[NodeCore, Event, int], Any]
    ) -> Callable[[NodeCore, Event, int], Any]:
        """Return a node's `handle` whose checks are told apart."""

        def handling(core: NodeCore, event: Event, now_ms: int) -> Any:  # noqa: ANN401
            before = self.count
            reaction = handle(core, event, now_ms)
            self.last = self.count - before
            return reaction

        return handling


@contextmanager
def metered() -> Iterator[Meter]:
    """Count the checks of all nodes of this process."""
    meter = Meter()
    places = [*CHECKS, (NodeCore, "handle")]
    plain = [getattr(owner, name) for owner, name in places]
    for (owner, name), function in zip(places, plain, strict=True):
        made = meter.measured(function) if owner is NodeCore else meter.counted(function)
        setattr(owner, name, made)
    try:
        yield meter
    finally:
        for (owner, name), function in zip(places, plain, strict=True):
            setattr(owner, name, function)
