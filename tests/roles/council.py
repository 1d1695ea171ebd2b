"""n supervisors that agree on slots, a network that loses, doubles and delays, and members that cheat.

One seed, one history. Signatures are hashes here, thousands of times faster than curves: what a member signs
only its seat can make, a certificate only who has a threshold of shares, and cheating members keep to that
(what real signatures refuse is tested with real ones). Messages reach everyone in the end, because miners
repeat what is not recorded, and supervisors ask each other for slots.
"""

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field, replace

from p2pai.chain import committee
from p2pai.chain.committee import Committee, PreparedStatement, Reason, SlotStatement, ViewStatement
from p2pai.chain.params import quorum
from p2pai.primitives import merkle, record
from p2pai.primitives.errors import InvalidInput, InvalidProof
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Outpoint, TaskId
from p2pai.roles import ballots
from p2pai.roles.agreement import Agreement
from p2pai.roles.leading import make_ballot
from p2pai.roles.seat import Seat
from p2pai.roles.slots import (
    SAID_SIZE_MAX,
    Ballot,
    Prepared,
    Ranking,
    Report,
    Said,
    Share,
    SlotOpening,
    SlotProof,
    SlotProposal,
    SlotSigned,
    ViewChange,
    ViewShare,
)
from p2pai.roles.views import report_digest

SLOT_MS = 300
PULL_MS = 700
FORWARD_MS = 400
MINERS = 3
TASK = TaskId(tagged_hash("test/task"))
KEY = b"\x80" + bytes(47)


class FastSeat(Seat):
    """A seat with hashes for signatures."""

    __slots__ = ()

    def sign(self, digest):
        return signature_of(self.member, digest)

    def share(self, statement):
        return share_of(self, self.member, committee.digest(statement))

    def check_signed(self, member, digest, signature):
        self._check_member(member)
        if signature != signature_of(member, digest):
            raise InvalidProof("signature does not match")

    def check_share(self, statement, member, signature):
        self._check_member(member)
        if signature != share_of(self, member, committee.digest(statement)):
            raise InvalidProof("share does not match")

    def combine(self, shares):
        assert len(shares) >= self.threshold
        (digest,) = {share[32:64] for share in shares.values()}
        assert all(share == share_of(self, member, digest) for member, share in shares.items())
        return certificate_of(digest)

    def check(self, statement, certificate):
        if certificate != certificate_of(committee.digest(statement)):
            raise InvalidProof("certificate does not match")


def signature_of(member, digest):
    return tagged_hash("test/signature", bytes([member]), digest)


def share_of(seat, member, digest):
    return tagged_hash("test/share", seat.committee.context, bytes([member]), digest) + digest + bytes(32)


def certificate_of(digest):
    return tagged_hash("test/certificate", digest) * 3


def make_seat(size, member, attempt=0):
    """Return a member's seat; in a later attempt the committee has the same key, but other shares."""
    members = tuple(Outpoint(tagged_hash("test/ticket"), i) for i in range(size))
    context = tagged_hash("test/attempt", bytes([attempt]))
    made = Committee(members, quorum(size), KEY, (KEY,) * size, (), context, renewed=attempt > 0)
    owners = tuple(bytes([i + 1]) * 33 for i in range(size))
    return FastSeat(TASK, made, owners, member, b"secret", b"spending")


def message_id(miner, iteration):
    return tagged_hash("test/message", bytes([miner]), iteration.to_bytes(4, "big"))


