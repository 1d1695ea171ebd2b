"""Each checker of the ledger passes real histories and fails on what is broken on purpose, or it proves
nothing.

Two ways to break: a state or a block changed by hand after a sound step, and a rule of the ledger weakened
while a real history is played.
"""

from dataclasses import replace
from functools import cache

import pytest

from p2pai.chain import coins, rewards, task_end, tickets, transition, verification
from p2pai.chain.state import Checkpoint, Stage, Vote, Voting
from p2pai.chain.transaction import (
    BuyTickets,
    ChargeForTask,
    CollectVerifications,
    EvaluateReveal,
    JoinTask,
    Pay,
    PayForTask,
    VerifyReveal,
)
from p2pai.chain.votes import CheckpointVote
from p2pai.node.core import NodeCore
from p2pai.primitives.ids import ZERO_HASH, Outpoint, PeerId
from testnet.simulator.disk import Disk
from testnet.simulator.invariants import STEP_CHECKS, Broken, Honesty, Step, audit, check_step
from testnet.simulator.invariants.chain import Checkpoints, check_time, check_tip
from testnet.simulator.invariants.earned import Beacons, Earnings
from testnet.simulator.invariants.replays import check_arrival, check_equal, check_replay, check_same
from testnet.simulator.invariants.standing import Standing
from tests.chain.ledger import MINERS, VERIFIERS, Chain, devnet, genesis, key_hash, keys, label
from tests.chain.play import play
from tests.chain.test_transition import begun
from tests.node.parts import paid_chain

A, B = PeerId("a"), PeerId("b")


def steps_of(blocks, state=None):
    """Apply blocks and return the steps."""
    state, found = state or genesis(devnet()), []
    for block in blocks:
        after = transition.apply_block(state, block, devnet().params, trusted=True)
        found.append(Step(state, block, after, devnet().params))
        state = after
    return tuple(found)


@cache
def history():
    """Return the steps of a chain with a task from submission to payment, a bought ticket, a silent one."""
    chain, _ = paid_chain()
    chain.add(chain.buy(9))
    silent = chain.mine()
    chain.post(VERIFIERS[0], chain.commit(silent, VERIFIERS[0]))
    chain.mine_until(chain.height + 5)
    return steps_of(chain.blocks)


def holds(step, kind):
    return any(isinstance(tx.data, kind) for tx in step.transactions)


def with_a(kind):
    return next(step for step in history() if holds(step, kind))


def slashing():
    return next(s for s in history() if s.after.burned > s.before.burned and not holds(s, ChargeForTask))


def in_stage(stage):
    """Return a step after which a client's task is in a stage that it entered in the block."""
    for step in history():
        for task_id, (_, task) in step.tasks.items():
            if task.stage is stage and task.stake and task.since == step.after.height:
                return step, task_id
    raise AssertionError(stage)


def after(step, **changes):
    return replace(step, after=replace(step.after, **changes))


def paying(step, outpoint, value):
    """Return a step with another value in an output after it; None: without the output."""
    utxos = step.after.utxos
    if value is None:
        return after(step, utxos=utxos.delete(outpoint))
    return after(step, utxos=utxos.set(outpoint, replace(utxos[outpoint], value=value)))


def with_row(step, task_id, **changes):
    task = replace(step.after.tasks[task_id], **changes)
    return after(step, tasks=step.after.tasks.set(task_id, task))


def with_ticket(step, outpoint, **changes):
    row = replace(step.after.tickets[outpoint], **changes)
    return after(step, tickets=step.after.tickets.set(outpoint, row))


def with_header(step, **changes):
    return replace(step, block=replace(step.block, header=replace(step.block.header, **changes)))


def with_proof(step, **changes):
    return replace(step, block=replace(step.block, work_proof=replace(step.block.work_proof, **changes)))


def with_transactions(step, *transactions):
    return replace(step, block=replace(step.block, transactions=transactions))


def coin(step):
    """Return an output that the block made and nobody has spent yet."""
    return next(o for o in step.made if o in step.after.utxos)


def bystander(step):
    """Return an output that the block has nothing to do with."""
    return next(o for o in step.after.utxos if o not in step.touched)


# --- sound histories


def test_real_histories_pass():
    earnings = Earnings(is_supervised=False)
    for step in history():
        check_step(step)
        earnings.see(step)
        audit(step.after)


@pytest.mark.parametrize("seed", [17, 0])
def test_played_histories_pass(seed):
    chain = begun(seed)
    state, audited = [chain.state], []

    def look():
        check_step(Step(state[0], chain.blocks[-1], chain.state, chain.params))
        audit(chain.state)
        state[0] = chain.state
        audited.append(chain.height)

    play(chain, seed, blocks=24, after=look)
    assert len(audited) == 24


