"""Random valid blocks: everybody does what the ledger allows at the moment, for one seed one history."""

from dataclasses import replace
from functools import partial
from random import Random

from p2pai.chain import pausing, votes
from p2pai.chain.committee import MalformedStatement, Reason, StatusStatement, ViewStatement
from p2pai.chain.fraud import Judgement
from p2pai.chain.state import Stage
from p2pai.chain.supervision import (
    ConsiderPause,
    ConsiderResume,
    NodeStatus,
    Pause,
    ReplaceLeader,
    ReportMalformed,
    Resume,
    Suspicion,
)
from p2pai.chain.task_life import MALFORMED
from p2pai.chain.transaction import (
    CollectVerifications,
    Conclusion,
    FraudProof,
    Pay,
    PayForTask,
    RevokeTask,
    Stake,
    VerifyReveal,
)
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import ZERO_HASH, BlobId, TaskId
from tests.chain.ledger import (
    ACCOUNTS,
    CLIENT,
    VERIFIERS,
    definition,
    key_hash,
    keys,
    label,
)

EVERYBODY = tuple(range(ACCOUNTS))


def play(chain, seed, blocks, after=lambda: None):
    """Mine `blocks` blocks on an `Assembly`, a few random transactions in each; call `after` behind each."""
    random = Random(seed)
    salt = 0
    for _ in range(blocks):
        if random.randrange(4):
            attempt(chain, random, approve, salt)
        for _ in range(random.randrange(14)):
            salt += 1
            attempt(chain, random, random.choice(ACTIONS), salt)
        mine(chain, random)
        after()


def attempt(chain, random, action, salt):
    """Do one thing; what the ledger does not allow now is left undone."""
    queue, pool = list(chain.queue), chain.pool
    try:
        action(chain, random, salt)
    except (InvalidInput, LookupError):
        chain.queue, chain.pool = queue, pool


def mine(chain, random):
    """Mine on any task in training, by any of its miners that this very block does not release."""
    training = [i for i, t in chain.state.active_tasks() if t.stage is Stage.TRAINING]
    owned = ((i, a, chain.tickets("miner", a, task=i)) for i in training for a in EVERYBODY)
    seats = [(i, a) for i, a, tickets in owned if tickets and tickets[0] in chain.state.utxos]
    task_id, miner = random.choice(seats)
    time = chain.state.times[-1] + random.randrange(1, 15)
    chain.mine(task=task_id, miner=miner, time=time, signers=EVERYBODY)


def pay(chain, random, salt):
    value = random.randrange(1, 10**9)
    chain.post(random.randrange(ACCOUNTS), outputs=(Pay(value, key_hash(random.randrange(ACCOUNTS))),))


def buy(chain, random, salt):
    role = random.choice(("miner", "supervisor", "evaluator", "verifier"))
    chain.add(chain.buy(random.randrange(ACCOUNTS), role, count=random.randrange(1, 4)))


def verify(chain, random, salt):
    """Commit on a block, and reveal or forget."""
    block = random.choice(chain.blocks[-3:])
    accounts = random.sample(VERIFIERS, random.randrange(1, 4))
    for account in accounts:
        chain.post(account, chain.commit(block, account))
    miner = chain.pool.verifications[block.hash].miner
    chain.post(next(a for a in EVERYBODY if key_hash(a) == miner), CollectVerifications(block.hash))
    for account in random.sample(accounts, random.randrange(len(accounts) + 1)):
        chain.post(account, chain.reveal(block, account))


def prove_fraud(chain, random, salt):
    """Show that a miner mined a false block elsewhere, and that verifiers approved it."""
    mining = [t for t in chain.pool.tasks[chain.predefined].miners if t in chain.pool.utxos]
    ticket = random.choice(sorted(o for o, t in chain.pool.tickets.items() if t.role == "miner"))
    if random.randrange(6) or (ticket in mining and len(mining) == 1):
        raise LookupError
    block = label("false block", salt)
    chain.judged[block] = Judgement(chain.height, ticket, label("found"), "message map")
    reveals = [(a, VerifyReveal(block, chain.verifier(a), ZERO_HASH, True, ZERO_HASH)) for a in VERIFIERS]
    shown = tuple(chain.fund(a, r).encoded for a, r in random.sample(reveals, random.randrange(3)))
    chain.post(random.choice(EVERYBODY), FraudProof(block, chain.height, ticket, label("found"), shown))


