"""From an iteration's by-products to a block: commitments, nonces, the work proof.

A miner commits at iteration i to a zero-nonce block. When iteration i+k is done and the slot that recorded
the commitment is certified, it may try that block's nonces, if the chain's tip is still the block's parent. A
lucky block waits for the certificates of the slots that record its other messages, then goes out.

Source: PoUW §5.1, Algorithm 2; PROTOCOL section 8.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from p2pai.chain import committee, it_res, work
from p2pai.chain.block import Block, Header
from p2pai.chain.headers import meets_target
from p2pai.chain.params import WORK_PROOF_SLOTS_MAX
from p2pai.chain.transaction import Transaction
from p2pai.chain.work_proof import WorkProof
from p2pai.jobs import ModelState
from p2pai.primitives import bls
from p2pai.primitives.ids import Hash32, Outpoint
from p2pai.roles.history import TaskHistory

LUCKY_MAX: Final = 8
"""Lucky blocks that wait for certificates; all but the first are siblings."""

ATTEMPTS_MAX: Final = 16
"""Iterations whose nonces wait for the slot of their commitment; the trainer remembers as many capsules."""

Template = tuple[Header, tuple[Transaction, ...]]


@dataclass(frozen=True, slots=True)
class Lucky:
    """A block whose nonce was found, waiting for its messages to be recorded."""

    header: Header
    transactions: tuple[Transaction, ...]
    iteration: int
    batch_path: tuple[Hash32, ...]


@dataclass(frozen=True, slots=True)
class Attempt:
    """An iteration whose nonces are still to be tried."""

    iteration: int
    announced: Hash32
    """The nonce in its IT_RES."""
    before: ModelState
    """What it started from; with the mini-batch it names its capsule."""
    batch: Hash32
    applied: bytes
    """The list of peers' messages that it applied, a part of its capsule."""
    batch_path: tuple[Hash32, ...]


@dataclass(slots=True)
class Tally:
    """What became of the nonces that a miner earned since it started.

    Each iteration earns the same number. What is neither tried nor lost waits, or was given up with its task.
    """

    earned: int = 0
    """Iterations."""
    tried: int = 0
    """Of them, those whose nonces were hashed while their block could still become the next."""
    stale: int = 0
    """Lost: the tip had moved since the commitment, k iterations before."""
    uncommitted: int = 0
    """Lost: nothing was committed to k iterations before, or it was forgotten in a restart of the trainer."""
    crowded: int = 0
    """Lost: too many iterations waited for the record, or too many blocks."""
    found: int = 0
    """Blocks that met the target."""
    late: int = 0
    """Of them, those that the tip overtook before the record was certified."""
    sent: int = 0
    """Of them, those that went out."""


@dataclass(slots=True)
class Mining:
    """One miner's commitments and lucky blocks in one task."""

    ticket: Outpoint
    distance: int
    """k."""
    tally: Tally = field(default_factory=Tally)
    commitments: dict[int, Template] = field(default_factory=dict)
    attempts: dict[int, Attempt] = field(default_factory=dict)
    lucky: list[Lucky] = field(default_factory=list)

    def commit(self, iteration: int, template: Template) -> Hash32:
        """Remember a zero-nonce block; return the hash that goes into IT_RES."""
        self.commitments[iteration] = template
        self.commitments.pop(iteration - self.distance - ATTEMPTS_MAX, None)
        return template[0].zero_nonce_hash

    def forget(self) -> None:
        """Give up what was committed to; lucky blocks still go out."""
        self.tally.uncommitted += len(self.attempts)
        self.commitments.clear()
        self.attempts.clear()

    def earn(self, attempt: Attempt) -> None:
        """Note an iteration's nonces; the oldest are given up when too many wait."""
        self.tally.earned += 1
        self.attempts[attempt.iteration] = attempt
        if self.attempts.pop(attempt.iteration - ATTEMPTS_MAX, None) is not None:
            self.tally.crowded += 1

    def try_nonces(self, history: TaskHistory, count: int, tip: Hash32) -> list[Attempt]:
        """Try the nonces of every iteration whose commitment is recorded; return the lucky iterations."""
        found = []
        for attempt in list(self.attempts.values()):
            template = self.commitments.get(attempt.iteration - self.distance)
            if template is None or template[0].prev != tip or len(self.lucky) >= LUCKY_MAX:
                del self.attempts[attempt.iteration]
                self._lose(template, tip)
                continue
            slot = self._commitment_slot(attempt, history)
            if slot is not None:
                del self.attempts[attempt.iteration]
                self.tally.tried += 1
                if self._try(attempt, template, it_res.first_nonce(attempt.announced, slot), count):
                    self.tally.found += 1
                    found.append(attempt)
        return found

    def _lose(self, template: Template | None, tip: Hash32) -> None:
        if template is None:
            self.tally.uncommitted += 1
        elif template[0].prev != tip:
            self.tally.stale += 1
        else:
            self.tally.crowded += 1

    def _commitment_slot(self, attempt: Attempt, history: TaskHistory) -> Hash32 | None:
        identifier = history.places.get((self.ticket, attempt.iteration - self.distance))
        place = history.recorded.get(identifier) if identifier else None
        return history.slots[place[0]].statement.root if place else None

    def _try(self, attempt: Attempt, template: Template, first: Hash32, count: int) -> bool:
        header, transactions = template
        for offset in range(count):
            candidate = replace(header, nonce=work.nonce_at(first, offset))
            if meets_target(candidate):
                self.lucky.append(Lucky(candidate, transactions, attempt.iteration, attempt.batch_path))
                return True
        return False

    def finished_blocks(self, history: TaskHistory, tip: Hash32) -> list[Block]:
        """Return the lucky blocks whose messages are all recorded; drop those that came too late."""
        in_time = [lucky for lucky in self.lucky if lucky.header.prev == tip]
        self.tally.late += len(self.lucky) - len(in_time)
        self.lucky = in_time
        blocks = []
        for lucky in list(self.lucky):
            proof = self._proof(lucky, history)
            if proof is not None:
                self.lucky.remove(lucky)
                blocks.append(_complete(lucky, proof))
        self.tally.sent += len(blocks)
        return blocks

    def _proof(self, lucky: Lucky, history: TaskHistory) -> WorkProof | None:
        steps = (lucky.iteration - self.distance, lucky.iteration - 1, lucky.iteration)
        ids = [history.places.get((self.ticket, step)) for step in steps]
        known = [i for i in ids if i is not None and i in history.recorded and i in history.messages]
        if len(known) != len(steps):
            return None
        places = [history.recorded[i] for i in known]
        if places != sorted(places):
            return None  # recorded late, after a loss: such a commitment could have been made afterwards
        first, last = places[0][0], places[2][0]
        numbers = range(first, last + 1)
        if len(numbers) > WORK_PROOF_SLOTS_MAX or any(n not in history.slots for n in numbers):
            return None
        committed, previous, found = (history.place(i, first) for i in known)
        slots = [history.slots[n] for n in numbers]
        certificate = bls.aggregate([slot.signature for slot in slots])
        statements = tuple(slot.statement for slot in slots)
        return WorkProof(self.ticket, statements, certificate, committed, previous, found, lucky.batch_path)


def _complete(lucky: Lucky, proof: WorkProof) -> Block:
    header = replace(
        lucky.header,
        hash_msg=proof.messages_root,
        hash_msg_hist=committee.history_root([slot.root for slot in proof.slots]),
    )
    return Block(header, proof, lucky.transactions)
