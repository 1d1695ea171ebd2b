"""The jobs that the engine does, and that it answers whatever it is asked."""

from dataclasses import replace

import kinds
import pytest

from p2pai import jobs
from p2pai.chain.training import Numerics
from p2pai.numpyreplay.capsule import Capsule
from p2pai.numpyreplay.replay import NOWHERE, initial_state, replay
from p2pai.numpyreplay.worker import Worker
from p2pai.primitives.blob import cut
from p2pai.primitives.ids import ZERO_HASH, BlobId, Hash32

SEED = Hash32(bytes(range(32)))
POSITION = jobs.Position(1, 0, 10)


@pytest.fixture
def task(shelf):
    fragments = tuple(shelf.put((kinds.chunk_of(kinds.DENSE, i),)) for i in range(10))
    return replace(kinds.DENSE, dataset=replace(kinds.DENSE.dataset, fragments=fragments))


@pytest.fixture
def state(shelf, task):
    return jobs.ModelState(*(shelf.put(cut(part)) for part in initial_state(task, SEED)))


@pytest.fixture
def job(task, state):
    batch = task.dataset.fragments[0]
    peers = (jobs.PeerUpdate(10, b"\0\0"),)
    return jobs.Replay(
        task.encode(), SEED, POSITION, state, batch, peers, b"\0\0", (0, 0), kinds.SAMPLES, ZERO_HASH
    )


def difference(shelf, job):
    result = Worker(shelf).run(job)
    assert isinstance(result, jobs.Replayed), result
    assert "\n" not in result.difference
    return result.difference


def test_it_says_what_differs_first(shelf, job):
    assert difference(shelf, job).startswith("message map: layer0/kernel[0, ")
    assert "message map" in difference(shelf, replace(job, message_map=b"\0"))


def test_it_names_the_metric_that_differs(shelf, task, job):
    slow = replace(task, optimiser=replace(task.optimiser, learning_rate_ppm=1))  # sends nothing
    quiet = replace(job, task=slow.encode())
    assert difference(shelf, quiet).startswith("metric loss is ")
    assert difference(shelf, replace(quiet, metrics=())).startswith("0 metrics")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"samples": 11}, "samples"),
        ({"samples": 0}, "samples"),
        ({"position": jobs.Position(1, 0, 5)}, "tau"),
        ({"position": jobs.Position(0, 0, 10)}, "iteration"),
        ({"position": jobs.Position(1, 2**63, 10)}, "iteration"),
        ({"peers": (jobs.PeerUpdate(99, b"\0\0"),)}, "tau"),
        ({"peers": (jobs.PeerUpdate(10, b"\0\1"),)}, "message map"),
    ],
)
def test_a_malformed_job_leads_nowhere(shelf, job, changes, says):
    changed = replace(job, **changes)
    result = Worker(shelf).run(changed)
    assert result.after == NOWHERE
    assert result.difference.startswith("malformed capsule: ")
    assert says in result.difference


@pytest.mark.parametrize("part", ["weights", "residual", "optimiser", "batch"])
def test_a_malformed_part_leads_nowhere(task, job, part):
    good = dict(zip(("weights", "residual", "optimiser"), initial_state(task, SEED), strict=True))
    capsule = Capsule(**{"batch": kinds.chunk_of(task, 0), **good, part: b"x"})
    after, found = replay(task, capsule, job)
    assert after == NOWHERE
    assert found.startswith("malformed capsule: ")


def test_what_it_cannot_do_fails_with_a_sentence(shelf, task, job):
    native = replace(task, numerics=Numerics.NATIVE)
    invalid = replace(task, mantissa_bits=9)
    asked = [
        jobs.Keep("a"),
        jobs.Prepare("/nowhere", "npz", regression=False, batch_size=1, fragment_count=1),
        replace(job, task=b"nonsense"),
        replace(job, task=invalid.encode()),
        replace(job, batch=ZERO_HASH),
        jobs.Evaluate(task.encode(), (), (BlobId(ZERO_HASH),)),
        jobs.Evaluate(native.encode(), (), task.dataset.fragments[:1]),
    ]
    for each in asked:
        result = Worker(shelf).run(each)
        assert isinstance(result, jobs.Failed), each
        assert result.reason
        assert "\n" not in result.reason
    assert "native" in Worker(shelf).run(replace(job, task=native.encode())).difference


def test_models_are_scored_and_malformed_ones_get_nothing(shelf, task, state):
    fragments = task.dataset.fragments
    models = (state.weights, fragments[0])
    result = Worker(shelf).run(jobs.Evaluate(task.encode(), models, fragments[8:]))
    assert isinstance(result, jobs.Evaluated)
    assert result.samples == 24
    assert result.scores[0] > 0
    assert result.scores[1] == 0
    assert Worker(shelf).run(jobs.Evaluate(task.encode(), models, ())) == jobs.Evaluated((1, 0), 0)


def test_a_fragment_of_another_cut_is_refused(shelf, task, state):
    short = shelf.put((kinds.chunk_of(task, 0, 11),))
    data = replace(task.dataset, fragments=(*task.dataset.fragments[:9], short))
    other = replace(task, dataset=data)
    result = Worker(shelf).run(jobs.Evaluate(other.encode(), (state.weights,), (short,)))
    assert isinstance(result, jobs.Failed)
