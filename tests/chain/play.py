"""Random valid blocks: everybody does what the ledger allows at the moment, for one seed one history."""

from dataclasses import replace
from random import Random

from p2pai.chain.state import Stage
from p2pai.chain.transaction import CollectVerifications, Conclusion, Pay, PayForTask, Stake
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import BlobId, TaskId
from tests.chain.ledger import (
    ACCOUNTS,
    CLIENT,
    EVALUATORS,
    MINERS,
    SUPERVISORS,
    VERIFIERS,
    definition,
    key_hash,
    label,
)


def play(chain, seed, blocks, after=lambda: None):
    """Mine `blocks` blocks, each with a few random transactions; call `after` behind each."""
    random = Random(seed)
    salt = 0
    for _ in range(blocks):
        for _ in range(random.randrange(6)):
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
    training = [i for i, t in chain.state.active_tasks() if t.stage is Stage.TRAINING]
    task_id = random.choice(training)
    miners = [account for account in MINERS if chain.tickets("miner", account, task=task_id)]
    time = chain.state.times[-1] + random.randrange(1, 15)
    chain.mine(task=task_id, miner=random.choice(miners), time=time)


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
    chain.post(next(a for a in MINERS if key_hash(a) == miner), CollectVerifications(block.hash))
    for account in random.sample(accounts, random.randrange(len(accounts) + 1)):
        chain.post(account, chain.reveal(block, account))


def submit(chain, random, salt):
    data = PayForTask(definition(name=f"task {salt}", expected_blocks=random.randrange(2, 6)), salt)
    chain.post(CLIENT, data, (Stake(random.randrange(1, 10**9), key_hash(CLIENT)),))


def in_stage(chain, random, stage) -> TaskId:
    return random.choice([i for i, t in chain.state.active_tasks() if t.stage is stage and t.stake])


def join(chain, random, salt):
    task_id = in_stage(chain, random, Stage.JOINING)
    for role, accounts in (("miner", MINERS), ("supervisor", SUPERVISORS), ("evaluator", EVALUATORS)):
        for account in accounts:
            if random.randrange(20):
                chain.add(chain.join(task_id, role, account))


def register(chain, random, salt):
    task_id = in_stage(chain, random, Stage.TRAINING)
    first = chain.pool.tasks[task_id].slots
    models = BlobId(label("models")) if random.randrange(3) else None
    chain.post(SUPERVISORS[0], chain.history(task_id, first, first + random.randrange(5), models))


def evaluate(chain, random, salt):
    """Commit, reveal and charge, or forget some of it."""
    task_id = in_stage(chain, random, Stage.EVALUATING)
    conclusion = Conclusion(tuple(random.randrange(361) for _ in MINERS), 360, BlobId(label("best")))
    forgets = random.randrange(4)
    for account in EVALUATORS:
        chain.post(account, chain.conclude(task_id, account, conclusion))
    for account in EVALUATORS[: 3 if forgets else 1]:
        chain.post(account, chain.open_conclusion(task_id, account, conclusion))
    if forgets > 1:
        chain.add(chain.charge(task_id))


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
    submit,
    submit,
    join,
    join,
    join,
    register,
    register,
    evaluate,
    evaluate,
    spend_stakes,
)
