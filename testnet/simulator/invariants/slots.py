"""What supervisors certify, counted again by the rules as they are written, with nothing of the node's code.

I14: an honest leader leads where it is its turn. The order of a certified slot is Schulze's of the ballots
that its leader showed, and its root that of these messages. So many members as certify have voted for it in
the open, but for the dishonest, who may tell each other. No slot of a record is certified with two roots.
The model that an honest evaluator concludes on is one of a miner with the best score.

Source: RELIABILITY (4), I14; PROTOCOL section 6; Schulze, Social Choice and Welfare 36 (2011).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from p2pai.chain.committee import CertifiedSlot, Committee, SlotStatement, verify_slot
from p2pai.chain.state import State
from p2pai.node.core import NodeCore
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Hash32, Outpoint, PeerId, PublicKey, TaskId
from p2pai.roles.slots import Share, SlotOpening, SlotProposal
from testnet.simulator.invariants.honesty import Honesty
from testnet.simulator.invariants.saying import Saying
from testnet.simulator.invariants.step import Broken, require

TERM_SLOTS: Final = 64
"""Slots of one leader's term. Source: chain/params.py, SLOTS_PER_TERM."""

EACH_MESSAGES: Final = 24
"""Slots of so many messages are all ranked again; larger ones as often as takes no longer in the mean: a rank
by the book takes the third power of their number."""

Counted = tuple[TaskId, int, Hash32]
"""Task, slot, root."""