@dataclass
class Member:
    """A supervisor around its Agreement: its Desk."""

    world: "Council"
    member: int
    journal: list = field(default_factory=list)
    durable: int = 0
    slots: dict = field(default_factory=dict)
    turns: dict = field(default_factory=dict)
    life: int = 0

    def __post_init__(self):
        self.start()

    def start(self):
        """Begin with what is durable; messages come again."""
        del self.journal[self.durable :]
        self.life += 1
        recorded = [entry for entry in self.journal if isinstance(entry, committee.CertifiedSlot)]
        self.slots = {slot.statement.slot: slot for slot in recorded}
        self.turns = {i: self.turns[i] for slot in recorded for i in slot.messages}
        self.arrived = {}
        self.certified = dict(self.slots)
        self.wanted = ()
        self.free_ms = 0
        self.agreement = None
        signed = next((e for e in reversed(self.journal) if isinstance(e, SlotSigned)), None)
        self.agreement = Agreement(self.world.seat(self.member), self, signed)

    # --- Desk

    now_ms = property(lambda self: self.world.now_ms)
    slot_ms = SLOT_MS
    registered = 0

    @property
    def next_slot(self):
        return len(self.slots)

    def slot(self, number):
        return self.certified.get(number)

    def waiting(self):
        return tuple(self.arrived)

    def waiting_ms(self):
        return next(iter(self.arrived.values()), None)

    def may_record(self, message):
        return message in self.arrived

    def turn(self, message):
        return self.turns[message]

    def want(self, messages):
        self.wanted = messages

    def say(self, said):
        self.world.publish(self.member, said)

    def persist(self, entry, then=lambda: None):
        self.journal.append(entry)

        def done():
            self.durable += 1
            then()

        self.free_ms = max(self.now_ms, self.free_ms) + self.world.rng.randint(1, 10)
        self.world.later(self.free_ms - self.now_ms, self.member, done)

    def wake(self, delay_ms):
        self.world.later(delay_ms, self.member, self.agreement.tick)

    def certify(self, slot):
        committee_check(self.agreement.seat, slot)
        self.world.certified_by(self.member, slot)
        self.certified.setdefault(slot.statement.slot, slot)
        while (known := self.certified.get(self.next_slot)) is not None:
            if any(i not in self.turns for i in known.messages):
                break
            self.slots[self.next_slot] = known
            self.persist(known)
            for identifier in known.messages:
                self.arrived.pop(identifier, None)
            self.world.now_recorded(self.member, known)
        if self.agreement is not None:
            self.agreement.slot_recorded()

    def leader_replaced(self, statement, certificate):
        self.agreement.seat.check(statement, certificate)
        self.world.replaced.append((self.world.now_ms, statement))

    def accuse(self, evidence):
        self.world.accused.append((self.world.now_ms, self.member, evidence))

    # --- hearing

    def message(self, identifier, turn):
        if identifier in self.turns:
            return
        self.turns[identifier] = turn
        if not any(identifier in slot.messages for slot in self.certified.values()):
            self.arrived[identifier] = self.world.now_ms
        for slot in list(self.certified.values()):
            if slot.statement.slot >= self.next_slot:
                self.certify(slot)
                break
        self.agreement.message_received()

    def hear(self, sender, said):
        try:
            if isinstance(said, committee.CertifiedSlot):
                self.certify(said)
            else:
                self.agreement.hear(self.agreement.seat.owners[sender - 1], said)
        except InvalidInput as error:
            self.world.refused[sender, str(error)] += 1


def committee_check(seat, slot):
    assert merkle.root(slot.messages) == slot.statement.root
    seat.check(slot.statement, slot.signature)