# --- broken states and blocks


def spent_once_more(step):
    first = step.transactions[0]
    return with_transactions(step, step.block.transactions[0], first, first)


def still_there(step):
    spent = step.spent[0]
    return after(step, utxos=step.after.utxos.set(spent, step.before.utxos[spent]))


def richer_coinbase(step):
    first, *rest = step.block.transactions
    outputs = (replace(first.outputs[0], value=first.outputs[0].value + 1), *first.outputs[1:])
    return with_transactions(step, replace(first, outputs=outputs), *rest)


def poorer_payment(step):
    changed = [
        replace(tx, outputs=tx.outputs[1:]) if isinstance(tx.data, ChargeForTask) else tx
        for tx in step.block.transactions
    ]
    return with_transactions(step, *changed)


def another_stake_loses(step):
    row = next(t for t in sorted(step.after.tickets) if t in step.touched and t in step.after.utxos)
    return paying(step, row, step.after.utxos[row].value - 1)


def a_stake_grows(step):
    row = next(t for t in sorted(step.after.tickets) if t in step.touched and t in step.after.utxos)
    return paying(step, row, step.after.utxos[row].value + 1)


def back_to(stage, old):
    step, task_id = in_stage(old)
    task = step.after.tasks[task_id].enter(stage, step.after.height)
    return after(step, tasks=step.after.tasks.set(task_id, task))


def changed_when_over():
    step, task_id = in_stage(Stage.PAID)
    again = replace(step, before=step.after, after=step.after)
    return with_row(again, task_id, slots=99)


def other_past():
    step, task_id = in_stage(Stage.TRAINING)
    return with_row(step, task_id, history=(("joining", 1), *step.after.tasks[task_id].history[1:]))


def other_terms():
    step, task_id = in_stage(Stage.KEYING)
    return with_row(step, task_id, fee=1)


def unlike_its_history():
    step, task_id = in_stage(Stage.TRAINING)
    return with_row(step, task_id, stage=Stage.KEYING)


def without_escrow():
    step, task_id = in_stage(Stage.TRAINING)
    return paying(step, step.after.tasks[task_id].stake, None)


def paid_twice():
    step, task_id = in_stage(Stage.PAID)
    stake = step.after.tasks[task_id].stake
    return after(step, utxos=step.after.utxos.set(stake, step.before.utxos[stake]))


def forgotten_task():
    step, task_id = in_stage(Stage.PAID)
    return after(step, tasks=step.after.tasks.delete(task_id))


def task_from_nowhere():
    step, _ = in_stage(Stage.JOINING)
    others = [tx for tx in step.block.transactions if not isinstance(tx.data, PayForTask)]
    return with_transactions(step, *others)


def bought(step):
    return next(o for o in step.touched if o in step.after.tickets and o not in step.before.tickets)


def worker(step, task_id):
    return step.after.tasks[task_id].miners[0]


def bound_to_what_is_over():
    step, task_id = in_stage(Stage.PAID)
    ticket = next(t for t in step.touched if t in step.after.tickets)
    return with_ticket(step, ticket, task=task_id)


def bound_to_nothing():
    step, task_id = in_stage(Stage.TRAINING)
    return with_ticket(step, worker(step, task_id), task=label("no such task"))


def bound_to_another():
    step, task_id = in_stage(Stage.TRAINING)
    other = next(i for i, t in step.after.tasks.items() if t.is_predefined)
    return with_ticket(step, worker(step, task_id), task=other)


def stake_gone():
    step, task_id = in_stage(Stage.TRAINING)
    return paying(step, worker(step, task_id), None)


def stake_unlocked():
    step, task_id = in_stage(Stage.TRAINING)
    ticket = worker(step, task_id)
    stake = step.after.utxos[ticket]
    return after(step, utxos=step.after.utxos.set(ticket, Pay(stake.value, stake.key_hash)))


def stake_of_another():
    step, task_id = in_stage(Stage.TRAINING)
    ticket = worker(step, task_id)
    stake = replace(step.after.utxos[ticket], key_hash=key_hash(9))
    return after(step, utxos=step.after.utxos.set(ticket, stake))


def ticket_from_nowhere():
    step = with_a(BuyTickets)
    others = [tx for tx in step.block.transactions if not isinstance(tx.data, BuyTickets)]
    row = step.after.tickets[bought(step)]
    ticket = coin(with_transactions(step, *others))
    return after(with_transactions(step, *others), tickets=step.before.tickets.set(ticket, row))


