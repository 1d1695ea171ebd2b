"""A history of one's own: blocks that old keys can sign, without any training.

Whoever holds the keys of all workers of an old ledger - sold, stolen, or published as those of a devnet -
makes from it a chain in which everything holds that a ledger can check: messages signed by a miner of the
task, slots certified by its supervisors, nonces earned, blocks approved by all of their verifiers. Only a
replay would show that nobody trained; nobody replays what is final, or what all its verifiers approved.

The messages are those of one real block, signed anew for what the forged block commits to.

Source: PoUW §7.3, "Long-range attacks"; RELIABILITY (2), "long-range, deep fork".
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from p2pai.chain import committee, course, dkg, it_res, schedule, transition, verification, work
from p2pai.chain.block import Block, Header
from p2pai.chain.coins import is_locked
from p2pai.chain.headers import meets_target
from p2pai.chain.params import Params
from p2pai.chain.state import State, Task, Ticket
from p2pai.chain.transaction import (
    Coinbase,
    CollectVerifications,
    Output,
    Pay,
    Transaction,
    VerifyCommit,
    VerifyReveal,
    sign,
)
from p2pai.chain.work_proof import Recorded, WorkProof
from p2pai.primitives import ecdsa, merkle
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlsSignature, Hash32, KeyHash, Outpoint
from p2pai.primitives.keys import Keys


@dataclass(frozen=True)
class Forged:
    """A block of the forged history."""

    block: Block
    state: State
    """After it."""
    precursor: Hash32
    """What an approval of it has to show."""


@dataclass(frozen=True)
class _Turn:
    """An iteration of the miner's, on the batch of the real one."""

    later: int
    """Iterations after the real one."""
    epoch: int