@dataclass
class Slots:
    """What the supervisors of one world say."""

    cores: Mapping[PeerId, NodeCore]
    honesty: Honesty
    certified: dict[tuple[TaskId, bytes, int], Hash32] = field(default_factory=dict)
    """Task, group key, slot -> root."""
    _ballots: dict[Counted, list[tuple[tuple[int, bytes], ...]]] = field(default_factory=dict)
    """Ballots of the proposals that were seen: member, and its order."""
    _votes: dict[SlotStatement, dict[PublicKey, None]] = field(default_factory=dict)
    _credit: int = 0
    """Work that may be spent on ranking, in third powers of messages."""

    def hear(self, name: PeerId, saying: Saying) -> None:
        """I14: look at what an honest node says."""
        if saying.topic.name == "message_history":
            self._note(saying)
            match saying.said:
                case SlotOpening(place) | SlotProposal(statement=place):
                    self._check_leader(name, saying, place.task, place.epoch, place.view)
                case CertifiedSlot():
                    self._check_slot(name, saying.said)

    def overhear(self, name: PeerId, saying: Saying) -> None:
        """Note what a dishonest node says; a certificate that holds speaks for the others, too."""
        if saying.topic.name == "message_history":
            self._note(saying)
            if isinstance(saying.said, CertifiedSlot) and self._holds(name, saying.said):
                self._check_slot(name, saying.said)

    def _holds(self, name: PeerId, slot: CertifiedSlot) -> bool:
        task = self.cores[name].state.tasks.get(slot.statement.task)
        if task is None or task.committee is None:
            return False
        try:
            verify_slot(slot, task.committee.key)
        except InvalidInput:
            return False
        return True

    def _note(self, saying: Saying) -> None:
        match saying.said:
            case SlotProposal(statement, _, ballots) if ballots:
                key = (statement.task, statement.slot, statement.root)
                shown = tuple((ranking.member, ranking.order) for ranking in ballots)
                known = self._ballots.setdefault(key, [])
                if shown not in known:
                    known.append(shown)
            case Share(SlotStatement() as statement):
                self._votes.setdefault(statement, {})[saying.envelope.sender] = None

    def _check_leader(self, name: PeerId, saying: Saying, task: TaskId, epoch: int, view: int) -> None:
        state = self.cores[name].state
        members = _members(state, task)
        if members:
            leads = sorted(members)[(epoch + view) % len(members)]
            if state.tickets[leads].owner != saying.envelope.sender:
                raise Broken(f"I14: {name} leads in view {view} of epoch {epoch}, which is another's", name)

    def _check_slot(self, name: PeerId, slot: CertifiedSlot) -> None:
        statement, state = slot.statement, self.cores[name].state
        committee = state.tasks[statement.task].committee if statement.task in state.tasks else None
        if committee is None:
            return
        place = (statement.task, bytes(committee.key), statement.slot)
        if place not in self.certified:
            self.certified[place] = statement.root
            self._count(state, committee, slot, self._votes.pop(statement, {}))
        require(self.certified[place] == statement.root, "I14: a slot is certified with two roots", name)

    def _count(
        self, state: State, committee: Committee, slot: CertifiedSlot, voted: dict[PublicKey, None]
    ) -> None:
        statement, members = slot.statement, committee.members
        require(statement.epoch == statement.slot // TERM_SLOTS, "I14: a slot stands in another's term")
        require(root_of(slot.messages) == statement.root, "I14: a slot's messages do not give its root")
        leads = sorted(members)[(statement.epoch + statement.view) % len(members)]
        owners = [state.tickets[member].owner for member in members]
        agreed = [o for o in owners if o in voted or o == state.tickets[leads].owner or self._is_liar(o)]
        enough = 3 * len(agreed) >= 2 * len(members)
        require(enough, f"I14: a slot is certified by {len(agreed)} of {len(members)} members")
        shown = self._ballots.pop((statement.task, statement.slot, statement.root), [])
        if shown and self._has_time(len(slot.messages)):
            self._rank(slot, members, shown)

    def _has_time(self, messages: int) -> bool:
        """Return whether a slot of so many messages is ranked again: not each large one."""
        self._credit += EACH_MESSAGES**3
        if messages**3 > self._credit:
            return False
        self._credit -= messages**3
        return True

    def _rank(
        self, slot: CertifiedSlot, members: Sequence[Outpoint], shown: Sequence[tuple[tuple[int, bytes], ...]]
    ) -> None:
        orders = [ballots for ballots in shown if 3 * len(dict(ballots)) >= 2 * len(members)]
        ranked = [schulze(sorted(slot.messages), [order for _, order in ballots]) for ballots in orders]
        given = tuple(slot.messages) in ranked
        require(given, "I14: a slot is certified in an order that its ballots do not give")

    def _is_liar(self, owner: PublicKey) -> bool:
        liars = self.honesty.dishonest
        return any(self.cores[name].identity.public == owner for name in liars if name in self.cores)


def _members(state: State, task: TaskId) -> tuple[Outpoint, ...]:
    known = state.tasks.get(task)
    return known.committee.members if known is not None and known.committee is not None else ()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes, as RFC 6962 defines it: split at the largest power of two."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return sha256(b"\x01" + root_of(leaves[:split]) + root_of(leaves[split:])).digest()


def schulze(candidates: Sequence[Hash32], ballots: Sequence[bytes]) -> tuple[Hash32, ...]:
    """Rank candidates by the widths of the strongest paths between them, of winning votes.

    Args:
      candidates: by hash, ascending.
      ballots: positions of the candidates, best first.
    """
    numbers = range(len(candidates))
    width = [[0] * len(candidates) for _ in numbers]
    for ballot in ballots:
        for place, better in enumerate(ballot):
            for worse in ballot[place + 1 :]:
                width[better][worse] += 1
    for a in numbers:
        for b in range(a):
            one, other = width[a][b], width[b][a]
            width[a][b], width[b][a] = one * (one > other), other * (other > one)
    for middle in numbers:
        second = width[middle]
        for first in width:
            path = first[middle]
            first[:] = [max(direct, min(path, rest)) for direct, rest in zip(first, second, strict=True)]
    order: list[int] = []
    left = list(numbers)
    while left:  # of those that nobody left beats, the lowest hash
        order.append(next(c for c in left if not any(width[d][c] > width[c][d] for d in left)))
        left.remove(order[-1])
    return tuple(candidates[c] for c in order)
