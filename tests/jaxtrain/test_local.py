"""Miners in one process: what the jobs of the network would give, step by step; and when they stop."""

from dataclasses import replace
from hashlib import sha256

import pytest
from conftest import DIGITS, Shelf
from kinds import DENSE
from safetensors.numpy import load

from p2pai import jobs
from p2pai.chain.training import Assignment, EarlyStopping, Holdout, KFold, Target, Tau, next_tau_bits
from p2pai.jaxtrain import data_file
from p2pai.jaxtrain.local import EpochEnd, Group, Step, Traffic, cut
from p2pai.jaxtrain.worker import Worker
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Hash32

SEED = Hash32(bytes(range(32)))
DRAFT = replace(
    DENSE,
    tau=Tau(7, 0),
    epochs=3,
    dataset=replace(DENSE.dataset, samples=0, features=0, classes=0, batch_size=30),
    validation=Holdout(10),
)


@pytest.fixture(scope="module")
def digits():
    return data_file.read(DIGITS, "npz", regression=False)


@pytest.fixture
def group(digits):
    """Make a group that trains on the digits."""

    def make(miners=3, delay=0, **changes):
        task, fragments = cut(replace(DRAFT, **changes), digits)
        return Group(task, SEED, fragments, miners=miners, delay=delay)

    return make


def steps(events):
    return [event for event in events if isinstance(event, Step)]


def ends(events):
    return [event for event in events if isinstance(event, EpochEnd)]


def states(group):
    return [miner.session.state.ids for miner in group.miners]


def test_a_run_is_the_same_everywhere(group):
    made = group()
    events = list(made.run())
    blobs = b"".join(part for miner in made.miners for part in miner.session.state.blobs)
    assert len(steps(events)) == made.iterations == 3 * 44
    assert sha256(blobs).hexdigest()[:16] == "2bbbc82ef0557ec5"


@pytest.mark.parametrize("delay", [0, 2])
@pytest.mark.parametrize("assignment", Assignment)
def test_it_is_what_the_jobs_give_step_by_step(group, delay, assignment):
    made = group(delay=delay, assignment=assignment)
    events = list(made.run())
    kept, ended = by_jobs(made, delay)
    assert states(made) == kept
    assert [(e.miner, e.epoch, e.validation.bits(made.task.metrics)) for e in ends(events)] == ended


def by_jobs(group, delay):
    """Train as three trainers of the network would, each with the maps of the rounds before."""
    shelf, task, plan = Shelf(), group.task, group.plan
    for fragment, chunks in group._fragments.items():
        assert shelf.put(chunks, shared=False) == fragment
    worker, count = Worker(shelf), len(group.miners)
    for rank in range(count):
        worker.run(jobs.Open(str(rank), task.encode(), SEED, plan.training, None))
    sent, ended = {}, []
    applied, iterations = [0] * count, [0] * count
    epoch, now = 1, 0
    while epoch <= task.epochs:
        turns = {rank: plan.turn(iterations[rank], rank, group.tickets) for rank in range(count)}
        due = [rank for rank, turn in turns.items() if turn is not None and turn.number == epoch]
        if not due:
            epoch += 1
            continue
        maps = {}
        for rank in due:
            rounds = range(applied[rank], max(applied[rank], now - delay))
            peers = tuple(u for r in rounds for peer, u in sent.get(r, {}).items() if peer != rank)
            applied[rank] = rounds.stop
            position = jobs.Position(turns[rank].epoch, iterations[rank], task.tau.bits)
            done = worker.run(jobs.Step(str(rank), position, turns[rank].batch, peers))
            assert isinstance(done, jobs.Stepped), done
            maps[rank] = jobs.PeerUpdate(task.tau.bits, done.message_map)
            if iterations[rank] == turns[rank].last:
                seen = worker.run(jobs.Validate(str(rank), tuple(plan.held_out(epoch))))
                ended.append((rank, turns[rank].epoch, seen.metrics))
            iterations[rank] += 1
        sent[now] = maps
        now += 1
    return [worker.run(jobs.Keep(str(rank))).state for rank in range(count)], ended


