"""A task whose supervisors make their key on chain: the honest, and every liar that key generation knows."""

from dataclasses import replace
from enum import Enum
from functools import cache

from p2pai.chain import dkg, keying
from p2pai.chain.committee import SlotStatement, proposal_digest
from p2pai.chain.dkg import Accusation
from p2pai.chain.params import quorum
from p2pai.chain.spec import Bootstrap
from p2pai.chain.supervision import DkgComplaint, Equivocation, TwoDeals, WrongShare
from p2pai.chain.task import Group
from p2pai.primitives import bls, ecdsa, sealing
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Outpoint, TaskId
from p2pai.vrf import ecvrf
from tests.chain.ledger import (
    EVALUATORS,
    MINERS,
    Chain,
    devnet,
    flip,
    key_hash,
    keys,
    label,
    public,
    secret_share,
)

PRICE = 10**9
"""Atoms of a ticket's stake."""


@cache
def spec_of(applicants: int, **params: int):
    """Return the devnet with one free supervisor's ticket for each of accounts 1 to `applicants`."""
    spec = devnet()
    others = [b for b in spec.tickets if b.in_task or b.ticket.role != "supervisor"]
    sample = next(b.ticket for b in spec.tickets if b.ticket.role == "supervisor")
    own = [
        replace(
            sample,
            owner=public(account),
            key_hash=key_hash(account),
            vrf_key=ecvrf.public_key(keys(account).vrf),
            bls_key=bls.public_key(keys(account).bls),
        )
        for account in range(1, applicants + 1)
    ]
    tickets = (*others, *(Bootstrap(ticket, in_task=False) for ticket in own))
    return replace(spec, tickets=tickets, params=replace(spec.params, **params))


class Assembly(Chain):
    """A chain with a task in KEYING; `task_id` says which."""

    task_id: TaskId

    @classmethod
    def called(
        cls, supervisors: int, reserves: int = 0, *, expected_blocks: int = 99, **params
    ) -> "Assembly":
        """Bring a task to the making of its key."""
        return cls.copy(called(supervisors, reserves, expected_blocks, tuple(sorted(params.items()))))

    @classmethod
    def copy(cls, made: "Assembly") -> "Assembly":
        """Return a chain of its own that begins as another one."""
        chain = made.fork()
        chain.task_id = made.task_id
        return chain

    @classmethod
    def prepare(cls, supervisors: int, reserves: int, expected_blocks: int, **params) -> "Assembly":
        """Let as many apply as are needed."""
        chain = cls(spec_of(supervisors + reserves, **params))
        group = Group(max(3, supervisors**2), supervisors, 3)
        chain.task_id = chain.submit(fee=10**10, group=group, expected_blocks=expected_blocks)
        places = (
            ("miner", MINERS),
            ("evaluator", EVALUATORS),
            ("supervisor", range(1, 1 + supervisors + reserves)),
        )
        for role, accounts in places:
            for account in accounts:
                chain.add(chain.join(chain.task_id, role, account))
        chain.mine_until(chain.now.since + chain.params.join_blocks)
        assert len(chain.now.supervisors) == supervisors
        assert len(chain.now.reserves) == reserves
        return chain

    @classmethod
    def training(cls, supervisors: int, reserves: int = 0, **changes) -> "Assembly":
        """Bring a task to its training."""
        return cls.copy(trained(supervisors, reserves, tuple(sorted(changes.items()))))

    @property
    def now(self):
        """The task."""
        return self.task(self.task_id)

    @property
    def members(self) -> tuple[Outpoint, ...]:
        """Who makes the key at this attempt."""
        return self.now.keying.members

    def say(self, ticket, data):
        """Post what a ticket's owner says."""
        return self.post(self.account(ticket), data)

    def stake(self, ticket) -> int:
        """Return what is left of a stake, atoms."""
        output = self.pool.utxos.get(ticket)
        return output.value if output else 0

    def own_keys(self, ticket):
        return keys(self.account(ticket))

    def wrong_deal(self, ticket, victims):
        """Deal with wrong shares for some members; all that everyone can check is right."""
        attempt, own = self.now.keying, self.own_keys(ticket)
        good = self.deal(self.task_id, ticket).deal
        shares = tuple(
            flip(share, 3) if member in victims else share
            for member, share in zip(attempt.members, good.shares, strict=True)
        )
        return self.signed_deal(self.task_id, ticket, self.proven(ticket, replace(good, shares=shares), own))

    def proven(self, ticket, deal, own):
        """Return a deal with its proof of knowledge made anew, as only its dealer can."""
        attempt, part = self.now.keying, keying.dealer_context(self.now.keying, ticket)
        made = self.now.committee
        constant = secret_share(made, made.members.index(ticket) + 1, own) if made else b""
        terms = (part, quorum(len(attempt.members)).to_bytes(4, "big"), constant)
        receivers = keying.receivers(self.pool, attempt)
        ephemeral = tagged_hash("p2pai/dkg/ephemeral", own.bls, *terms, *receivers)
        bare = replace(deal, knowledge=b"")
        return replace(bare, knowledge=ecvrf.prove(ephemeral, dkg.digest(bare, part)))

    def is_wronged(self, ticket, dealt) -> bool:
        """Return whether a member finds its share of a deal wrong."""
        place = self.members.index(ticket) + 1
        return dkg.open_share(dealt.deal, dealt.context, self.own_keys(ticket).vrf, place) is None

    def accuse(self, ticket, dealer) -> DkgComplaint:
        """Complain of a deal, be it wrong or right."""
        attempt = self.now.keying
        dealt = next(d for d in attempt.dealt if d.ticket == dealer)
        shown = sealing.reveal(self.own_keys(ticket).vrf, dealt.deal.point, dealt.context)
        evidence = WrongShare(dealer, Accusation(shown.shared, shown.proof))
        return DkgComplaint(self.task_id, attempt.attempt, ticket, evidence)

    def second_deal(self, ticket):
        """Deal once more, with another secret (when resharing: another polynomial)."""
        return self.deal(self.task_id, ticket, seed=label("second", ticket))

    def two_deals(self, accuser, first, second) -> DkgComplaint:
        """Show two deals that one dealer signed."""
        part = keying.dealer_context(self.now.keying, first.ticket)
        evidence = TwoDeals(
            first.ticket,
            dkg.digest(first.deal, part),
            first.signature,
            dkg.digest(second.deal, part),
            second.signature,
        )
        return DkgComplaint(self.task_id, self.now.keying.attempt, accuser, evidence)

    def equivocate(self, leader, **changes) -> Equivocation:
        """Propose two slots for one place, as their leader would."""
        place = SlotStatement(self.task_id, 0, 0, 3, label("root"))
        statements = sorted(
            (place, replace(place, root=label("another"))), key=lambda statement: statement.root
        )
        secret = self.own_keys(leader).spending
        made = self.now.committee or self.task(self.predefined).committee
        signatures = [ecdsa.sign(secret, proposal_digest(s, made.key)) for s in statements]
        data = Equivocation(self.task_id, leader, statements[0], signatures[0], statements[1], signatures[1])
        return replace(data, **changes)