def ticket_unnamed():
    step = history()[0]
    row = step.after.tickets[min(step.after.tickets)]
    return after(step, tickets=step.after.tickets.set(Outpoint(label("x"), 0), row))


def of_another_ticket(step):
    """Return a step in which an application shows another ticket's proof."""
    joins = [tx for tx in step.transactions if isinstance(tx.data, JoinTask)]
    mixed = replace(joins[0], data=replace(joins[0].data, proof=joins[1].data.proof))
    return with_transactions(step, step.block.transactions[0], mixed)


def younger_ticket():
    step = with_a(JoinTask)
    ticket = next(tx.data.ticket for tx in step.transactions if isinstance(tx.data, JoinTask))
    return with_ticket(step, ticket, height=step.after.height)


def voting(*, young=False):
    """Return a step that draws validators, one of whom bought its ticket too late, or two of whom are one."""
    step = history()[0]
    first, second, *_ = sorted(step.after.tickets)
    changed = after(step, voting=Voting(16, label("x"), (first, second)))
    if young:
        return with_ticket(changed, first, height=step.after.height)
    return with_ticket(changed, first, owner=step.after.tickets[second].owner)


def other_verifiers(step):
    opened = step.after.verifications[step.block.hash]
    fewer = replace(opened, verifiers=opened.verifiers[1:])
    return after(step, verifications=step.after.verifications.set(step.block.hash, fewer))


def young_verifier():
    step = history()[0]
    verifier = step.after.verifications[step.block.hash].verifiers[0]
    return with_ticket(step, verifier, height=step.after.height)


def other_evaluators():
    step, task_id = in_stage(Stage.EVALUATING)
    rest = step.after.tasks[task_id].evaluators[1:]
    again = replace(step, before=step.after)
    return with_row(again, task_id, round=1, evaluators=(*rest, bought_outpoint(again)))


def bought_outpoint(step):
    return next(t for t, row in step.after.tickets.items() if row.role == "verifier")


def another_applicant():
    step, task_id = in_stage(Stage.KEYING)
    miners = step.after.tasks[task_id].miners
    return with_row(step, task_id, miners=tuple(sorted((*miners[1:], bought_outpoint(step)))))


VOTERS = tuple(Outpoint(label("voter"), i) for i in range(4))
FINAL = Checkpoint(16, label("final"), label("snapshot"))


def voted(*, votes=1, open_=True, twice=False, drawn=4, counted=None):
    """Return a step in which validators vote on a block; three of four votes make it a checkpoint."""
    step = history()[0]
    voters = (VOTERS[0],) * votes if twice else VOTERS[:votes]
    cast = [CheckpointVote(voter, FINAL.height, FINAL.block, FINAL.snapshot, b"") for voter in voters]
    transactions = [replace(step.block.transactions[0], data=vote) for vote in cast]
    begun = Voting(FINAL.height, FINAL.block, VOTERS[:drawn]) if open_ else None
    told = tuple(Vote(voter, FINAL.snapshot) for voter in voters[:counted])
    step = with_transactions(step, step.block.transactions[0], *transactions)
    after = replace(step.after, voting=replace(begun, votes=told) if begun else None)
    return replace(step, before=replace(step.before, voting=begun), after=after)


def certified(votes):
    step = voted(votes=votes, open_=votes > 0)
    return after(step, checkpoint=FINAL)


def concluded():
    for step in history():
        for task_id, (old, new) in step.tasks.items():
            if old is not None and new.conclusion != old.conclusion:
                return step, task_id
    raise AssertionError("no task is concluded")


def other_conclusion():
    step, task_id = concluded()
    other = replace(step.after.tasks[task_id].conclusion, samples=1)
    return with_row(step, task_id, conclusion=other)


def no_conclusion():
    step, task_id = concluded()
    return with_row(step, task_id, conclusion=None, stage=Stage.EVALUATING)


def shown(kind, salt):
    """Return a step that reveals with another salt, or without one what others may commit to still."""
    step = with_a(kind)
    if salt is not None:
        told = [
            replace(tx, data=replace(tx.data, salt=label(salt))) if isinstance(tx.data, kind) else tx
            for tx in step.block.transactions
        ]
        return with_transactions(step, *told)
    first = next(tx.data for tx in step.transactions if isinstance(tx.data, kind))
    tasks, verifications = step.before.tasks, step.before.verifications
    if kind is EvaluateReveal:
        task = tasks[first.task]
        silent = (*task.evaluators, task.miners[0])
        tasks = tasks.set(first.task, replace(task, evaluators=silent, since=step.after.height))
    else:
        opened = replace(verifications[first.block], collected=False, height=step.after.height)
        verifications = verifications.set(first.block, opened)
    step = replace(step, before=replace(step.before, tasks=tasks, verifications=verifications))
    others = [tx for tx in step.block.transactions if not isinstance(tx.data, CollectVerifications)]
    return with_transactions(step, *others)


