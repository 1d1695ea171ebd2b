"""The ledger's money as a clerk would keep it: the list of blocks is read from the first to the last each
time.

Dicts and sums, nothing shared with the ledger's code but the records of transactions: who owns which coin,
which stakes are locked, who verifies which block, what each coinbase must pay, how heavy the chain is. It
knows transfers, tickets, verdicts, and tasks that end before they start.
"""

from dataclasses import dataclass, field
from hashlib import sha256

from p2pai.chain.transaction import (
    BuyTickets,
    JoinTask,
    PayForTask,
    RevokeTask,
    Stake,
    VerifyCommit,
    VerifyReveal,
)
from p2pai.primitives.ids import Outpoint


@dataclass
class Coin:
    value: int
    owner: bytes
    is_stake: bool


@dataclass
class Opened:
    """A block under verification."""

    height: int
    miner: bytes
    work: int
    verifiers: tuple
    committed: list = field(default_factory=list)
    revealed: dict = field(default_factory=dict)


class Books:
    """What follows from a genesis state and a list of blocks."""

    def __init__(self, genesis, params, blocks=(), waiting=()):
        self.params, self.height = params, 0
        self.coins = {o: Coin(c.value, c.key_hash, isinstance(c, Stake)) for o, c in genesis.utxos.items()}
        self.tickets = dict(genesis.tickets.items())
        self.bound = {o: t.task for o, t in self.tickets.items() if t.task}
        self.fees, self.posted = {}, {}
        """Of tasks that may be joined: the output of the fee, and the height at which they were posted."""
        self.supervisors = [
            t.key_hash for o, t in sorted(self.tickets.items()) if t.role == "supervisor" and t.task
        ]
        self.opened, self.issued, self.burned, self.weight = {}, genesis.issued, 0, 0
        for block in blocks:
            self.connect(block)
        for tx in waiting:
            self.apply(tx)

    # --- transactions

    def locked(self, outpoint):
        """Whether a stake is held in the next block."""
        if outpoint in self.tickets:
            drawn = any(outpoint in opened.verifiers for opened in self.opened.values())
            return drawn or outpoint in self.bound or not self.has_expired(outpoint, self.height + 1)
        return outpoint in self.fees.values()

    def has_expired(self, ticket, height):
        return ticket not in self.bound and 0 < self.tickets[ticket].expires <= height

    def accepts(self, inputs, values, signer):
        """Whether a transfer by one signer is valid: of his own, unlocked coins, not more than they are."""
        if not inputs or len(set(inputs)) < len(inputs) or any(value <= 0 for value in values):
            return False
        for outpoint in inputs:
            coin = self.coins.get(outpoint)
            if coin is None or coin.owner != signer or (coin.is_stake and self.locked(outpoint)):
                return False
        return sum(self.coins[o].value for o in inputs) >= sum(values)

    def apply(self, tx):
        """Move the money of one transaction; return its fee."""
        self.apply_data(tx)
        spent = 0
        for outpoint in tx.inputs:
            spent += self.coins.pop(outpoint).value
            self.tickets.pop(outpoint, None)
        self.add_outputs(tx)
        return spent - sum(output.value for output in tx.outputs)

    def add_outputs(self, tx):
        for i, output in enumerate(tx.outputs):
            self.coins[Outpoint(tx.txid, i)] = Coin(output.value, output.key_hash, isinstance(output, Stake))

    def apply_data(self, tx):
        data = tx.data
        if isinstance(data, BuyTickets):
            for i, output in enumerate(tx.outputs):
                if isinstance(output, Stake):
                    self.tickets[Outpoint(tx.txid, i)] = self.bought(data, output)
        elif isinstance(data, PayForTask):
            if data.replaces is not None:
                self.close(data.replaces)
            self.fees[tx.txid], self.posted[tx.txid] = Outpoint(tx.txid, 0), self.height + 1
        elif isinstance(data, RevokeTask):
            self.close(data.task)
        elif isinstance(data, JoinTask):
            self.bound[data.ticket] = data.task
        elif isinstance(data, VerifyCommit):
            self.opened[data.block].committed.append(data.ticket)
        elif isinstance(data, VerifyReveal):
            self.reveal(data)

    def bought(self, data, output):
        life = self.params.ticket_maturity_blocks + self.params.ticket_expiry_blocks
        expires = self.height + 1 + life if self.params.ticket_expiry_blocks else 0
        return Held(data.role, output.key_hash, self.height + 1, expires)

    def close(self, task):
        """A task is over before it began: its fee is its client's, its applicants are free."""
        del self.fees[task], self.posted[task]
        self.bound = {ticket: of for ticket, of in self.bound.items() if of != task}

    def reveal(self, data):
        opened = self.opened[data.block]
        before = self.weight_of(opened)
        opened.revealed[data.ticket] = data.approved
        self.weight += self.weight_of(opened) - before

    @staticmethod
    def weight_of(opened):
        return opened.work * sum(opened.revealed.values()) // len(opened.verifiers) if opened.verifiers else 0

    # --- blocks

    def connect(self, block):
        coinbase, *others = block.transactions
        fees = sum(self.apply(tx) for tx in others)
        miner = self.tickets[coinbase.data.ticket]
        due = [(fees, miner.key_hash)] if fees else []
        due += self.settle(self.height + 1 - self.params.verification_window_blocks)
        assert [(o.value, o.key_hash) for o in coinbase.outputs] == due, "the coinbase pays something else"
        self.height += 1
        self.add_outputs(coinbase)
        self.open(block, miner.key_hash, coinbase.data.ticket)
        for task, height in list(self.posted.items()):
            if self.height >= height + self.params.join_blocks:
                self.close(task)

    def settle(self, height):
        """Pay a block's subsidy, and take a part of the stake of whoever kept a verdict back."""
        name = next((name for name, opened in self.opened.items() if opened.height == height), None)
        if name is None:
            return []
        opened = self.opened.pop(name)
        for ticket in opened.committed:
            if ticket not in opened.revealed:
                self.slash(ticket, self.params.offline_penalty_percent)
        due = [(value, owner) for value, owner in self.subsidy(opened) if value]
        self.issued += sum(value for value, _ in due)
        return due

    def subsidy(self, opened):
        approvers = sorted(ticket for ticket, approved in opened.revealed.items() if approved)
        if not approvers:
            return []
        total = self.params.subsidy_atoms * len(approvers) // len(opened.verifiers)
        verifiers = total * self.params.verifier_share_percent // 100
        supervisors = total * self.params.supervisor_share_percent // 100
        owners = [self.tickets[ticket].key_hash for ticket in approvers]
        return [
            (total - verifiers - supervisors, opened.miner),
            *equally(verifiers, owners),
            *equally(supervisors, self.supervisors),
        ]

    def slash(self, ticket, percent):
        cut = self.coins[ticket].value * percent // 100
        self.coins[ticket].value -= cut
        self.burned += cut

    def open(self, block, miner, ticket):
        live = [
            o
            for o, t in self.tickets.items()
            if t.role == "verifier"
            and t.key_hash != miner
            and (t.height == 0 or t.height + self.params.ticket_maturity_blocks <= self.height)
            and not self.has_expired(o, self.height)
        ]
        drawn = sorted(live, key=lambda o: tagged("p2pai/sortition", block.hash, o.encode()))
        verifiers = tuple(sorted(drawn[: self.params.verifiers_per_block_max]))
        bits = block.header.bits
        target = (bits & 0x7FFFFF) << 8 * ((bits >> 24) - 3)
        self.opened[block.hash] = Opened(self.height, miner, 2**256 // (target + 1), verifiers)


@dataclass
class Held:
    """A ticket that was bought."""

    role: str
    key_hash: bytes
    height: int
    expires: int


def equally(total, owners):
    """Divide among owners; the first gets what does not divide."""
    share, rest = divmod(total, len(owners))
    return [(share + (rest if i == 0 else 0), owner) for i, owner in enumerate(owners)]


def tagged(tag, *parts):
    digest = sha256(tag.encode()).digest()
    return sha256(digest + digest + b"".join(len(p).to_bytes(8, "big") + p for p in parts)).digest()
