"""Verifiers whose verdicts are not what their replays gave, or are never shown.

Source: PoUW §5.2, §7.3; RELIABILITY (2), "Byzantine verifier".
"""

from __future__ import annotations

from collections.abc import Sequence

from p2pai import effects
from p2pai.chain.fraud import Judgement
from p2pai.chain.transaction import FraudProof
from p2pai.effects import Effect
from p2pai.events import Event
from p2pai.gossip.topics import Topic
from p2pai.node import payments
from p2pai.node.core import NodeCore
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Hash32, Outpoint
from p2pai.roles.proving import commits_closed
from p2pai.roles.replaying import Finding
from p2pai.roles.verifier import Verifier
from testnet.scenario import adversaries
from testnet.simulator.adversary import forging
from testnet.simulator.adversary.base import Adversary, Setting


class Crooked(Adversary):
    """One whose verdicts are its own."""

    def __init__(self, plan: adversaries.Adversary, core: NodeCore, setting: Setting) -> None:
        super().__init__(plan, core, setting)
        if Verifier.name in core.roles:
            core.roles[Verifier.name] = _Crooked(core, self)

    def verdict(self, block: Hash32, honest: Finding) -> Finding:
        """Return what is committed to and revealed."""
        del block
        return honest

    def reveals(self) -> bool:
        """Return whether a verdict that was committed to is revealed."""
        return True


class _Crooked(Verifier):
    """A verifier that asks its owner what to say."""

    def __init__(self, core: NodeCore, owner: Crooked) -> None:
        super().__init__(core)
        self._core, self._owner = core, owner

    def finding(self, block: Hash32) -> Finding | None:
        honest = super().finding(block)
        if honest is None or not self._owner.has_begun(self._core.now_ms):
            return honest
        return self._owner.verdict(block, honest)

    def _reveal(self, block: Hash32, ticket: Outpoint, finding: Finding) -> None:
        if not commits_closed(self._core, block):
            return  # an honest one would not reveal it yet
        if not self._owner.has_begun(self._core.now_ms) or self._owner.reveals():
            super()._reveal(block, ticket, finding)


class ApprovesAll(Crooked):
    """Approves what it found false, and accuses nobody.

    The precursor that an approval must show is the one that its own replay gave: of a miner that lies about
    its map alone that is the right one, as if the miner had told it.
    """

    def __init__(self, plan: adversaries.Adversary, core: NodeCore, setting: Setting) -> None:
        super().__init__(plan, core, setting)
        core.accuse = self._accuse  # type: ignore[method-assign]

    def _accuse(self, block: Hash32) -> None:
        """Accuse nobody."""

    def verdict(self, block: Hash32, honest: Finding) -> Finding:
        if honest.reason and block.hex() not in self.setting.shared:
            self.setting.shared[block.hex()] = None
            self.setting.did()
        return Finding(honest.precursor, "")


class RefusesAll(Crooked):
    """Refuses honest blocks, and posts a proof against each."""

    def verdict(self, block: Hash32, honest: Finding) -> Finding:
        del block
        return honest if honest.reason else Finding(honest.precursor, "I say so")

    def act(self, event: Event, now_ms: int) -> Sequence[Effect]:
        reaction = list(self.core.handle(event, now_ms))
        for block, judgement in sorted(self.core.judged.items(), key=lambda item: item[0]):
            if not judgement.reason and block.hex() not in self.setting.shared and self.core.is_best(block):
                self.setting.shared[block.hex()] = None
                reaction += self._accuse(block, judgement)
        return reaction

    def _accuse(self, block: Hash32, judgement: Judgement) -> list[effects.Publish]:
        proof = FraudProof(block, judgement.height, judgement.ticket, Hash32(bytes(32)), ())
        try:
            tx = payments.prepare(self.core, self.core.accounts.get(0), proof, ()).tx
        except InvalidInput:
            return []  # no coin is left
        self.setting.did()
        return [forging.say(self.core, Topic(self.core.spec.short_id, None, "tx"), tx.encoded)]


class SilentVerifier(Crooked):
    """Keeps its verdicts to itself."""

    def reveals(self) -> bool:
        self.setting.did()
        return False
