"""A small real chain for tests: real keys, signatures, certificates, work proofs; only training is made up.

`Chain` keeps a state, makes transactions and mines blocks on it. What an honest miner would have trained is
invented (content ids of weights and the like are hashes of labels), but all that the ledger checks is real:
the messages are signed, stand in slots that the task's supervisors certified, and earned the block's nonce. A
test breaks one rule with a hook of `Plan`, and everything that follows from the change is made anew, so that
the block breaks this rule alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import pytest

import p2pai.chain
from p2pai.chain import committee, dkg, evaluation, it_res, keying, schedule, transition, verification, work
from p2pai.chain import spec as chain_spec
from p2pai.chain.block import Block, Header
from p2pai.chain.coins import is_locked
from p2pai.chain.committee import Committee, HistoryStatement, SlotStatement
from p2pai.chain.fraud import NOTHING_JUDGED, Judgement, Judgements
from p2pai.chain.genesis import genesis_state
from p2pai.chain.headers import meets_target
from p2pai.chain.it_res import EndState, IterationResult
from p2pai.chain.params import quorum
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.state import Stage, State, Task
from p2pai.chain.supervision import DkgDeal, DkgSuccessful, MessageHistory
from p2pai.chain.task import Reward, TaskDefinition
from p2pai.chain.transaction import (
    BuyTickets,
    Coinbase,
    CollectVerifications,
    Conclusion,
    EvaluateCommit,
    EvaluateReveal,
    JoinTask,
    Output,
    Pay,
    PayForTask,
    Stake,
    Transaction,
    Transfer,
    VerifyCommit,
    VerifyReveal,
    sign,
)
from p2pai.chain.work_proof import Recorded, WorkProof
from p2pai.primitives import blob, bls, ecdsa, merkle
from p2pai.primitives.errors import InvalidBlock
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import ZERO_HASH, Amount, BlobId, BlsSignature, Hash32, Outpoint, PeerId, TaskId
from p2pai.primitives.keys import Keys, derive_keys
from p2pai.vrf import ecvrf, selection

EASY = 0x207FFFFF
"""Every second hash meets it."""

FEE = 2_000
"""Atoms that each transaction pays to the miner."""

ACCOUNTS = 10
CLIENT = 0
SUPERVISORS = VERIFIERS = EVALUATORS = (1, 2, 3)
MINERS = (4, 5, 6)

MAP = bytes(2)
"""A message map of no elements."""

FRAGMENTS = {
    blob.blob_id(chunks): tuple(merkle.leaf_hash(chunk) for chunk in chunks)
    for chunks in ([b"batch %d of fragment %d" % (i, f) for i in range(6)] for f in range(10))
}
"""Made-up data: ten fragments of six mini-batches, by id."""


def label(*parts: object) -> Hash32:
    """Return a content id that stands for data that nobody looks at."""
    return tagged_hash("p2pai/test", *(str(p).encode() for p in parts))


@cache
def keys(account: int) -> Keys:
    return derive_keys(chain_spec.dev_account_seed("devnet", account))


@cache
def public(account: int) -> bytes:
    return ecdsa.public_key(keys(account).spending)


@cache
def key_hash(account: int) -> bytes:
    return ecdsa.key_hash(public(account))


@cache
def devnet() -> chain_spec.ChainSpec:
    """The devnet with a target that everybody meets, on the made-up data."""
    preset = Path(p2pai.chain.__file__).with_name("presets") / "devnet.toml"
    parsed = chain_spec.parse(preset.read_text())
    task = parsed.tasks[0]
    data = replace(task.dataset, fragments=tuple(FRAGMENTS))
    return replace(
        parsed,
        params=replace(parsed.params, genesis_bits=EASY, limit_bits=EASY, verification_window_blocks=4),
        tasks=(replace(task, dataset=data),),
    )


@cache
def genesis(spec: chain_spec.ChainSpec) -> State:
    return genesis_state(spec)


@cache
def secret_share(made: Committee, index: int, own: Keys) -> bytes:
    """Return a member's share of its committee's key."""
    opened = {d.index: dkg.open_share(d.deal, d.context, own.vrf, index) for d in made.dealt}
    return dkg.combine_share(opened, renewed=made.renewed)


def definition(**changes: object) -> TaskDefinition:
    """A client's task on the made-up data."""
    task = replace(
        devnet().tasks[0],
        name="digits",
        epochs=2,
        reward=Reward(70, 15, 15),
        client=PeerId("client"),
        expected_blocks=6,
    )
    return replace(task, **changes)