def test_updates_come_as_late_as_they_should(group):
    for delay in (0, 1, 4):
        found = steps(group(delay=delay, epochs=1, validation=Holdout(0)).run())
        first = [step for step in found if step.iteration <= delay]
        assert all(step.updates == step.late == 0 for step in first)
        later = [step for step in found if step.iteration > delay]
        assert later
        assert all(step.updates == 2 and step.late == 2 * delay for step in later)


def test_traffic_adds_up(group):
    made = group(epochs=2)
    events = list(made.run())
    for kind in (steps, ends):
        assert sum((event.traffic for event in kind(events)), start=Traffic()) == made.traffic
    assert made.traffic.iterations == 88
    assert made.dense_size == 88 * 4 * made.task.weight_count
    assert 0 < made.traffic.size < made.dense_size // 10


def test_one_miner_hears_of_nobody(group):
    found = steps(group(miners=1, epochs=1).run())
    assert [step.updates for step in found] == [0] * 44


def test_the_group_learns_and_the_best_model_is_exported(group):
    made = group(epochs=6)
    list(made.run())
    scores = made.scores(made.test_batches())
    assert all(score.samples == 360 for score in scores)
    accuracies = [score.value("accuracy") for score in scores]
    assert min(accuracies) > 0.8
    losses = [score.value("loss") for score in scores]
    assert losses[made.best(scores)] == min(losses)
    tensors = load(made.export(0))
    assert tensors["layer0/kernel"].shape == (64, 24)


def test_a_target_stops_each_miner_alone(group):
    wanted = Target("accuracy", 700_000)
    events = list(group(stopping=wanted, epochs=20).run())
    for rank in range(3):
        *before, last = [end for end in ends(events) if end.miner == rank]
        assert last.is_over
        assert last.epoch < 20
        assert last.validation.value("accuracy") >= 0.7
        assert all(end.validation.value("accuracy") < 0.7 for end in before)
        assert max(step.epoch for step in steps(events) if step.miner == rank) == last.epoch


def test_patience_ends_too(group):
    events = list(group(miners=1, stopping=EarlyStopping("accuracy", 1), epochs=60).run())
    values = [end.validation.value("accuracy") for end in ends(events)]
    assert len(values) < 60
    assert values[-1] <= max(values[:-1])


def test_each_fold_is_unseen_in_its_epoch(group):
    made = group(validation=KFold(4), epochs=4)
    events = list(made.run())
    batches = made.plan.revealed_count
    assert batches == 48
    for epoch in range(1, 5):
        apart = made.plan.held_out(epoch)
        assert sum(step.epoch == epoch for step in steps(events)) == batches - len(apart) == 36
    revealed = 1797 - sum(len(batch.y) for batch in made.test_batches())
    assert sum(end.validation.samples for end in ends(events) if end.miner == 0) == revealed


def test_tau_follows_from_what_a_miner_sent(group):
    events = list(group(tau=Tau(6, 100_000), epochs=4).run())
    weights = DENSE.weight_count
    for rank in range(3):
        bits = 6
        for end in (end for end in ends(events) if end.miner == rank):
            mine = [s for s in steps(events) if s.miner == rank and s.epoch == end.epoch]
            assert {step.tau_bits for step in mine} == {bits}
            moved = sum(step.traffic.elements for step in mine)
            bits = next_tau_bits(Tau(6, 100_000), bits, moved, weights * len(mine))
            assert end.tau_bits == bits
        assert bits > 6


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"miners": 0}, "number of miners must be 1 to 256"),
        ({"miners": 60}, "fewer mini-batches"),
        ({"delay": -1}, "delay must be 0"),
        ({"epochs": 0}, "needs a number of epochs"),
        ({"metrics": ("mae",)}, "no metric"),
        ({"input_shape": (65,)}, "all features"),
    ],
)
def test_what_cannot_be_trained_is_refused(group, asked, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        group(**asked)