def message_elsewhere(step):
    lucky = step.block.work_proof.lucky
    return with_proof(step, lucky=replace(lucky, index=lucky.index + 1))


def uncommitted(step):
    return with_proof(step, committed=step.block.work_proof.previous)


BREACHES = {
    "an atom more": (
        "supply",
        lambda: paying(with_a(JoinTask), coin(with_a(JoinTask)), 7),
        "I1: .* atoms more are unspent",
    ),
    "an atom burned": ("supply", lambda: after(history()[0], burned=1), "I1"),
    "issued too much": (
        "supply",
        lambda: after(history()[0], issued=history()[0].after.issued + 5, burned=5),
        "I1: 5 atoms were issued, 0 were due",
    ),
    "an output vanished": (
        "supply",
        lambda: paying(history()[0], bystander(history()[0]), None),
        "nothing names",
    ),
    "spent twice in a block": (
        "no debt",
        lambda: spent_once_more(with_a(JoinTask)),
        "I2: .* twice in a block",
    ),
    "spent and still there": ("no debt", lambda: still_there(with_a(JoinTask)), "I2: .* still there"),
    "spent what never was": (
        "no debt",
        lambda: replace(with_a(JoinTask), before=genesis(devnet())),
        "I2: .* that never was",
    ),
    "made and nowhere": (
        "no debt",
        lambda: paying(with_a(JoinTask), coin(with_a(JoinTask)), None),
        "I2: .* made and nowhere",
    ),
    "made twice": ("no debt", lambda: replace(with_a(BuyTickets), before=with_a(BuyTickets).after), "I2"),
    "a negative output": (
        "no debt",
        lambda: paying(with_a(JoinTask), coin(with_a(JoinTask)), -1),
        "I2: .* value",
    ),
    "an empty output": (
        "no debt",
        lambda: paying(with_a(JoinTask), coin(with_a(JoinTask)), 0),
        "I2: .* value",
    ),
    "burned less than nothing": ("no debt", lambda: after(history()[0], burned=-1), "I2: less than nothing"),
    "a coinbase with an atom more": (
        "splits",
        lambda: richer_coinbase(with_a(VerifyReveal)),
        "I3: the coinbase",
    ),
    "a payment with an atom less": (
        "splits",
        lambda: poorer_payment(with_a(ChargeForTask)),
        "I3: .* for a task",
    ),
    "a stake loses what is not burned": (
        "splits",
        lambda: another_stake_loses(slashing()),
        "I3: stakes lost",
    ),
    "a stake grows": ("splits", lambda: a_stake_grows(slashing()), "I3: a stake grew"),
    "outputs exceed inputs": (
        "splits",
        lambda: replace(with_a(JoinTask), before=poorer_before(with_a(JoinTask))),
        "I3: a transaction pays more",
    ),
    "back from training": ("stages", lambda: back_to(Stage.KEYING, Stage.TRAINING), "I4: .* went from"),
    "from joining to paid": ("stages", lambda: back_to(Stage.PAID, Stage.JOINING), "I4: .* went from"),
    "a change after the end": ("stages", changed_when_over, "I4: a task that is over changed"),
    "another past": ("stages", other_past, "I4: a task's past changed"),
    "other terms": ("stages", other_terms, "I4: terms"),
    "a stage that was not entered": ("stages", unlike_its_history, "I4: .* another stage"),
    "no escrow": ("stages", without_escrow, "I4: .* not in its escrow"),
    "paid, and the fee is there": ("stages", paid_twice, "I4: .* still there"),
    "a forgotten task": ("stages", forgotten_task, "I4: a task is forgotten"),
    "a task from nowhere": ("stages", task_from_nowhere, "I4: a task came from nowhere"),
    "bound to what is over": ("tickets", bound_to_what_is_over, "I5: .* that is over"),
    "bound to nothing": ("tickets", bound_to_nothing, "I5: .* that is none"),
    "bound to another": ("tickets", bound_to_another, "I5: .* does not know it"),
    "a ticket without its stake": ("tickets", stake_gone, "I5: .* is gone"),
    "a stake that anybody may spend": ("tickets", stake_unlocked, "I5: .* is no stake"),
    "a stake of another": ("tickets", stake_of_another, "I5: .* another's"),
    "a ticket from nowhere": ("tickets", ticket_from_nowhere, "I5: a ticket came back, or from nowhere"),
    "a ticket that nothing names": ("tickets", ticket_unnamed, "I5: a ticket came or went"),
    "another parent": ("links", lambda: with_header(history()[1], prev=label("x")), "I8: .* another parent"),
    "another tip": ("links", lambda: after(history()[1], tip=label("x")), "I8: the tip"),
    "another height": ("links", lambda: after(history()[1], height=7), "I8: .* one higher"),
    "too early": ("links", lambda: retimed(history()[1]), "I8: .* median"),
    "a forgotten time": ("links", lambda: after(history()[1], times=(1,)), "I8: .* remembered"),
    "weight for nothing": ("links", lambda: after(history()[0], weight=1), "I8: 0 of work was approved"),
    "approval without weight": (
        "links",
        lambda: after(with_a(VerifyReveal), weight=with_a(VerifyReveal).before.weight),
        "I8: .* of work was approved",
    ),
    "an unearned nonce": ("nonce", lambda: with_header(history()[0], nonce=label("x")), "I9: nonce .* of"),
    "a nonce out of its interval": ("nonce", lambda: beyond(history()[0]), "I9: nonce"),
    "a message of another slot": ("nonce", lambda: message_elsewhere(history()[0]), "I9: .* not in the slot"),
    "another commitment": ("nonce", lambda: uncommitted(history()[0]), "I9: .* committed to another block"),
    "other slots": ("nonce", lambda: rehistoried(history()[0]), "I9: the header names other slots"),
    "no work": (
        "nonce",
        lambda: replace(history()[0], block=replace(history()[0].block, work_proof=None)),
        "I9",
    ),
    "another's draw": ("draws", lambda: of_another_ticket(with_a(JoinTask)), "I10: .* does not verify"),
    "a ticket younger than the task": ("draws", younger_ticket, "I10: .* younger than the task"),
    "a validator younger than its draw": (
        "draws",
        lambda: voting(young=True),
        "I10: .* younger than its draw",
    ),
    "two validators of one owner": ("draws", lambda: voting(), "I10: two validators"),
    "a verifier younger than its draw": ("draws", young_verifier, "I10: a verifier's ticket is younger"),
    "other verifiers": ("public draws", lambda: other_verifiers(history()[0]), "I14: a block's verifiers"),
    "other validators": ("public draws", lambda: voting(), "I14: a checkpoint's validators"),
    "other further evaluators": ("public draws", other_evaluators, "I14: a task's further evaluators"),
    "another applicant admitted": ("admissions", another_applicant, "I14: a task's miners are not"),
    "a vote on nothing": ("votes", lambda: voted(open_=False), "I14: .* nothing is voted on"),
    "a checkpoint on nothing": ("votes", lambda: certified(votes=0), "I14: .* nobody voted on"),
    "a checkpoint on too few votes": ("votes", lambda: certified(votes=2), "I14: .* too few votes"),
    "enough votes and no checkpoint": ("votes", lambda: voted(votes=3), "I14: .* enough votes"),
    "a vote twice": ("votes", lambda: voted(votes=2, twice=True), "I14: .* counts twice"),
    "a vote of a stranger": ("votes", lambda: voted(votes=2, drawn=1), "I14: .* was not drawn"),
    "votes not counted": ("votes", lambda: voted(votes=2, counted=1), "I14: votes were not counted"),
    "a conclusion shown early": ("reveals", lambda: shown(EvaluateReveal, None), "I10: .* may still"),
    "another conclusion shown": (
        "reveals",
        lambda: shown(EvaluateReveal, "x"),
        "I10: .* not committed",
    ),
    "a verdict shown early": ("reveals", lambda: shown(VerifyReveal, None), "I10: .* may still commit"),
    "another verdict shown": ("reveals", lambda: shown(VerifyReveal, "x"), "I10: a verdict .* not committed"),
    "another conclusion": ("conclusions", other_conclusion, "I14: .* as its evaluators did not"),
    "no conclusion": ("conclusions", no_conclusion, "I14: evaluators agree"),
}
"""What is broken -> the checker that must see it, how it is broken, and what the checker says."""