@cache
def called(supervisors: int, reserves: int, expected_blocks: int, params: tuple[tuple[str, int], ...]):
    """Return a task whose supervisors are called, which nobody may change: most tests begin with it."""
    return Assembly.prepare(supervisors, reserves, expected_blocks, **dict(params))


@cache
def trained(supervisors: int, reserves: int, changes: tuple[tuple[str, int], ...]):
    """Return such a task in its training."""
    chain = Assembly.called(supervisors, reserves, **dict(changes))
    chain.make_key(chain.task_id)
    chain.mine()
    return chain


class Conduct(Enum):
    """How a supervisor behaves in key generation."""

    HONEST = "honest"
    SILENT = "silent"
    DEALS_ONLY = "deals, and keeps silent then"
    WRONG_SHARE = "deals wrong shares"
    FALSE_ACCUSER = "accuses an honest dealer"
    TWO_DEALS = "signs two deals"


LIARS = (Conduct.WRONG_SHARE, Conduct.FALSE_ACCUSER, Conduct.TWO_DEALS)


class Play:
    """Supervisors of given conduct make a key, in blocks of random boundaries; the honest are never late."""

    def __init__(self, chain: Assembly, conduct, random) -> None:
        self.chain, self.conduct, self.random = chain, conduct, random
        self.signed = {}
        """Two deals that were seen off the chain, by attempt and dealer."""

    def run(self) -> None:
        while self.chain.now.keying is not None:
            attempt = self.chain.now.keying
            is_last = self.chain.height + 1 >= attempt.since + self.chain.params.keying_blocks
            order = list(attempt.members)
            self.random.shuffle(order)
            for ticket in order:
                if is_last or self.random.randrange(2):
                    self.act(ticket)
            self.chain.mine()
            self.chain.check_supply()
        self.chain.mine()

    def act(self, ticket) -> None:
        """Do what is due, one thing after the other, until nothing is."""
        while (step := self.step(ticket)) is not None:
            self.chain.say(ticket, step)

    def step(self, ticket):
        attempt, conduct = self.chain.now.keying, self.conduct[ticket]
        if attempt is None or ticket not in attempt.members or conduct is Conduct.SILENT:
            return None
        if conduct in (Conduct.HONEST, Conduct.WRONG_SHARE):
            complaint = self.complaint(attempt, ticket)
            if complaint is not None:
                return complaint
        if conduct is Conduct.FALSE_ACCUSER and (victims := self.honest_dealers(attempt)):
            return self.chain.accuse(ticket, self.random.choice(victims))
        if ticket in attempt.dealers and ticket not in [d.ticket for d in attempt.dealt]:
            return self.deal(attempt, ticket, conduct)
        due = attempt.committee is not None and ticket not in attempt.confirmed
        if due and conduct is not Conduct.DEALS_ONLY:
            return self.chain.confirm(self.chain.task_id, ticket)
        return None

    def complaint(self, attempt, ticket):
        for dealt in attempt.dealt:
            if dealt.ticket != ticket and self.chain.is_wronged(ticket, dealt):
                return self.chain.accuse(ticket, dealt.ticket)
            if (attempt.attempt, dealt.ticket) in self.signed and self.conduct[ticket] is Conduct.HONEST:
                return self.chain.two_deals(ticket, *self.signed[attempt.attempt, dealt.ticket])
        return None

    def honest_dealers(self, attempt):
        return [d.ticket for d in attempt.dealt if self.conduct[d.ticket] is Conduct.HONEST]

    def deal(self, attempt, ticket, conduct):
        if conduct is Conduct.WRONG_SHARE:
            honest = [m for m in attempt.members if self.conduct[m] is Conduct.HONEST]
            victims = {m for m in attempt.members if m != ticket and self.random.randrange(2)}
            return self.chain.wrong_deal(ticket, victims | set(honest[:1]))
        data = self.chain.deal(self.chain.task_id, ticket)
        if conduct is Conduct.TWO_DEALS:
            self.signed[attempt.attempt, ticket] = (data, self.chain.second_deal(ticket))
        return data