class Council:
    """See the module.

    Args:
      size: members.
      seed: of all dice.
      loss_percent: of messages between members.
      cheats: member -> class, derived from Member.
    """

    def __init__(
        self,
        size,
        seed,
        *,
        loss_percent=0,
        double_percent=0,
        delay_ms=(5, 40),
        forward_ms=FORWARD_MS,
        pull_ms=PULL_MS,
        cheats=None,
    ):
        self.size, self.rng = size, random.Random(seed)
        self.loss, self.double = loss_percent, double_percent
        self.delay_ms, self.forward_ms, self.pull_ms = delay_ms, forward_ms, pull_ms
        self.now_ms = 0
        self.counts, self.refused = Counter(), Counter()
        self.attempt = self.lives = 0
        self.replaced, self.accused, self.recorded_ms = [], [], {}
        self.roots, self.cut = {}, set()
        self._queue, self._sequence = [], 0
        self.cheats = cheats or {}
        self.members = {}
        for m in range(1, size + 1):
            self.members[m] = self.cheats.get(m, Member)(self, m)
        self.sent = 0
        for m in self.members:
            self.later(self.rng.randint(1, SLOT_MS), m, self._tick(m))
            self.later(self.rng.randint(1, pull_ms), m, self._pull(m))

    @property
    def honest(self):
        return [m for m in self.members.values() if m.member not in self.cheats]

    # --- time

    def later(self, delay_ms, member, act, *, life=None):
        self._sequence += 1
        lives = self.members[member].life if member in self.members else 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._sequence, member, life or lives, act))

    def run(self, duration_ms):
        end = self.now_ms + duration_ms
        while self._queue and self._queue[0][0] <= end:
            self.now_ms, _, member, life, act = heapq.heappop(self._queue)
            if self.members[member].life == life or life < 0:
                act()
        self.now_ms = end

    def run_until(self, condition, limit_ms):
        """Go on until a condition holds; return how long that took, None if it did not."""
        start = self.now_ms
        while not condition():
            if self.now_ms - start >= limit_ms:
                return None
            self.run(10)
        return self.now_ms - start

    def _tick(self, member):
        def tick():
            self.members[member].agreement.tick()
            self.later(SLOT_MS, member, tick, life=-1)

        return tick

    def _pull(self, member):
        def pull():
            ours = self.members[member]
            other = self.rng.choice([m for m in self.honest if m is not ours])
            if not {member, other.member} & self.cut:
                for slot in [s for n, s in other.slots.items() if n >= ours.next_slot]:
                    for identifier in slot.messages:
                        ours.message(identifier, other.turns[identifier])
                    ours.certify(slot)
                for identifier in ours.wanted:
                    if identifier in other.turns:
                        ours.message(identifier, other.turns[identifier])
            self.later(self.pull_ms, member, pull, life=-1)

        return pull

    def seat(self, member):
        return make_seat(self.size, member, self.attempt)

    def reshare(self, member, within_ms=500):
        """Let somebody new take a member's place, who knows nothing; all learn of it at different times."""
        self.attempt += 1
        self.members[member] = new = Member(self, member)
        new.life = self.lives = self.lives + 100
        self.restart(member)
        for other in self.members.values():
            if other is not new:
                act = lambda o=other: o.agreement.take_seat(self.seat(o.member))  # noqa: E731
                self.later(self.rng.randint(1, within_ms), other.member, act)

    def restart(self, member):
        """Kill a member; what it had not seen written may be lost."""
        ours = self.members[member]
        ours.durable = self.rng.randint(ours.durable, len(ours.journal))
        ours.start()
        for identifier, turn in self.sent_messages():
            self.later(self.rng.randint(1, 2_000), member, lambda i=identifier, t=turn: ours.message(i, t))

    # --- the network

    def publish(self, sender, said, to=None):
        """Let members hear what one says; those it was not sent to get it from others, later."""
        self.counts[type(said).__name__] += 1
        data = record.encode_tagged(said)
        assert len(data) <= SAID_SIZE_MAX
        assert record.decode_tagged(Said, data, size_max=SAID_SIZE_MAX) == said
        for member, other in self.members.items():
            if member == sender or {member, sender} & self.cut:
                continue
            later = self.forward_ms if to is not None and member not in to else 0
            for _ in range(2 if self.rng.randrange(100) < self.double else 1):
                if self.rng.randrange(100) >= self.loss:
                    delay = self.rng.randint(*self.delay_ms) + later
                    self.later(delay, member, lambda o=other: o.hear(sender, said))

    def mine(self, duration_ms, every_ms=100, lost_percent=0):
        """Let the miners go on for a while; their messages come to each member in its own order."""
        end = self.now_ms + duration_ms
        while self.now_ms < end:
            miner, iteration = self.sent % MINERS, self.sent // MINERS
            self.sent += 1
            for member in self.members:
                lost = self.rng.randrange(100) < lost_percent
                self._deliver(member, miner, iteration, 2_500 if lost else self.rng.randint(5, 300))
            self.run(every_ms)

    def _deliver(self, member, miner, iteration, delay_ms):
        turn = (Outpoint(tagged_hash("test/miner"), miner), iteration)
        act = lambda: self.members[member].message(message_id(miner, iteration), turn)  # noqa: E731
        self.later(delay_ms, member, act, life=-1)

    def sent_messages(self):
        for n in range(self.sent):
            miner, iteration = n % MINERS, n // MINERS
            yield message_id(miner, iteration), (Outpoint(tagged_hash("test/miner"), miner), iteration)

    # --- what must hold

    def certified_by(self, member, slot):
        """No place is certified twice."""
        statement = slot.statement
        known = self.roots.setdefault(statement.slot, statement.root)
        assert known == statement.root, f"slot {statement.slot} was certified twice"

    def now_recorded(self, member, slot):
        if member not in self.cheats:
            self.recorded_ms.setdefault(slot.statement.slot, self.now_ms)

    def check(self):
        """All honest members recorded the same, each message once, each miner's in order of iteration."""
        longest = max((m.slots for m in self.honest), key=len)
        for ours in self.honest:
            assert all(longest[n].statement.root == s.statement.root for n, s in ours.slots.items())
        ids = [i for n in range(len(longest)) for i in longest[n].messages]
        assert len(ids) == len(set(ids))
        return longest

    @property
    def slot_count(self):
        """Slots that every honest member recorded."""
        return min(m.next_slot for m in self.honest)