def poorer_before(step):
    spent = step.spent[0]
    poor = replace(step.before.utxos[spent], value=1)
    return replace(step.before, utxos=step.before.utxos.set(spent, poor))


def retimed(step):
    changed = with_header(step, time=step.before.times[0])
    return replace(changed, after=replace(step.after, tip=changed.block.hash))


def beyond(step):
    """Return a step that is sound but for its nonce, which lies 10,000 behind the one earned."""
    value = int.from_bytes(step.block.header.nonce, "big") + 10_000
    return with_header(step, nonce=value.to_bytes(32, "big"))


def rehistoried(step):
    return with_header(step, hash_msg_hist=label("x"))


@pytest.mark.parametrize(("checker", "breach", "says"), BREACHES.values(), ids=BREACHES)
def test_a_breach_is_seen(checker, breach, says):
    with pytest.raises(Broken, match=says):
        STEP_CHECKS[checker](breach())


def test_every_checker_has_a_breach():
    assert {checker for checker, _, _ in BREACHES.values()} == set(STEP_CHECKS)


@pytest.mark.parametrize(
    ("breach", "says"),
    [
        (lambda s: replace(s, burned=s.burned + 1), "I1"),
        (
            lambda s: replace(
                s, utxos=s.utxos.set(Outpoint(label("x"), 0), Pay(-1, key_hash(1))), burned=s.burned + 1
            ),
            "I2",
        ),
        (lambda s: replace(s, tasks=s.tasks.set(client(s), replace(s.tasks[client(s)], captured=9))), "I3"),
        (lambda s: replace(s, tasks=s.tasks.set(client(s), replace(s.tasks[client(s)], fee=9))), "I4"),
        (lambda s: replace(s, tasks=s.tasks.set(client(s), stealing(s))), "I5: .* two tasks"),
        (lambda s: replace(s, tickets=s.tickets.delete(s.tasks[client(s)].miners[0])), "I5: a worker"),
    ],
    ids=["supply", "debt", "captured", "escrow", "two tasks", "released"],
)
def test_an_audit_sees_all_rows(breach, says):
    state = in_stage(Stage.TRAINING)[0].after
    audit(state)
    with pytest.raises(Broken, match=says):
        audit(breach(state))