def approve(chain, random, salt):
    """Let everybody who was drawn approve the last block."""
    block = chain.blocks[-1]
    pooled = chain.pool.verifications[block.hash]
    for ticket in pooled.verifiers:
        chain.say(ticket, chain.commit(block, chain.account(ticket), ticket=ticket))
    miner = next(a for a in EVERYBODY if key_hash(a) == pooled.miner)
    chain.post(miner, CollectVerifications(block.hash))
    for ticket in pooled.verifiers:
        chain.say(ticket, chain.reveal(block, chain.account(ticket), ticket=ticket))


def vote(chain, random, salt):
    """Let most of the validators vote, for one of two snapshots."""
    for ticket in drawn(chain):
        if random.randrange(4):
            chain.say(ticket, cast(chain, ticket, chain.pool.voting.block, random.randrange(9) // 8))


def vote_twice(chain, random, salt):
    """Show that a validator voted on two blocks, but for miners at work: somebody has to go on."""
    ticket = random.choice([t for t in drawn(chain) if chain.pool.tickets[t].role != "miner"])
    one, other = (cast(chain, ticket, label("block", salt, i), 0) for i in range(2))
    chain.post(random.choice(EVERYBODY), votes.evidence(chain.pool.tickets[ticket].owner, one, other))


def drawn(chain):
    """Return the validators who are there still."""
    if chain.pool.voting is None:
        raise LookupError
    return [ticket for ticket in chain.pool.voting.validators if ticket in chain.pool.tickets]


def cast(chain, ticket, block, snapshot):
    secret = keys(chain.account(ticket)).spending
    height = chain.pool.voting.height
    return votes.cast(secret, chain.state.chain, ticket, height, block, BlobId(label("snapshot", snapshot)))


def submit(chain, random, salt):
    """Post a task, most of the time when there is none to apply for."""
    waiting = [i for i, t in chain.pool.active_tasks() if t.stage is Stage.JOINING]
    if waiting and random.randrange(8):
        raise LookupError
    chain.post(CLIENT, new_task(random, salt), (Stake(random.randrange(1, 10**9), key_hash(CLIENT)),))


def new_task(random, salt, replaces=None):
    changes = {"name": f"task {salt}", "expected_blocks": random.randrange(2, 12)}
    return PayForTask(definition(**changes), salt, replaces)


def revoke(chain, random, salt):
    """Take a task back, or post another in its place, out of its fee."""
    task_id = in_stage(chain, random, Stage.JOINING)
    if random.randrange(2):
        chain.post(CLIENT, RevokeTask(task_id))
        return
    task = chain.task(task_id)
    tx = chain.fund(CLIENT, new_task(random, salt, task_id))
    outputs = (Stake(task.fee, key_hash(CLIENT)),)
    chain.add(chain.sign(replace(tx, inputs=(task.stake,), outputs=outputs, witnesses=()), CLIENT))


def in_stage(chain, random, stage) -> TaskId:
    return random.choice([i for i, t in chain.state.active_tasks() if t.stage is stage and t.stake])


def join(chain, random, salt):
    """Let everybody apply who can, but for a few."""
    task_id = in_stage(chain, random, Stage.JOINING)
    for role in ("miner", "supervisor", "evaluator"):
        for account in EVERYBODY:
            if random.randrange(20) and chain.tickets(role, account):
                attempt(chain, random, partial(apply_for, task_id, role, account), salt)


def apply_for(task_id, role, account, chain, random, salt):
    chain.add(chain.join(task_id, role, account))


def keyed(chain, random):
    """Choose a task whose supervisors make a key."""
    chain.task_id = random.choice([i for i, t in chain.pool.active_tasks() if t.keying])
    return chain.now.keying


def make_key(chain, random, salt):
    """Deal and confirm, or forget it."""
    attempt = keyed(chain, random)
    for ticket in attempt.dealers:
        if ticket not in [d.ticket for d in attempt.dealt] and random.randrange(12):
            chain.say(ticket, chain.deal(chain.task_id, ticket))
    for ticket in attempt.members if chain.now.keying.committee else ():
        if chain.now.keying and ticket not in chain.now.keying.confirmed and random.randrange(12):
            chain.say(ticket, chain.confirm(chain.task_id, ticket))


def lie(chain, random, salt):
    """Deal a wrong share, or twice, or accuse somebody falsely, and be found out."""
    attempt = keyed(chain, random)
    liar, honest = random.sample(attempt.dealers, 2)
    kind = random.randrange(3)
    if kind == 0:
        chain.say(liar, chain.wrong_deal(liar, {honest}))
        chain.say(honest, chain.accuse(honest, liar))
    elif kind == 1:
        chain.say(honest, chain.deal(chain.task_id, honest))
        chain.say(liar, chain.accuse(liar, honest))
    else:
        chain.say(honest, chain.two_deals(honest, chain.deal(chain.task_id, liar), chain.second_deal(liar)))


def trained(chain, random):
    """Choose a client's task in training and a supervisor of it."""
    chain.task_id = in_stage(chain, random, Stage.TRAINING)
    return chain.task_id, random.choice(chain.now.supervisors)


def equivocate(chain, random, salt):
    """Show that a supervisor cheated, perhaps one that is out, or after the training."""
    chain.task_id = in_stage(chain, random, random.choice((Stage.TRAINING, Stage.TRAINING, Stage.EVALUATING)))
    leader = random.choice((*chain.now.supervisors, *chain.now.expelled))
    chain.post(random.choice(EVERYBODY), chain.equivocate(leader))


def replace_leader(chain, random, salt):
    task_id, supervisor = trained(chain, random)
    epoch, view = chain.now.view
    statement = ViewStatement(task_id, epoch + random.randrange(2), view + 1, random.choice(list(Reason)))
    signature = chain.certify(task_id, statement, EVERYBODY)
    place = (statement.epoch, statement.view, statement.reason)
    chain.say(supervisor, ReplaceLeader(task_id, *place, signature))


def report_malformed(chain, random, salt):
    task_id, supervisor = trained(chain, random)
    if random.randrange(4) == 0:
        statement = MalformedStatement(task_id, random.randrange(10))
        signature = chain.certify(task_id, statement, EVERYBODY)
        chain.say(supervisor, ReportMalformed(task_id, statement.fragment, signature))


def lose_miner(chain, random, salt):
    task_id, supervisor = trained(chain, random)
    roster, epochs = chain.now.roster, chain.now.definition.epochs or 9
    statement = StatusStatement(task_id, random.choice(roster.working), random.randrange(2, epochs + 2))
    signature = chain.certify(task_id, statement, EVERYBODY)
    chain.say(supervisor, NodeStatus(task_id, statement.ticket, statement.epoch, signature))


def pause(chain, random, salt):
    """Consider a pause, or its end, and bring it about where a majority does."""
    stage = random.choice((Stage.TRAINING, Stage.PAUSED, Stage.PAUSED))
    chain.task_id = task_id = in_stage(chain, random, stage)
    pauses = stage is Stage.TRAINING
    for ticket in pausing.workers(chain.now):
        if random.randrange(4):
            data = (
                ConsiderPause(task_id, ticket, Suspicion.DOS_ATTACK)
                if pauses
                else ConsiderResume(task_id, ticket)
            )
            chain.say(ticket, data)
    ticket = random.choice(pausing.workers(chain.now))
    chain.say(ticket, Pause(task_id, ticket) if pauses else Resume(task_id, ticket))


def register(chain, random, salt):
    task_id, supervisor = trained(chain, random)
    first = chain.now.slots
    models = BlobId(label("models")) if random.randrange(3) else None
    last = first + random.randrange(5)
    chain.say(supervisor, chain.history(task_id, first, last, models, EVERYBODY))


def evaluate(chain, random, salt):
    """Commit, reveal and charge, or forget some of it."""
    chain.task_id = task_id = in_stage(chain, random, Stage.EVALUATING)
    task = chain.now
    scores = tuple(random.randrange(4) for _ in task.miners)
    conclusion = Conclusion(scores, 360, BlobId(label("best"))) if random.randrange(6) else MALFORMED
    forgets = random.randrange(4)
    accounts = [chain.account(t) for t in task.evaluators]
    for account in accounts:
        chain.post(account, chain.conclude(task_id, account, conclusion))
    for account in accounts if forgets else accounts[:1]:
        chain.post(account, chain.open_conclusion(task_id, account, conclusion))


def charge(chain, random, salt):
    concluded = [i for i, t in chain.pool.active_tasks() if t.conclusion]
    chain.add(chain.charge(random.choice(concluded)))


def spend_stakes(chain, random, salt):
    """Move all that an account can spend, released stakes too."""
    account = random.randrange(ACCOUNTS)
    coins = chain.coins(account)
    total = sum(value for value, _ in coins) - 2_000
    tx = chain.fund(account)
    tx = replace(
        tx, inputs=tuple(o for _, o in coins), outputs=(Pay(total, key_hash(account)),), witnesses=()
    )
    chain.add(chain.sign(tx, account))


ACTIONS = (
    pay,
    buy,
    verify,
    verify,
    vote,
    vote_twice,
    submit,
    submit,
    revoke,
    join,
    join,
    join,
    make_key,
    make_key,
    make_key,
    make_key,
    lie,
    equivocate,
    prove_fraud,
    replace_leader,
    lose_miner,
    pause,
    report_malformed,
    register,
    register,
    evaluate,
    evaluate,
    charge,
    spend_stakes,
)
