"""The mempool's rules once more, as plain as they can be: a list, and all recomputed from it each time."""

from dataclasses import dataclass
from fractions import Fraction

from p2pai.chain import mempool, packages, template, transition
from p2pai.chain.tickets import ticket_count
from p2pai.chain.transaction import BuyTickets, PayForTask, RevokeTask, Transfer
from p2pai.primitives.errors import InvalidInput

DUTY_WORTH = 10 * 10**8


class Refused(Exception):
    """The model does not take a transaction."""


@dataclass(frozen=True, eq=False)
class Waits:
    tx: object
    fee: int
    height: int

    @property
    def ordinary(self):
        return isinstance(self.tx.data, Transfer | BuyTickets | PayForTask | RevokeTask)

    @property
    def worth(self):
        return self.fee + (0 if self.ordinary else DUTY_WORTH)


def parents(entry, entries):
    makers = {outpoint.txid for outpoint in entry.tx.inputs}
    return [e for e in entries if e.tx.txid in makers]


def with_ancestors(entry, entries):
    found = [entry]
    while more := [e for f in found for e in parents(f, entries) if e not in found]:
        found.append(more[0])
    return found


def with_descendants(entry, entries):
    return [e for e in entries if entry in with_ancestors(e, entries)]


def rate(entries):
    return Fraction(sum(e.worth for e in entries), sum(e.tx.size for e in entries))


def is_large(entries):
    counted = [e for e in entries if e.ordinary]
    size = sum(e.tx.size for e in counted)
    return len(counted) > packages.PACKAGE_COUNT_MAX or size > packages.PACKAGE_BYTES_MAX


class PoolModel:
    """What `Mempool` should be."""

    def __init__(self, state, params):
        self.tip, self.params = state, params
        self.waiting, self.floor = [], 1

    @property
    def state(self):
        return self.apply([e.tx for e in self.waiting])

    def apply(self, transactions, state=None):
        state = state or self.tip
        for tx in transactions:
            state, _ = transition.apply_transaction(state, tx, self.params, trusted=True)
        return state

    def surviving(self, entries):
        """Return those that are still valid, one after the other; what an entry pays does not change."""
        state, kept = self.tip, []
        for entry in entries:
            try:
                state, _ = transition.apply_transaction(state, entry.tx, self.params, trusted=True)
            except InvalidInput:
                continue
            kept.append(entry)
        return kept

    def add(self, tx):
        if any(e.tx.txid == tx.txid for e in self.waiting):
            raise Refused
        conflicts = [e for e in self.waiting if set(e.tx.inputs) & set(tx.inputs)]
        leaving = [e for e in self.waiting if any(e in with_descendants(c, self.waiting) for c in conflicts)]
        staying = self.surviving([e for e in self.waiting if e not in leaving])
        entry = Waits(tx, self.fee(tx, staying), self.tip.height)
        self.check_conflicts(entry, conflicts, leaving)
        least = self.floor if entry.ordinary else 1
        if entry.fee < least * tx.size:
            raise Refused
        after = [*staying, entry]
        related = with_ancestors(entry, after)
        if is_large(related) or any(is_large(with_descendants(e, after)) for e in related[1:]):
            raise Refused
        self.waiting = after
        self.trim(entry)

    def fee(self, tx, staying):
        try:
            return transition.apply_transaction(
                self.apply([e.tx for e in staying]), tx, self.params, trusted=True
            )[1]
        except InvalidInput:
            raise Refused from None

    def check_conflicts(self, entry, conflicts, leaving):
        if not conflicts:
            return
        tx = entry.tx
        old = {outpoint for c in conflicts for outpoint in c.tx.inputs}
        new = [outpoint for outpoint in tx.inputs if outpoint not in old]
        if any(outpoint.txid == e.tx.txid for outpoint in new for e in self.waiting):
            raise Refused
        if any(getattr(e.tx.data, "block", e) == getattr(tx.data, "block", None) for e in leaving):
            raise Refused  # two for one place: here everybody holds one ticket
        if len(leaving) > mempool.EVICTED_MAX:
            raise Refused
        if any(Fraction(entry.fee, tx.size) <= Fraction(c.fee, c.tx.size) for c in conflicts):
            raise Refused
        if entry.fee < sum(e.fee for e in leaving) + tx.size:
            raise Refused

    def trim(self, newcomer=None):
        while self.is_full():
            worst = min(
                self.waiting,
                key=lambda e: (
                    max(rate([e]), rate(with_descendants(e, self.waiting))),
                    -self.waiting.index(e),
                ),
            )
            package = with_descendants(worst, self.waiting)
            paid = sum(e.fee for e in package) // sum(e.tx.size for e in package)
            self.floor = max(self.floor, paid + 1)
            self.waiting = [e for e in self.waiting if e not in package]
        self.waiting = self.surviving(self.waiting)
        if newcomer is not None and newcomer not in self.waiting:
            raise Refused

    def is_full(self):
        return len(self.waiting) > mempool.COUNT_MAX or self.size > mempool.SIZE_BYTES_MAX

    @property
    def size(self):
        return sum(e.tx.size for e in self.waiting)

    def rebase(self, state, returned=()):
        for _ in range(self.tip.height, state.height):
            self.floor -= (self.floor - 1 + 7) // 8
        self.tip = state
        waiting = [e for e in self.waiting if state.height - e.height < mempool.EXPIRY_BLOCKS]
        self.waiting = []
        for tx, height in [(tx, state.height) for tx in returned] + [(e.tx, e.height) for e in waiting]:
            if tx.txid not in [e.tx.txid for e in self.waiting]:
                self.take_back(tx, height, check=bool(returned))
        if returned:
            self.trim()

    def take_back(self, tx, height, *, check):
        try:
            entry = Waits(tx, self.fee(tx, self.waiting), height)
        except Refused:
            return
        after = [*self.waiting, entry]
        if check and any(is_large(with_descendants(e, after)) for e in with_ancestors(entry, after)):
            return
        if check and is_large(with_ancestors(entry, after)):
            return
        self.waiting = after

    # --- templates

    def template(self):
        chosen = []
        for entry in self.waiting:
            rest = self.rest(entry, chosen)
            junk = sum(e.tx.size for e in rest if e.ordinary)
            if not entry.ordinary and junk <= template.ESCORT_BYTES_MAX and entry not in chosen:
                self.choose(rest, chosen)
        tried = []
        while True:
            rests = [(e, self.rest(e, chosen)) for e in self.waiting if e not in chosen]
            rests = [(e, rest) for e, rest in rests if (e, len(rest)) not in tried]
            if not rests:
                return [e.tx for e in chosen]
            best, rest = max(
                rests, key=lambda pair: (min(rate([pair[0]]), rate(pair[1])), -self.waiting.index(pair[0]))
            )
            if not self.choose(rest, chosen):
                tried.append((best, len(rest)))

    def rest(self, entry, chosen):
        return [e for e in self.waiting if e in with_ancestors(entry, self.waiting) and e not in chosen]

    def choose(self, rest, chosen):
        candidates = [e.tx for e in [*chosen, *rest]]
        bought = sum(ticket_count(tx) for tx in candidates if isinstance(tx.data, BuyTickets))
        if sum(tx.size for tx in candidates) > mempool.TEMPLATE_BYTES_MAX:
            return False
        if bought > self.params.tickets_per_block_max:
            return False
        try:
            self.apply(candidates)
        except InvalidInput:
            return False
        chosen.extend(rest)
        return True