def client(state):
    return next(i for i, t in state.tasks.items() if t.stake and not t.stage.is_over)


def stealing(state):
    own, other = state.tasks[client(state)], next(t for t in state.tasks.values() if t.is_predefined)
    return replace(own, miners=(*own.miners, other.miners[0]))


# --- histories of many nodes


def test_the_tip_is_the_best_of_all():
    states = [step.after for step in history()]
    check_tip(states[-1].tip, states)
    for other in states[:-1]:
        with pytest.raises(Broken, match="I8: the tip is not the best"):
            check_tip(other.tip, states)


def test_height_and_then_the_lowest_hash_break_ties():
    base = history()[0].after
    twins = [replace(base, tip=label(i)) for i in range(9)]
    check_tip(min(t.tip for t in twins), twins)
    higher = replace(base, height=9)
    check_tip(higher.tip, [*twins, higher])
    with pytest.raises(Broken, match="I8"):
        check_tip(max(t.tip for t in twins), twins)


def test_a_block_of_a_future_that_the_clock_does_not_allow_is_seen():
    params = replace(devnet().params, half_life_s=80)
    check_time(1_010, 1_000_999, params)
    with pytest.raises(Broken, match="I8: a block is 11 s ahead of the node's clock, 10 s may be"):
        check_time(1_011, 1_000_999, params)
    with pytest.raises(Broken, match="7200 s may be"):
        check_time(10_000, 0, replace(params, half_life_s=1 << 30))


class TestCheckpoints:
    GENESIS = genesis(devnet())

    def at(self, height, name):
        return replace(self.GENESIS, checkpoint=Checkpoint(height, label(name), ZERO_HASH))

    def test_one_that_stays_is_fine(self):
        watch = Checkpoints()
        for name in (A, B):
            watch.see(name, self.at(16, "x"), lambda height: label("x") if height == 16 else None)
            watch.see(name, self.at(32, "y"), {16: label("x"), 32: label("y")}.get)

    def test_two_at_one_height_are_seen(self):
        watch = Checkpoints()
        watch.see(A, self.at(16, "x"), lambda _: None)
        with pytest.raises(Broken, match=r"I6: two blocks"):
            watch.see(B, self.at(16, "y"), lambda _: None)

    def test_going_back_is_seen(self):
        watch = Checkpoints()
        watch.see(A, self.at(32, "y"), lambda _: None)
        with pytest.raises(Broken, match=r"I6: a went back"):
            watch.see(A, self.at(16, "x"), lambda _: None)

    def test_a_start_may_lose_what_certified_it_but_not_the_block(self):
        watch = Checkpoints()
        watch.see(A, self.at(32, "y"), lambda _: None)
        watch.start(A)
        watch.see(A, self.at(16, "x"), lambda _: None)
        with pytest.raises(Broken, match=r"I6: a left its checkpoint at height 32"):
            watch.see(A, self.at(16, "x"), {16: label("x"), 32: label("z")}.get)
        watch.see(A, self.at(32, "y"), lambda _: None)
        with pytest.raises(Broken, match=r"I6: a went back"):
            watch.see(A, self.at(16, "x"), lambda _: None)

    def test_leaving_its_chain_is_seen(self):
        watch = Checkpoints()
        watch.see(A, self.at(16, "x"), lambda _: None)
        with pytest.raises(Broken, match=r"I6: a left its checkpoint at height 16"):
            watch.see(A, self.at(32, "y"), lambda height: label("z"))

    def test_a_checkpoint_beside_the_chain_is_seen(self):
        with pytest.raises(Broken, match=r"I6: a's checkpoint is not on its chain|left"):
            Checkpoints().see(A, self.at(16, "x"), lambda _: label("z"))