class Forger:
    """Keys, one real block whose messages the forged ones are made of, and the ticket that mined it."""

    def __init__(self, keys: Iterable[Keys], params: Params, pattern: Block, author: Ticket) -> None:
        self._keys = {ecdsa.key_hash(ecdsa.public_key(k.spending)): k for k in keys}
        self._params = params
        assert pattern.work_proof is not None
        self._proof = pattern.work_proof
        coinbase = pattern.transactions[0].data
        assert isinstance(coinbase, Coinbase)
        self._task_id = coinbase.task
        self._miner = self._keys[author.key_hash].spending
        self._committed = it_res.decode(self._proof.committed.message)
        self._previous = it_res.decode(self._proof.previous.message)
        self._lucky = it_res.decode(self._proof.lucky.message)

    def history(self, state: State, spacing_s: int) -> Iterator[Forged]:
        """Yield block after block on a ledger, each approved by all of its verifiers in the next one."""
        last: Forged | None = None
        for turn in self._turns(state):
            last = self._block(state, last, turn, spacing_s)
            state = last.state
            yield last

    def _turns(self, state: State) -> Iterator[_Turn]:
        """Yield later turns of the miner at the batch of the real one: no iteration earns two blocks."""
        task = state.tasks[self._task_id]
        plan = schedule.make_schedule(task.definition, task.definition_block)
        place = course.Place(plan, self._proof.ticket, task.roster)
        real = place.turn(self._lucky.iteration)
        assert real is not None
        for iteration in count(self._lucky.iteration + 1):
            turn = place.turn(iteration)
            assert turn is not None
            if turn.batch == real.batch and turn.first < iteration:
                yield _Turn(iteration - self._lucky.iteration, turn.epoch)

    def _block(self, state: State, before: Forged | None, turn: _Turn, spacing_s: int) -> Forged:
        approvals = tuple(self._approvals(state, before)) if before else ()
        transactions = (self._coinbase(state, approvals), *approvals)
        time = state.times[-1] + spacing_s
        template = transition.zero_nonce_header(state, transactions, time, self._params)
        header, proof, precursor = self._mine(template, turn, state)
        block = Block(header, proof, transactions)
        after = transition.apply_block(state, block, self._params, trusted=True)
        return Forged(block, after, precursor)

    def _coinbase(self, state: State, transactions: tuple[Transaction, ...]) -> Transaction:
        data = Coinbase(state.height + 1, self._task_id, self._proof.ticket)
        after, fees = transition.apply_transactions(state, transactions, self._params, trusted=True)
        _, outputs = transition.coinbase_outputs(after, data, fees, self._params)
        return Transaction(1, (), outputs, data)

    # --- work without training

    def _mine(self, template: Header, turn: _Turn, state: State) -> tuple[Header, WorkProof, Hash32]:
        task = state.tasks[self._task_id]
        first = self._signed(replace(self._committed, zero_nonce_block=template.zero_nonce_hash), turn)
        previous = self._signed(self._previous, turn)
        for attempt in count():
            precursor = tagged_hash("p2pai/forged", template.zero_nonce_hash, attempt.to_bytes(8, "big"))
            last = self._signed(replace(self._lucky, nonce=it_res.nonce(precursor)), turn)
            messages = (first, previous, last)
            root = merkle.root([it_res.message_id(message) for message in messages])
            start = it_res.first_nonce(it_res.nonce(precursor), root)
            for offset in range(work.nonce_count(task.definition, self._params)):
                header = replace(template, nonce=work.nonce_at(start, offset))
                if meets_target(header):
                    return *self._complete(header, messages, task, state), precursor
        raise AssertionError("unreachable")

    def _signed(self, message: it_res.IterationResult, turn: _Turn) -> bytes:
        message = replace(message, iteration=message.iteration + turn.later, epoch=turn.epoch)
        digest = it_res.signing_digest(self._task_id, message.encode_unsigned())
        return replace(message, signature=ecdsa.sign(self._miner, digest)).encode()

    def _complete(
        self, header: Header, messages: Sequence[bytes], task: Task, state: State
    ) -> tuple[Header, WorkProof]:
        leaves = [it_res.message_id(message) for message in messages]
        statement = replace(self._proof.slots[-1], root=merkle.root(leaves))
        places = [
            Recorded(message, 0, i, len(messages), merkle.inclusion_path(leaves, i))
            for i, message in enumerate(messages)
        ]
        certificate = self._certify(task, state, statement)
        path = self._proof.batch_path
        proof = WorkProof(
            self._proof.ticket, (statement,), certificate, places[0], places[1], places[2], path
        )
        roots = committee.history_root([statement.root])
        return replace(header, hash_msg=proof.messages_root, hash_msg_hist=roots), proof

    def _certify(self, task: Task, state: State, statement: committee.SlotStatement) -> BlsSignature:
        made = task.committee
        assert made is not None
        signatures = {}
        for index, member in enumerate(made.members[: made.threshold], 1):
            keys = self._keys[state.tickets[member].key_hash]
            opened = {d.index: dkg.open_share(d.deal, d.context, keys.vrf, index) for d in made.dealt}
            shares = {dealer: share for dealer, share in opened.items() if share is not None}
            signatures[index] = committee.sign(dkg.combine_share(shares, renewed=made.renewed), statement)
        return committee.combine(signatures)

    # --- approvals without replays

    def _approvals(self, state: State, before: Forged) -> Iterator[Transaction]:
        """Yield what approves a block: all commits, the miner's collecting, all reveals."""
        name, opened = before.block.hash, state.verifications[before.block.hash]
        tickets = [t for t in opened.verifiers if state.tickets[t].key_hash in self._keys]
        salt = tagged_hash("p2pai/forged-salt", name)
        said: list[tuple[KeyHash, Any]] = []
        for ticket in tickets:
            sealed = verification.commitment(ticket, name, before.precursor, True, salt)  # noqa: FBT003
            said.append((state.tickets[ticket].key_hash, VerifyCommit(name, ticket, sealed)))
        said.append((opened.miner, CollectVerifications(name)))
        for ticket in tickets:
            reveal = VerifyReveal(name, ticket, before.precursor, True, salt)  # noqa: FBT003
            said.append((state.tickets[ticket].key_hash, reveal))
        for author, data in said:
            tx = self._paid(state, author, data)
            state, _ = transition.apply_transaction(state, tx, self._params, trusted=True)
            yield tx

    def _paid(self, state: State, author: KeyHash, data: Any) -> Transaction:  # noqa: ANN401
        """Return a transaction that moves one coin of its author's to the author, signed."""
        outpoint, coin = next(self._coins(state, author))
        tx = Transaction(1, (outpoint,), (Pay(coin.value, author),), data)
        return sign(tx, state.chain, self._keys[author].spending)

    @staticmethod
    def _coins(state: State, author: KeyHash) -> Iterator[tuple[Outpoint, Output]]:
        for outpoint, output in sorted(state.utxos.items()):
            if output.key_hash == author and isinstance(output, Pay) and not is_locked(state, outpoint):
                yield outpoint, output
