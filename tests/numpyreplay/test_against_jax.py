"""The JAX path and this one give the same bits, for tasks of every kind.

The JAX worker is asked by jobs, as a node asks it: nothing of its arithmetic is used here.
"""

from dataclasses import replace

import kinds
import numpy as np
import pytest
from kinds import KINDS, SAMPLES, chunk_of, signs_of

from p2pai import jobs
from p2pai.chain.layers import Dense, statistics_of
from p2pai.chain.task import MAP_ELEMENTS_MAX
from p2pai.chain.training import Adam, Momentum, RmsProp, Sgd
from p2pai.jaxtrain.worker import Worker as JaxWorker
from p2pai.numpyreplay import message_map
from p2pai.numpyreplay.capsule import Capsule, write
from p2pai.numpyreplay.iteration import State
from p2pai.numpyreplay.model import INT32_MAX, WEIGHT_MAX, Model
from p2pai.numpyreplay.normalisation import STATISTIC_MAX
from p2pai.numpyreplay.replay import initial_state, replay
from p2pai.numpyreplay.worker import Worker
from p2pai.primitives.blob import blob_id_of, cut
from p2pai.primitives.ids import ZERO_HASH, Hash32

SEED = Hash32(bytes(range(32)))
ITERATIONS = 5


class Miner:
    """A JAX session, and a replayer that reads the same blobs."""

    def __init__(self, shelf, task):
        fragments = tuple(shelf.put((chunk_of(task, i),)) for i in range(10))
        self.task = replace(task, dataset=replace(task.dataset, fragments=fragments))
        self.fragments = fragments
        self.shelf = shelf
        self.jax, self.numpy = JaxWorker(shelf), Worker(shelf)
        self.opened = self.ask(jobs.Open("a", self.task.encode(), SEED, fragments[:8], None))

    def ask(self, job):
        result = self.jax.run(job)
        assert not isinstance(result, jobs.Failed), result
        return result

    def step(self, i, peer_count):
        """Run one iteration and return the job that replays it, and what it ended with."""
        position = jobs.Position(1 + i // 2, i, self.task.tau.bits - i % 2)
        peers = tuple(
            jobs.PeerUpdate(9 + j % 3, message_map.encode(signs_of(self.task, 10 * i + j).astype(np.int64)))
            for j in range(peer_count)
        )
        stepped = self.ask(jobs.Step("a", position, i % 8, peers))
        self.ask(jobs.KeepCapsule("a", stepped.before, stepped.batch))
        job = jobs.Replay(
            task=self.task.encode(),
            seed=SEED,
            position=position,
            before=stepped.before,
            batch=stepped.batch,
            peers=peers,
            message_map=stepped.message_map,
            metrics=stepped.metrics,
            samples=SAMPLES,
            platform=ZERO_HASH,
        )
        return job, stepped.after

    def resume(self, parts):
        """Replace the session by one that starts from the given bytes."""
        state = jobs.ModelState(*(self.shelf.put(cut(part)) for part in parts))
        self.ask(jobs.Open("a", self.task.encode(), SEED, self.fragments[:8], state))

    def capsule(self, job):
        names = (job.before.weights, job.before.residual, job.before.optimiser, job.batch)
        return Capsule(*(b"".join(self.shelf.get(name)) for name in names))

    def scores(self, metric):
        kept = self.ask(jobs.Keep("a")).state.weights
        task = replace(self.task, metrics=(metric,))
        job = jobs.Evaluate(task.encode(), (kept, self.opened.state.weights), self.fragments[8:])
        return self.ask(job), self.numpy.run(job)


@pytest.mark.parametrize("kind", KINDS)
def test_a_course_of_iterations_and_its_scores(shelf, kind):
    miner = Miner(shelf, KINDS[kind])
    state = miner.opened.state
    assert tuple(map(blob_id_of, initial_state(miner.task, SEED))) == (
        state.weights, state.residual, state.optimiser,
    )  # fmt: skip
    elements = 0
    for i in range(ITERATIONS):
        job, after = miner.step(i, peer_count=i)
        result = miner.numpy.run(job)
        assert isinstance(result, jobs.Replayed), result
        assert (result.difference, result.after) == ("", after)
        state = after
        elements += np.count_nonzero(message_map.decode(job.message_map, miner.task.weight_count))
    assert elements
    expected, found = miner.scores(miner.task.metrics[0])
    assert found == expected
    find_changes(miner, job, after)
    miner.resume(extreme_state(miner.task))
    for i in range(2):
        job, after = miner.step(i, peer_count=2)
        result = miner.numpy.run(job)
        assert (result.difference, result.after) == ("", after)


def extreme_state(task):
    """Return a state whose numbers lie anywhere in their ranges."""
    dice = np.random.default_rng(12)
    count, layout = task.weight_count, {Momentum: "i", RmsProp: "q", Adam: "iq"}
    statistics = [
        dice.integers(-STATISTIC_MAX * (i % 2 == 0), STATISTIC_MAX, shape, endpoint=True)
        for i, shape in enumerate(statistics_of(task.placed))
    ]
    weights = dice.integers(-WEIGHT_MAX, WEIGHT_MAX, count)
    model = Model(weights, np.concatenate([np.zeros(0, np.int64), *statistics]))
    residual = dice.integers(-INT32_MAX, INT32_MAX, count)
    optimiser = tuple(
        dice.integers(-(1 << 30), 1 << 30, count) if kind == "i" else dice.integers(0, 1 << 60, count)
        for kind in layout.get(type(task.optimiser), "")
    )
    return write(State(model, residual, optimiser), task)


def find_changes(miner, job, after):
    """Check that one changed byte of anything shows."""
    capsule = miner.capsule(job)
    signs = message_map.decode(job.message_map, miner.task.weight_count)
    signs[7] = (signs[7] + 2) % 3 - 1
    label = 2 if miner.task.dataset.classes else 1  # low byte of a class, high byte of a number
    changed = [
        (replace(capsule, weights=flip(capsule.weights, 3)), job),
        (replace(capsule, residual=flip(capsule.residual, 0)), job),
        (replace(capsule, batch=flip(capsule.batch, len(capsule.batch) - label)), job),
        (capsule, replace(job, message_map=message_map.encode(signs))),
        (capsule, replace(job, metrics=(*job.metrics[:-1], job.metrics[-1] ^ 1))),
        (capsule, replace(job, peers=job.peers[1:])),
    ]
    if capsule.optimiser:
        changed.append((replace(capsule, optimiser=flip(capsule.optimiser, 2)), job))
    assert replay(miner.task, capsule, job) == (after, "")
    for given, asked in changed:
        end, difference = replay(miner.task, given, asked)
        assert difference or end != after
    named = replay(miner.task, capsule, changed[3][1])[1]
    assert "layer0/kernel[" in named
    assert miner.task.metrics[-1] in replay(miner.task, capsule, changed[4][1])[1]


def flip(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("kind", "metrics"),
    [("dense", ("top_3", "precision")), ("two classes", ("loss", "recall")), ("squares", ("r2", "loss"))],
)
def test_scores_of_other_metrics(shelf, kind, metrics):
    miner = Miner(shelf, KINDS[kind])
    for i in range(2):
        miner.step(i, peer_count=1)
    for metric in metrics:
        expected, found = miner.scores(metric)
        assert found == expected, metric


def test_a_large_model_sends_as_much_as_a_message_holds(shelf):
    # A rate at which most residuals pass tau.
    layers = (Dense(3600), *kinds.DENSE.layers[1:])
    task = replace(kinds.DENSE, layers=layers, optimiser=Sgd(10**7))
    assert task.weight_count > 250_000
    miner = Miner(shelf, task)
    for i in range(2):
        job, after = miner.step(i, peer_count=2)
        result = miner.numpy.run(job)
        assert (result.difference, result.after) == ("", after)
        assert 0 < (len(job.message_map) - 3) // 4 <= MAP_ELEMENTS_MAX


@pytest.mark.parametrize(
    "changes",
    [{"tau_bits": 5}, {"tau_bits": 19}, {"epoch": 0}, {"epoch": 1 << 32}, {"iteration": 1 << 32}],
    ids=str,
)
def test_both_refuse_a_place_that_there_is_not(shelf, changes):
    miner = Miner(shelf, KINDS["dense"])
    job, _ = miner.step(0, peer_count=0)
    job = replace(job, position=replace(job.position, **changes))
    assert_both_refuse(miner, job)


@pytest.mark.parametrize("value", [-(1 << 63), (1 << 45) + 1, -(1 << 45) - 1])
def test_both_refuse_a_statistic_beyond_its_range(shelf, value):
    miner = Miner(shelf, KINDS["images"])
    job, _ = miner.step(0, peer_count=0)
    model = bytearray(miner.capsule(job).weights)
    at = 4 * miner.task.weight_count
    model[at : at + 8] = value.to_bytes(8, "little", signed=True)
    weights = miner.shelf.put(cut(bytes(model)))
    assert_both_refuse(miner, replace(job, before=replace(job.before, weights=weights)))


def assert_both_refuse(miner, job):
    for worker in (miner.jax, miner.numpy):
        result = worker.run(job)
        assert isinstance(result, jobs.Replayed), result
        assert result.difference.startswith("malformed capsule: ")


def test_weight_decay_is_added_before_the_clip(shelf):
    """A rate so high that the step alone is beyond the residual's edge, and the decay brings it back."""
    optimiser = Adam(1_000_000, 0, 65_535, 1, 1_000_000)
    miner = Miner(shelf, replace(KINDS["squares"], optimiser=optimiser))
    model, residual, state = extreme_state(miner.task)
    miner.resume((model, bytes(len(residual)), bytes(len(state))))
    job, after = miner.step(1 << 31, peer_count=0)
    result = miner.numpy.run(job)
    assert (result.difference, result.after) == ("", after)