class TestEarnings:
    def test_an_iteration_that_earns_two_blocks_is_seen(self):
        # The blocks of tests/chain/ledger.py are all earned by iteration 7.
        earnings = Earnings()
        earnings.see(history()[0])
        with pytest.raises(Broken, match="I9: an iteration earned two blocks"):
            earnings.see(history()[1])

    def test_so_is_a_commitment(self):
        earnings, (first, second, *_) = Earnings(is_supervised=False), history()
        earnings.see(first)
        again = with_proof(second, committed=first.block.work_proof.committed)
        with pytest.raises(Broken, match="I9: an iteration earned two blocks"):
            earnings.see(again)

    def test_two_branches_may_use_one(self):
        earnings = Earnings()
        twins = [steps_of([Chain().draft(miner=MINERS[0], time=1_780_000_000 + i)]) for i in (7, 9)]
        for (step,) in twins:
            earnings.see(step)


def cores(*accounts):
    """Return nodes that have not started, by the names of their accounts."""
    made = {PeerId(f"n{a}"): NodeCore(devnet(), keys(a), PeerId(f"n{a}"), (), Disk()) for a in accounts}
    assert made
    return made


class TestBeacons:
    """Who is drawn by which block."""

    def seen(self, honesty=None):
        beacons = Beacons(cores(*range(10)), honesty or Honesty())
        for step in history():
            if holds(step, JoinTask):
                return beacons, step
            beacons.see(step)
        raise AssertionError("nobody applies")

    def by_another(self, step):
        first = step.transactions[0]
        other = replace(first, data=replace(first.data, definition_block=label("x")))
        return with_transactions(step, step.block.transactions[0], other)

    def test_a_real_history_passes(self):
        beacons, _ = self.seen()
        for step in history():
            beacons.see(step)

    def test_an_application_drawn_by_a_block_without_the_task_is_seen(self):
        beacons, step = self.seen()
        with pytest.raises(Broken, match="I10: an honest ticket is drawn by a block"):
            beacons.see(self.by_another(step))

    def test_the_dishonest_may_name_what_they_like(self):
        names = dict.fromkeys(cores(*range(10)))
        beacons, step = self.seen(Honesty(names))
        beacons.see(self.by_another(step))

    def test_workers_of_no_block_of_the_task_are_seen(self):
        beacons, _ = self.seen()
        step, task_id = in_stage(Stage.KEYING)
        with pytest.raises(Broken, match="I10: a task's workers are drawn by a block"):
            beacons.see(with_row(step, task_id, definition_block=label("x")))


class TestStakes:
    """Whose stakes a block takes."""

    def loses(self, value, **honesty):
        """Return what says of a step in which miner 4 is left with so much of its stake."""
        step, task_id = in_stage(Stage.TRAINING)
        nodes = cores(*range(10))
        standing = Standing(nodes, Honesty(**honesty))
        stake = step.after.tickets[worker(step, task_id)]
        name = next(n for n, core in nodes.items() if core.identity.key_hash == stake.key_hash)
        return standing, paying(step, worker(step, task_id), value), name

    def test_a_real_history_without_slashes_passes(self):
        standing = Standing(cores(*range(10)), Honesty())
        for step in history():
            if step.after.burned == step.before.burned:
                standing.see(step)

    def test_a_whole_stake_is_never_lost(self):
        standing, step, name = self.loses(None, has_fault=lambda: True)
        with pytest.raises(Broken, match=f"I15: {name}, honest, lost a whole stake") as broken:
            standing.see(step)
        assert (broken.value.number, broken.value.node) == ("I15", name)

    def test_a_part_is_not_lost_while_nothing_went_wrong(self):
        standing, step, name = self.loses(5)
        with pytest.raises(Broken, match=f"I15: {name}, honest, lost .* atoms, and nothing went wrong"):
            standing.see(step)

    def test_silence_may_cost_a_part_when_something_went_wrong(self):
        standing, step, _ = self.loses(5, has_fault=lambda: True)
        standing.see(step)

    def test_the_dishonest_and_the_misled_may_lose_all(self):
        _, _, name = self.loses(None)
        for honesty in ({"dishonest": {name: None}}, {"misled": {name: "trainer"}}):
            standing, step, _ = self.loses(None, **honesty)
            standing.see(step)

    def test_a_slash_of_a_real_history_is_seen(self):
        standing = Standing(cores(*range(10)), Honesty())
        with pytest.raises(Broken, match="I15"):
            standing.see(slashing())


