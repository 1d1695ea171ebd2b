"""Nodes that missed an announced change of rules; staging.py gives them the chain spec without it.

They are honest, so what is counted is what parts them from the others: messages that they refuse, and
connections that one side or the other ends.

Source: RELIABILITY (2), "version mix"; docs/adr/0046-sieges.md.
"""

from collections.abc import Sequence

from p2pai import effects, events
from p2pai.effects import Effect, Verdict
from p2pai.events import Event
from testnet.simulator.adversary.base import Adversary


class Outdated(Adversary):
    """See the module."""

    def act(self, event: Event, now_ms: int) -> Sequence[Effect]:
        """Be honest; count what parts it from the others."""
        reaction = self.core.handle(event, now_ms)
        for _ in filter(_refuses, (event, *reaction)):
            self.setting.did()
        return reaction


def _refuses(what: Event | Effect) -> bool:
    if isinstance(what, effects.Judge):
        return what.verdict is Verdict.REJECT
    return isinstance(what, effects.Hangup | events.Disconnected)