def same(value):
    return value


@dataclass(frozen=True)
class Plan:
    """How a block is made; a test changes one thing."""

    miner: int = MINERS[0]
    task: TaskId | None = None
    """None: the predefined one."""
    iteration: int = 7
    """Of the lucky message."""
    time: int | None = None
    """None: one spacing after the parent."""
    nonce_offset: int | None = None
    """From the first nonce of the iteration; None: the first one that meets the target."""
    header: Callable[[Header], Header] = same
    """Changes the header before the miner commits to it."""
    coinbase: Callable[[Transaction], Transaction] = same
    committed: Callable[[IterationResult], IterationResult] = same
    """Changes a message before it is signed."""
    previous: Callable[[IterationResult], IterationResult] = same
    lucky: Callable[[IterationResult], IterationResult] = same
    sent: Callable[[bytes], bytes] = same
    """Changes the lucky message after it was signed."""
    slots: Callable[[list[list[bytes]]], list[list[bytes]]] = same
    """Changes which messages stand in which slots."""
    statement: Callable[[SlotStatement], SlotStatement] = same
    """Changes what the supervisors sign."""
    signers: tuple[int, ...] = SUPERVISORS


@dataclass
class Chain:
    """A growing chain and the transactions that wait for its next block."""

    spec: chain_spec.ChainSpec = field(default_factory=devnet)
    state: State | None = None
    blocks: list[Block] = field(default_factory=list)
    precursors: dict[Hash32, Hash32] = field(default_factory=dict)
    """What a replay of each block's lucky iteration would give."""
    queue: list[Transaction] = field(default_factory=list)
    pool: State | None = None
    """The state with the queue applied."""
    judged: dict[Hash32, Judgement] = field(default_factory=dict)
    """What replays would say of blocks that a FRAUD_PROOF names."""

    def __post_init__(self):
        self.state = self.state or genesis(self.spec)
        self.pool = self.pool or self.state

    @property
    def params(self):
        return self.spec.params

    @property
    def height(self):
        return self.state.height

    def fork(self) -> "Chain":
        """Return a chain that goes on by itself from here."""
        return type(self)(self.spec, self.state, list(self.blocks), self.precursors, judged=self.judged)

    # --- transactions

    def fund(self, account, data=None, outputs: tuple[Output, ...] = (), fee=FEE) -> Transaction:
        """Return a signed transaction that pays for its outputs out of the account's largest coins."""
        wanted, total, inputs = sum(o.value for o in outputs) + fee, 0, []
        for value, outpoint in self.coins(account):
            inputs.append(outpoint)
            total += value
            if total > wanted:
                break
        change = Pay(Amount(total - wanted), key_hash(account))
        assert change.value > 0, "the account is too poor for this test"
        tx = Transaction(1, tuple(inputs), (*outputs, change), data or Transfer())
        return self.sign(tx, account)

    def sign(self, tx, account):
        return sign(tx, self.state.chain, keys(account).spending)

    def coins(self, account):
        """Return what an account can spend, largest first."""
        found = (
            (output.value, outpoint)
            for outpoint, output in self.pool.utxos.items()
            if output.key_hash == key_hash(account)
            and not (isinstance(output, Stake) and is_locked(self.pool, outpoint))
        )
        return sorted(found, key=lambda coin: (-coin[0], coin[1]))

    def add(self, tx: Transaction) -> Transaction:
        """Put a transaction into the next block, if it is valid."""
        self.pool, _ = transition.apply_transaction(self.pool, tx, self.params, judged=self.judged)
        self.queue.append(tx)
        return tx

    def post(self, account, data=None, outputs=()) -> Transaction:
        return self.add(self.fund(account, data, outputs))

    # --- blocks

    def draft(self, plan: Plan | None = None, transactions=None, **changes) -> Block:
        """Make the next block without connecting it."""
        transactions = tuple(self.queue if transactions is None else transactions)
        return Drafting(self, replace(plan or Plan(), **changes), transactions).block()

    def mine(self, plan: Plan | None = None, **changes) -> Block:
        """Make the next block of what waits, and connect it."""
        return self.connect(self.draft(plan, **changes))

    def connect(self, block: Block) -> Block:
        self.state = transition.apply_block(self.state, block, self.params, judged=self.judged)
        self.pool, self.queue = self.state, []
        self.blocks.append(block)
        return block

    def mine_until(self, height: int, **changes) -> None:
        while self.height < height:
            self.mine(**changes)

    # --- tickets

    def tickets(self, role, account, *, task=None) -> list[Outpoint]:
        """Return an account's tickets of a role that work on `task`, or are free."""
        owner = public(account)
        rows = self.pool.tickets.items()
        return sorted(o for o, t in rows if (t.role, t.owner, t.task) == (role, owner, task))

    def buy(self, account, role="miner", count=1, **changes) -> Transaction:
        own = keys(account)
        data = BuyTickets(
            role=role,
            preferences=(1, 1),
            vrf_key=ecvrf.public_key(own.vrf),
            bls_key=bls.public_key(own.bls),
            possession=bls.prove_possession(own.bls),
            peer=PeerId(f"peer{account}"),
        )
        stake = Stake(self.state.ticket_price, key_hash(account))
        return self.fund(account, replace(data, **changes), (stake,) * count)

    # --- verification

    def verifier(self, account) -> Outpoint:
        return self.tickets("verifier", account)[0]

    def commit(self, block: Block, account, *, approved=True, precursor=None, ticket=None) -> VerifyCommit:
        ticket = ticket or self.verifier(account)
        opening = (precursor or self.precursors[block.hash], approved, label("salt", account))
        return VerifyCommit(block.hash, ticket, verification.commitment(ticket, block.hash, *opening))

    def reveal(self, block: Block, account, *, approved=True, precursor=None, ticket=None) -> VerifyReveal:
        opening = (precursor or self.precursors[block.hash], approved, label("salt", account))
        return VerifyReveal(block.hash, ticket or self.verifier(account), *opening)

    def approve(self, block: Block, accounts=VERIFIERS, *, approved=True) -> None:
        """Let verifiers commit, the miner collect, and the verifiers reveal, all in the next block."""
        miner = self.state.verifications[block.hash].miner
        for account in accounts:
            self.post(account, self.commit(block, account, approved=approved))
        self.post(next(a for a in range(ACCOUNTS) if key_hash(a) == miner), CollectVerifications(block.hash))
        for account in accounts:
            self.post(account, self.reveal(block, account, approved=approved))

    # --- tasks

    @property
    def predefined(self) -> TaskId:
        return next(i for i, t in sorted(self.state.tasks.items()) if t.is_predefined)

    def task(self, task_id: TaskId) -> Task:
        return self.pool.tasks[task_id]

    def submit(self, fee=1_000_000, **changes) -> TaskId:
        """Post a task and mine the block that defines it."""
        data = PayForTask(definition(**changes), self.state.times[0])
        tx = self.post(CLIENT, data, (Stake(Amount(fee), key_hash(CLIENT)),))
        self.mine()
        return TaskId(tx.txid)

    def join(self, task_id, role, account, **changes) -> Transaction:
        ticket = self.tickets(role, account)[0]
        block = self.task(task_id).definition_block
        alpha = selection.alpha(block, task_id, role, ticket)
        data = JoinTask(task_id, block, ticket, ecvrf.prove(keys(account).vrf, alpha))
        return self.fund(account, replace(data, **changes))

    def join_all(self, task_id) -> None:
        """Let the accounts apply that the tests name, one for each place."""
        for role, accounts in (("miner", MINERS), ("supervisor", SUPERVISORS), ("evaluator", EVALUATORS)):
            for account in accounts:
                self.add(self.join(task_id, role, account))

    def start(self, **changes) -> TaskId:
        """Bring a new task to its training; what nearly every test begins with is made once."""
        if self.pool is not genesis(self.spec):
            return self._start(**changes)
        made, task_id = started(type(self), self.spec, tuple(sorted(changes.items())))
        self.state = self.pool = made.state
        self.blocks = list(made.blocks)
        self.precursors.update(made.precursors)
        return task_id

    def _start(self, **changes) -> TaskId:
        task_id = self.submit(**changes)
        self.begin(task_id)
        return task_id

    def begin(self, task_id) -> None:
        """Bring a submitted task to its training: everybody applies, the supervisors make their key."""
        self.join_all(task_id)
        self.mine_until(self.task(task_id).since + self.params.join_blocks)
        self.make_key(task_id)
        self.mine()
        assert self.task(task_id).stage is Stage.TRAINING

    def account(self, ticket) -> int:
        """Return whose ticket it is."""
        return next(a for a in range(ACCOUNTS) if public(a) == self.pool.tickets[ticket].owner)

    def make_key(self, task_id) -> None:
        """Let all supervisors deal and confirm, in the next block."""
        for ticket in self.task(task_id).keying.dealers:
            self.post(self.account(ticket), self.deal(task_id, ticket))
        for ticket in self.task(task_id).keying.members:
            self.post(self.account(ticket), self.confirm(task_id, ticket))

    def deal(self, task_id, ticket, seed=None, constant=None) -> DkgDeal:
        """Deal as a supervisor that keeps the rules."""
        task, own = self.task(task_id), keys(self.account(ticket))
        part = keying.dealer_context(task.keying, ticket)
        if constant is None and task.committee is not None:
            constant = secret_share(task.committee, task.committee.members.index(ticket) + 1, own)
        deal = dkg.make_deal(
            seed or own.bls,
            part,
            keying.receivers(self.pool, task.keying),
            quorum(len(task.keying.members)),
            constant,
        )
        return self.signed_deal(task_id, ticket, deal)

    def signed_deal(self, task_id, ticket, deal) -> DkgDeal:
        attempt = self.task(task_id).keying
        part = keying.dealer_context(attempt, ticket)
        digest = keying.deal_digest(part, dkg.digest(deal, part))
        signature = ecdsa.sign(keys(self.account(ticket)).spending, digest)
        return DkgDeal(task_id, attempt.attempt, ticket, deal, signature)

    def confirm(self, task_id, ticket) -> DkgSuccessful:
        attempt = self.task(task_id).keying
        return DkgSuccessful(task_id, attempt.attempt, ticket, attempt.committee.key)

    def history(self, task_id, first=0, last=9, models=None, signers=SUPERVISORS) -> MessageHistory:
        statement = HistoryStatement(task_id, first, last, label("history", first, last), models)
        signature = self.certify(task_id, statement, signers)
        return MessageHistory(task_id, first, last, statement.root, models, signature)

    def certify(self, task_id, statement, signers=SUPERVISORS) -> BlsSignature:
        """Sign as the supervisors of a task whose accounts are given."""
        made = self.task(task_id).committee
        accounts = {i: self.account(member) for i, member in enumerate(made.members, 1)}
        return committee.combine(
            {
                i: committee.sign(secret_share(made, i, keys(a)), statement)
                for i, a in accounts.items()
                if a in signers
            }
        )

    def end_training(self, task_id) -> None:
        self.post(SUPERVISORS[0], self.history(task_id, models=BlobId(label("models"))))
        self.mine()
        assert self.task(task_id).stage is Stage.EVALUATING

    def evaluator(self, task_id, account) -> Outpoint:
        return self.tickets("evaluator", account, task=task_id)[0]

    def conclude(self, task_id, account, conclusion) -> EvaluateCommit:
        ticket, salt = self.evaluator(task_id, account), label("salt", account)
        return EvaluateCommit(task_id, ticket, evaluation.commitment(ticket, task_id, conclusion, salt))

    def open_conclusion(self, task_id, account, conclusion) -> EvaluateReveal:
        return EvaluateReveal(task_id, self.evaluator(task_id, account), conclusion, label("salt", account))

    def evaluate(self, task_id, conclusion=None) -> Conclusion:
        """Let all evaluators agree, in the next block."""
        conclusion = conclusion or Conclusion((300, 200, 100), 360, BlobId(label("best")))
        for account in EVALUATORS:
            self.post(account, self.conclude(task_id, account, conclusion))
        for account in EVALUATORS:
            self.post(account, self.open_conclusion(task_id, account, conclusion))
        return conclusion

    def charge(self, task_id) -> Transaction:
        return evaluation.charge(self.pool, task_id, self.task(task_id))

    def check_supply(self) -> None:
        assert self.state.issued - self.state.burned == self.state.unspent_total()