class TestReplays:
    def test_a_node_that_comes_to_another_state_is_seen(self):
        step = with_a(JoinTask)
        check_same(A, step, replace(step.after))
        others = {
            "burned": replace(step.after, burned=1),
            "utxos": paying(step, coin(step), 7).after,
            "tickets": with_ticket(step, next(t for t in step.touched if t in step.after.tickets), height=9),
            "tasks": with_row(step, next(iter(step.tasks)), slots=99).after,
            "verifications": other_verifiers(step).after,
        }
        for what, state in others.items():
            with pytest.raises(Broken, match=f"I11: one tip, but different {what}") as broken:
                check_same(A, step, getattr(state, "after", state))
            assert broken.value.node == A

    def test_blocks_in_another_order_give_the_same_state(self):
        blocks = [step.block for step in history()]
        check_arrival(devnet(), blocks, history()[-1].after, {})
        with pytest.raises(Broken, match=r"I11: in another order blocks lead to another state"):
            check_arrival(devnet(), blocks, replace(history()[-1].after, burned=1), {})
        with pytest.raises(Broken, match=r"I11: in another order blocks don't connect"):
            check_arrival(devnet(), blocks[1:], history()[-1].after, {})

    def test_a_chain_replays(self):
        blocks = [step.block for step in history()]
        check_replay(devnet(), blocks, history()[-1].after)

    def test_another_state_is_seen(self):
        blocks = [step.block for step in history()[:3]]
        with pytest.raises(Broken, match=r"I7: .* another state"):
            check_replay(devnet(), blocks, replace(history()[2].after, burned=1))

    def test_a_block_that_does_not_replay_is_seen(self):
        first, second = (step.block for step in history()[:2])
        with pytest.raises(Broken, match=r"I7: block .* does not replay"):
            check_replay(
                devnet(), [first, replace(second, transactions=second.transactions * 2)], history()[1].after
            )

    def test_one_tip_with_two_states_is_seen(self):
        state = history()[0].after
        check_equal([state, replace(state), history()[1].after])
        with pytest.raises(Broken, match="I11"):
            check_equal([state, replace(state, burned=1)])


# --- weakened rules


def loses_an_atom(state, outpoint, percent, plain=tickets.slash):
    after = plain(state, outpoint, percent)
    return replace(after, burned=after.burned - (after.burned > state.burned))


def keeps_the_remainder(total, shares, plain=rewards.split):
    parts = plain(total, shares)
    return {key: part - (part > 1) for key, part in parts.items()}


WEAKENED = {
    "a slash loses an atom": ([(tickets, "slash"), (verification, "slash")], loses_an_atom, "I1|I3"),
    "approvals count twice": (
        [(verification, "approved_work")],
        lambda v, plain=verification.approved_work: 2 * plain(v),
        "I8",
    ),
    "an ended task keeps its tickets": ([(task_end, "release")], lambda state, outpoints: state, "I4|I5"),
    "a task that came to nothing keeps its tickets": (
        [(task_end, "lock")],
        lambda state, outpoints, task: state,
        "I4|I5",
    ),
    "a split keeps its remainder": ([(rewards, "split")], keeps_the_remainder, "I1|I3"),
    "a stake is never locked": ([(coins, "is_locked")], lambda state, outpoint: False, "I4|I5"),
}
"""A rule with its check removed: where it stands, what stands there instead, what must be seen."""


@pytest.mark.parametrize(("places", "instead", "says"), WEAKENED.values(), ids=WEAKENED)
def test_a_weakened_rule_is_seen(monkeypatch, places, instead, says):
    chains = [begun(seed) for seed in (17, 0, 12)]
    for module, name in places:
        monkeypatch.setattr(module, name, instead)
    with pytest.raises(Broken, match=says):
        look_at_every_block(chains)


def look_at_every_block(chains):
    for seed, chain in zip((17, 0, 12), chains, strict=True):
        look_at(chain, seed)


def look_at(chain, seed):
    state = [chain.state]

    def look():
        check_step(Step(state[0], chain.blocks[-1], chain.state, chain.params))
        audit(chain.state)
        state[0] = chain.state

    play(chain, seed, blocks=16, after=look)