# --- members that cheat


class Silent(Member):
    """Says nothing as a leader."""

    def say(self, said):
        if not self.agreement.standing.leads:
            super().say(said)


class Dead(Member):
    """Says nothing at all."""

    def say(self, said):
        pass


class Censor(Member):
    """As a leader, leaves out one miner's messages."""

    def waiting(self):
        arrived = super().waiting()
        if self.agreement is None or not self.agreement.standing.leads:
            return arrived
        return tuple(i for i in arrived if self.turns[i][0][1] != 0)


class Reorder(Member):
    """As a leader, proposes an order of its own."""

    def say(self, said):
        if isinstance(said, SlotProposal) and len(said.messages) > 1 and said.ballots:
            messages = (said.messages[-1], *said.messages[:-1])
            statement = replace(said.statement, root=merkle.root(messages))
            signature = self.agreement.seat.sign(self.agreement.seat.proposal_digest(statement))
            said = SlotProposal(statement, messages, said.ballots, signature)
        super().say(said)


class Forger(Member):
    """As a leader, counts ballots that others never cast; in both its places."""

    def say(self, said):
        if isinstance(said, SlotProposal) and said.ballots:
            order = bytes(range(len(said.messages)))
            forged = tuple(Ranking(r.member, order, r.signature) for r in said.ballots)
            messages = tuple(sorted(said.messages))
            statement = replace(said.statement, root=merkle.root(messages))
            signature = self.agreement.seat.sign(self.agreement.seat.proposal_digest(statement))
            said = SlotProposal(statement, messages, forged, signature)
        super().say(said)


class Repeater(Member):
    """Counts its own ballot as that of everybody."""

    def say(self, said):
        if isinstance(said, SlotProposal) and said.ballots:
            own = next(r for r in said.ballots if r.member == self.member)
            said = replace(said, ballots=(own,) * len(said.ballots))
        super().say(said)


class Hasty(Member):
    """Asks for later and later views, with a lock that nobody prepared."""

    def start(self):
        super().start()
        self.world.later(500, self.member, self.rush)

    def rush(self):
        at = self.agreement.standing
        view = at.signed.view + self.world.rng.randint(1, 9)
        place = at.place
        root = tagged_hash("test/fake")
        statement = SlotStatement(TASK, place.epoch, view - 1, place.slot, merkle.root((root,)))
        lock = Prepared(statement, certificate_of(tagged_hash("test/no certificate")))
        for claimed in (None, lock):
            known = self.slot(place.slot - 1)
            before = SlotProof(known.statement, known.signature) if known else None
            report = Report(TASK, place.epoch, view, place.slot, before, claimed, self.member, b"")
            report = replace(report, signature=at.seat.sign(report_digest(report)))
            of = ViewStatement(TASK, place.epoch, view, Reason.SLOW)
            share = ViewShare(Reason.SLOW, at.seat.share(of))
            self.world.publish(self.member, ViewChange(report, (share,), (root,) if claimed else ()))
        self.world.later(500, self.member, self.rush)