def grown(blocks, *, start=None, miner=MINERS[0], approved=()):
    """Return a chain with `blocks` more blocks; those whose number is in `approved` get all approvals."""
    chain = start.fork() if start else Chain()
    for i in range(blocks):
        block = chain.mine(miner=miner)
        if i in approved:
            chain.approve(block)
    if approved:
        chain.mine(miner=miner)
    return chain


@cache
def started(kind, spec: chain_spec.ChainSpec, changes: tuple[tuple[str, object], ...]):
    """Return a chain from genesis on with one task in training, which nobody may change, and the task."""
    chain = kind(spec)
    return chain, chain._start(**dict(changes))


class Drafting:
    """One block in the making."""

    def __init__(self, chain: Chain, plan: Plan, transactions: tuple[Transaction, ...]) -> None:
        self.chain, self.plan, self.state = chain, plan, chain.state
        self.task_id = plan.task or chain.predefined
        self.task = chain.state.tasks[self.task_id]
        self.ticket = chain.tickets("miner", plan.miner, task=self.task_id)[0]
        self.transactions = (self._coinbase(transactions), *transactions)
        self.template = plan.header(self._template())
        self.turn = self._turn()

    def block(self) -> Block:
        attempt = 0
        while True:
            messages, precursor = self._messages(attempt)
            proof = self._proof(messages)
            header = self._mine(proof)
            if header is not None:
                break
            attempt += 1
        roots = [slot.root for slot in proof.slots]
        header = replace(
            header,
            hash_msg=proof.messages_root,
            hash_msg_hist=committee.history_root(roots),
        )
        self.chain.precursors[header.hash] = precursor
        return Block(header, proof, self.transactions)

    def _coinbase(self, transactions) -> Transaction:
        params, data = self.chain.params, Coinbase(self.state.height + 1, self.task_id, self.ticket)
        try:
            after, fees = transition.apply_transactions(self.state, transactions, params, trusted=True)
            _, outputs = transition.coinbase_outputs(after, data, fees, params)
        except InvalidBlock:
            outputs = ()  # the block is refused for what is in it
        return self.plan.coinbase(Transaction(1, (), outputs, data))

    def _template(self) -> Header:
        time = self.plan.time or self.state.times[-1] + self.chain.params.spacing_s
        return transition.zero_nonce_header(self.state, self.transactions, time, self.chain.params)

    def _turn(self) -> schedule.Turn:
        plan = schedule.make_schedule(self.task.definition, self.task.definition_block)
        turn = self.task.roster.turn(plan, self.ticket, self.plan.iteration)
        assert turn is not None
        self.place = plan.place(turn.batch)
        return turn

    def _messages(self, attempt) -> tuple[list[bytes], Hash32]:
        """Return the signed messages i, i + k - 1, i + k, and the nonce precursor of the last."""
        last, distance = self.plan.iteration, self.chain.params.commitment_distance
        ends = (BlobId(label(part, attempt)) for part in ("weights", "residual", "optimiser"))
        precursor = it_res.precursor(EndState(*ends, label("witness", attempt)), MAP)
        committed = self.message(
            last - distance, zero_nonce_block=self.template.zero_nonce_hash, nonce=label("nonce", attempt)
        )
        previous = self.message(last - 1, queued=BlobId(label("peers", last)))
        lucky = self.message(last, nonce=it_res.nonce(precursor))
        self.nonce = self.plan.lucky(lucky).nonce
        changed = (self.plan.committed(committed), self.plan.previous(previous), self.plan.lucky(lucky))
        first, second, third = (self.signed(m) for m in changed)
        return [first, second, self.plan.sent(third)], precursor

    def message(self, iteration, **changes) -> IterationResult:
        message = IterationResult(
            task_prefix=self.task_id[: it_res.TASK_PREFIX_SIZE],
            epoch=self.turn.epoch,
            message_map=MAP,
            metrics=(0x3E000000, 0x3F800000),
            started_s=1_780_000_000,
            finished_s=1_780_000_001,
            batch=FRAGMENTS[self.place.fragment][self.place.index],
            applied=BlobId(label("peers", iteration)),
            weights=BlobId(label("weights", iteration)),
            residual=BlobId(label("residual", iteration)),
            zero_nonce_block=label("another block"),
            queued=BlobId(label("peers", iteration + 1)),
            ticket=self.ticket,
            iteration=iteration,
            optimiser=blob.blob_id_of(b""),
            peer_count=2,
            peer_ids=it_res.hash_ids((label("a"), label("b"))),
            nonce=label("nonce", iteration),
            tau_bits=self.task.definition.tau.bits,
            moved=0,
            validation=(),
            platform=ZERO_HASH,
        )
        return replace(message, **changes)

    def signed(self, message: IterationResult) -> bytes:
        return sign_message(message, self.task_id, self.plan.miner).encode()

    def _mine(self, proof: WorkProof) -> Header | None:
        first = it_res.first_nonce(self.nonce, proof.slots[0].root)
        fixed, count = self.plan.nonce_offset, work.nonce_count(self.task.definition, self.chain.params)
        for offset in range(count) if fixed is None else (fixed,):
            header = replace(self.template, nonce=work.nonce_at(first, offset))
            if meets_target(header):
                return header
        return None

    def _proof(self, messages: list[bytes]) -> WorkProof:
        other = self.signed(self.message(0))
        slots = self.plan.slots([[other, messages[0]], [other], [messages[1], other, messages[2]]])
        statements = [
            self.plan.statement(SlotStatement(self.task_id, 0, 0, 20 + i, self.root(slot)))
            for i, slot in enumerate(slots)
        ]
        certificate = bls.aggregate([self._certificate(s) for s in statements])
        recorded = [self._place(slots, message) for message in messages]
        path = merkle.inclusion_path(FRAGMENTS[self.place.fragment], self.place.index)
        return WorkProof(self.ticket, tuple(statements), certificate, *recorded, path)

    @staticmethod
    def root(slot: list[bytes]) -> Hash32:
        return merkle.root([it_res.message_id(m) for m in slot])

    def _certificate(self, statement) -> BlsSignature:
        return self.chain.certify(self.task_id, statement, self.plan.signers)

    @staticmethod
    def _place(slots, message) -> Recorded:
        number = next(n for n, slot in enumerate(slots) if message in slot)
        slot = slots[number]
        index = slot.index(message)
        path = merkle.inclusion_path([it_res.message_id(m) for m in slot], index)
        return Recorded(message, number, index, len(slot), path)


def sign_message(message: IterationResult, task: TaskId, account: int) -> IterationResult:
    """Sign an IT_RES as an account."""
    digest = it_res.signing_digest(task, message.encode_unsigned())
    return replace(message, signature=ecdsa.sign(keys(account).spending, digest))


def refused(chain: Chain, block: Block, reason: str, judged: Judgements = NOTHING_JUDGED) -> None:
    """Check that a block is refused for a reason, and leaves nothing behind."""
    before = snapshot_id(chain.state)
    with pytest.raises(InvalidBlock, match=reason):
        transition.apply_block(chain.state, block, chain.params, judged=judged)
    assert snapshot_id(chain.state) == before


def with_proof(block: Block, **changes: object) -> Block:
    """Return a block whose work proof is changed after it was made."""
    assert block.work_proof is not None
    return replace(block, work_proof=replace(block.work_proof, **changes))


def flip(data: bytes, bit: int = 0) -> bytes:
    """Return `data` with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
