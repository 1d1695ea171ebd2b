"""No sound node is thought ill of by a sound node: not hung up, not refused, not robbed of its stake.

I15, exactly. A whole stake goes only to a lie, so no sound node ever loses one, on any chain that an honest
node takes for valid. A part of a stake also goes to silence, and who is cut off or killed can't help keeping
silent: that is a breach only as long as nothing went wrong in the history at all. A REJECT blames who passed
the message on, and no sound node passes on what another sound one rejects, whatever their tips. A hang-up
blames too, except the minute's pause in which a remote that offered headers gives no bodies: that may be the
network's fault, and counts only while nothing went wrong.

Who is misled (honesty.py) is no judge, and may be blamed.

Source: RELIABILITY (4), I15.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from p2pai import effects, events
from p2pai.chain.transaction import Stake
from p2pai.effects import Verdict
from p2pai.node.core import NodeCore
from p2pai.node.syncing import UNANSWERED_HANGUP_MS
from p2pai.primitives.ids import KeyHash, Outpoint, PeerId, TaskId
from testnet.simulator.invariants.honesty import Honesty
from testnet.simulator.invariants.money import value_of
from testnet.simulator.invariants.step import Broken, Step


@dataclass
class Standing:
    """What sound nodes think of each other."""

    cores: Mapping[PeerId, NodeCore]
    honesty: Honesty
    looked: int = 0
    """Judgements of others that were looked at."""
    _owners: dict[KeyHash, PeerId] = field(default_factory=dict)

    def look(self, name: PeerId, event: events.Event, reaction: Sequence[effects.Effect]) -> None:
        """I15: look at whom a node blames for what."""
        for effect in reaction:
            if type(effect) is effects.Judge:
                self.looked += 1
                if effect.verdict is Verdict.REJECT and isinstance(event, events.Received):
                    self._blame(name, event.remote, f"rejects what {event.remote} says: {effect.reason}")
            elif type(effect) is effects.Hangup:
                may_be_the_network = effect.duration <= UNANSWERED_HANGUP_MS
                if not may_be_the_network or self.honesty.is_calm:
                    self._blame(name, effect.remote, f"hangs up {effect.remote}: {effect.reason}")

    def _blame(self, name: PeerId, remote: PeerId, what: str) -> None:
        if self.honesty.is_sound(name) and self.honesty.is_sound(remote):
            raise Broken(f"I15: {name}, honest, {what}", name)

    def see(self, step: Step) -> None:
        """I15: look at whose stakes a block takes."""
        for outpoint, lost, left in losses(step):
            name = self._owner(step, outpoint)
            if name is None or not self.honesty.is_sound(name):
                continue
            if not left:
                raise Broken(f"I15: {name}, honest, lost a whole stake", name)
            if self.honesty.is_calm:
                raise Broken(f"I15: {name}, honest, lost {lost} atoms, and nothing went wrong", name)

    def _owner(self, step: Step, outpoint: Outpoint) -> PeerId | None:
        """Return the node whose stake it is."""
        if len(self._owners) != len(self.cores):
            self._owners = {core.identity.key_hash: name for name, core in self.cores.items()}
        stake = step.before.utxos.get(outpoint) or step.made[outpoint]
        return self._owners.get(stake.key_hash)


def losses(step: Step) -> Iterator[tuple[Outpoint, int, int]]:
    """Yield the stakes of tickets that lose something in a block: where, what is lost, what is left."""
    spent = dict.fromkeys(step.spent)
    for outpoint in step.touched:
        old = step.before.utxos.get(outpoint) or step.made.get(outpoint)
        if not isinstance(old, Stake) or outpoint in spent or TaskId(outpoint.txid) in step.after.tasks:
            continue
        left = value_of(step.after, outpoint)
        if left < old.value:
            yield outpoint, old.value - left, left
