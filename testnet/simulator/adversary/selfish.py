"""Blocks kept back to make others' work useless: selfish mining, as far as this chain allows it.

A crew keeps what it mines to itself and goes on from there. When others find a block, it shows as many of its
own as it takes to stay in front:

    lead over what all know, after the others' block     shown
    0 or 1                                               everything: a race, or won
    more                                                 up to the others' height

and what it finds in a race it shows at once. Weight is approvals here, and verifiers approve only what they
have seen: a branch kept back gains none. So the crew gives its branch up as soon as the others' is heavier,
however long its own is.

Source: Eyal and Sirer, "Majority is not Enough" (2014), algorithm 1; RELIABILITY (2), "selfish withholding".
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from p2pai import effects, events
from p2pai.chain.block import HEADER_SIZE, Header, read_header
from p2pai.chain.fork_choice import Branch
from p2pai.chain.transaction import Coinbase
from p2pai.effects import Effect
from p2pai.events import Event
from p2pai.gossip import sync
from p2pai.node.core import NodeCore
from p2pai.primitives import record
from p2pai.primitives.ids import Hash32, PeerId, PublicKey
from testnet.scenario import adversaries
from testnet.simulator.adversary.base import Adversary, Setting
from testnet.simulator.adversary.forging import body_of

RACE_LEAD: Final = 1
"""A lead at which everything is shown: the next block of the others would end it."""


@dataclass
class Secret:
    """What a crew knows together."""

    owners: dict[PublicKey, None] = field(default_factory=dict)
    shown: dict[Hash32, None] = field(default_factory=dict)
    """Blocks of the crew that are public, or given up."""
    held: dict[Hash32, tuple[PeerId, effects.Publish]] = field(default_factory=dict)
    """Blocks kept back, oldest first: who mined it, and how it will be announced."""


class Selfish(Adversary):
    """See the module."""

    def __init__(self, plan: adversaries.Adversary, core: NodeCore, setting: Setting) -> None:
        super().__init__(plan, core, setting)
        self._secret: Secret = setting.shared.setdefault("secret", Secret())
        self._secret.owners[core.identity.public] = None
        self._has_begun = False

    def act(self, event: Event, now_ms: int) -> Sequence[Effect]:
        """Keep own blocks back; show some when others found one."""
        if not self._has_begun:
            self._has_begun = True
            self._secret.shown.update(dict.fromkeys(b.state.tip for b in self.core.ledger.tree.branches()))
        if isinstance(event, events.Asked):
            return [self._censored(effect) for effect in self.core.handle(event, now_ms)]
        reaction = self._take_in(now_ms)
        before = self._public()[0].state.height
        for effect in self.core.handle(event, now_ms):
            block = self._own_block(effect)
            reaction += [effect] if block is None else self._hold(block, effect)
        if self._public()[0].state.height > before:
            reaction += self._show()
        return reaction

    # --- what is public

    def _is_secret(self, branch: Branch) -> bool:
        if branch.state.tip in self._secret.shown or branch.block.work_proof is None:
            return False
        coinbase = branch.block.transactions[0].data
        ticket = branch.state.tickets.get(coinbase.ticket) if isinstance(coinbase, Coinbase) else None
        return ticket is not None and ticket.owner in self._secret.owners

    def _public(self) -> tuple[Branch, bool]:
        """Return the best block that all know, and whether it has a rival of its height."""
        known = [b for b in self.core.ledger.tree.branches() if not self._is_secret(b)]
        best = max(known, key=lambda branch: branch.rank)
        return best, sum(b.state.height == best.state.height for b in known) > 1

    def _censored(self, effect: Effect) -> Effect:
        """Leave blocks that are kept back out of an answer."""
        if not isinstance(effect, effects.Answer) or not effect.body:
            return effect
        reply = sync.read_reply(effect.body)
        if not isinstance(reply, sync.Headers):
            return effect
        told = []
        for header in sync.read_headers(effect.body):
            branch = self.core.ledger.tree.get(header.hash)
            if branch is not None and self._is_secret(branch):
                break
            told.append(header.encode())
        return effects.Answer(effect.request, record.encode_tagged(sync.Headers(b"".join(told))))

    # --- what is kept back

    def _own_block(self, effect: Effect) -> Hash32 | None:
        """Return the block that an effect announces, if the crew mined it."""
        said = body_of(effect, "block")
        if said is None:
            return None
        _, body = said
        header = Header.decode(body) if len(body) == HEADER_SIZE else read_header(body)
        branch = self.core.ledger.tree.get(header.hash)
        return header.hash if branch is not None and self._is_secret(branch) else None

    def _hold(self, block: Hash32, effect: Effect) -> list[Effect]:
        assert isinstance(effect, effects.Publish)
        self._secret.held[block] = (self.setting.name, effect)
        self.setting.did()
        best, is_race = self._public()
        lead = self.core.state.height - best.state.height
        return self._show() if is_race and lead <= RACE_LEAD else []

    def _take_in(self, now_ms: int) -> list[Effect]:
        """Learn of what others of the crew keep back."""
        reaction: list[Effect] = []
        for block, (name, said) in list(self._secret.held.items()):
            if name != self.setting.name and block not in self.core.ledger.tree:
                reaction += self.core.handle(events.Received(name, said.topic, said.data), now_ms)
        return [effect for effect in reaction if not isinstance(effect, effects.Judge)]

    def _show(self) -> list[Effect]:
        """Announce as many blocks as the lead asks for; nothing but oblivion for what is overtaken."""
        tree, (best, _) = self.core.ledger.tree, self._public()
        lead = self.core.state.height - best.state.height
        said: list[Effect] = []
        for block, (_, announcement) in list(self._secret.held.items()):
            branch = tree.get(block)
            if branch is None or not tree.is_best(block):
                self._forget(block)
            elif lead <= RACE_LEAD or branch.state.height <= best.state.height:
                self._forget(block)
                said.append(announcement)
        return said

    def _forget(self, block: Hash32) -> None:
        del self._secret.held[block]
        self._secret.shown[block] = None