class TwoFaced(Member):
    """As a leader, gets ballots on two sets and proposes each to one half; votes for whatever is proposed."""

    def start(self):
        super().start()
        self.ballots, self.shares, self.two, self.done, self.proposed = {}, {}, {}, {}, {}

    def say(self, said):
        if isinstance(said, SlotOpening) and len(said.messages) > 1:
            self.two = {}
            for ids in (said.messages, said.messages[1:]):
                opening = replace(said, messages=ids)
                self.two[merkle.root(ids)] = opening
                self.world.publish(self.member, opening)
                arrived = [i for i in self.arrived if i in ids]
                order = ballots.rank(arrived, [self.turns[i] for i in ids])
                self.ballot(make_ballot(self.agreement.standing, opening, order))
        elif not isinstance(said, SlotProposal | Prepared):
            super().say(said)

    def hear(self, sender, said):
        if isinstance(said, Ballot) and said.candidates in self.two:
            self.ballot(said)
        elif isinstance(said, SlotProposal) or (isinstance(said, Share) and self.agreement.standing.leads):
            self.support(said)
        if not isinstance(said, Ballot):
            super().hear(sender, said)

    def support(self, said):
        """Vote for every proposal; as a leader, make of others' votes what can be made."""
        if isinstance(said, SlotProposal):
            vote_for_all(self, said)
            return
        shares = self.shares.setdefault(said.statement, {})
        shares[said.member] = said.signature
        shares[self.member] = self.agreement.seat.share(said.statement)
        if len(shares) < self.agreement.seat.threshold or said.statement in self.done:
            return
        certificate = self.agreement.seat.combine(shares)
        if isinstance(said.statement, PreparedStatement):
            self.world.publish(self.member, Prepared(said.statement.slot, certificate))
        elif said.statement in self.proposed:
            slot = committee.CertifiedSlot(said.statement, self.proposed[said.statement], certificate)
            self.done[said.statement] = None
            self.world.publish(self.member, slot)
            self.certify(slot)

    def ballot(self, said):
        cast = self.ballots.setdefault((said.place, said.candidates), {})
        cast[said.ranking.member] = said.ranking
        if len(cast) != self.agreement.seat.threshold:
            return
        opening = self.two[said.candidates]
        messages = ballots.count(opening.messages, cast.values())
        place = said.place
        statement = SlotStatement(TASK, place.epoch, place.view, place.slot, merkle.root(messages))
        signature = self.agreement.seat.sign(self.agreement.seat.proposal_digest(statement))
        proposal = SlotProposal(statement, messages, tuple(cast.values()), signature)
        self.proposed[statement] = messages
        half = list(self.two).index(said.candidates)
        self.world.publish(self.member, proposal, to=[m for m in self.world.members if m % 2 == half])
        self.support(Share(PreparedStatement(statement), self.member, bytes(96)))
        self.world.counts["two"] += half


def vote_for_all(member, proposal):
    """Cast both votes for a proposal, whatever it is."""
    for statement in (PreparedStatement(proposal.statement), proposal.statement):
        share = member.agreement.seat.share(statement)
        member.world.publish(member.member, Share(statement, member.member, share))


class Whisperer(Member):
    """As a leader, shows its certified slots to one member only, and votes for whatever others propose."""

    def hear(self, sender, said):
        if isinstance(said, SlotProposal):
            vote_for_all(self, said)
        if isinstance(said, SlotOpening) and all(i in self.turns for i in said.messages):
            order = ballots.rank(said.messages, [self.turns[i] for i in said.messages])
            self.world.publish(self.member, make_ballot(self.agreement.standing, said, order))
        super().hear(sender, said)

    def say(self, said):
        if isinstance(said, committee.CertifiedSlot) and self.agreement.standing.leads:
            friend = self.world.members[1 + (self.member + 1) % self.world.size]
            self.world.later(1, friend.member, lambda: friend.certify(said))
            self.world.counts["whispered"] += 1
        elif not (isinstance(said, SlotOpening) and said.place.slot > 0):
            super().say(said)


class Hoarder(Member):
    """As a leader, shows a certified slot to one member only, which is cut off then, and falls silent."""

    def say(self, said):
        if isinstance(said, committee.CertifiedSlot) and self.agreement.standing.leads:
            friend = 1 + self.member % self.world.size
            self.world.members[friend].certify(said)
            self.world.cut |= {friend, self.member}
            self.world.counts["hoarded"] += 1
        elif self.member not in self.world.cut:
            super().say(said)
