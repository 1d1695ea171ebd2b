"""What every trainer promises, whatever its numbers are: the real one and the simulator's."""

from dataclasses import replace

import pytest
from asking import SEED, TAU_BITS, failed, opened, step_of, stepped
from conftest import Shelf
from safetensors.numpy import load

from p2pai import jobs
from p2pai.chain import message_map
from p2pai.chain.layers import Dense
from p2pai.chain.training import Numerics
from p2pai.jaxtrain import workshop
from p2pai.jaxtrain.session import CAPSULES_KEPT
from p2pai.jaxtrain.worker import Worker
from p2pai.primitives.ids import ZERO_HASH, BlobId, Hash32
from testnet.simulator.trainer import FastTrainer


@pytest.fixture(params=[Worker, FastTrainer], ids=["real", "fast"])
def worker(request, shelf):
    return request.param(shelf)


def test_open_stores_the_state_to_begin_with(worker, shelf, task):
    result = opened(worker, task)
    assert result.weight_count == task.weight_count == 4810
    assert result.batch_count == 48
    assert result.platform == ZERO_HASH
    assert {result.state.weights, result.state.residual, result.state.optimiser} <= shelf.shared
    native = opened(worker, replace(task, numerics=Numerics.NATIVE))
    assert native.platform != ZERO_HASH


def test_every_map_is_in_its_one_form(worker, task):
    opened(worker, task)
    maps = [stepped(worker, i, i).message_map for i in range(12)]
    for made in maps:
        message_map.check(made, task.weight_count)
    assert any(message_map.element_count(made) for made in maps)


def test_validation_depends_on_model_and_batches(worker, task):
    opened(worker, task)
    first, other = (worker.run(jobs.Validate("a", batches)).metrics for batches in ((44, 45), (46, 47)))
    assert len(first) == 2
    assert first != other
    for i in range(12):
        stepped(worker, i)
    assert worker.run(jobs.Validate("a", (44, 45))).metrics != first
    assert worker.run(jobs.Validate("a", ())) == jobs.Validated(())
    assert "does not exist" in failed(worker, jobs.Validate("a", (48,)))


def test_states_chain_from_step_to_step(worker, task):
    state = opened(worker, task).state
    first, second = stepped(worker, 0), stepped(worker, 1, 1)
    assert first.before == state
    end = first.after
    assert second.before == jobs.ModelState(end.weights, end.residual, end.optimiser)
    assert second.before.optimiser != state.optimiser or second.before.weights != state.weights
    assert second.before.residual != state.residual
    assert first.batch != second.batch
    assert first.batch_kib == 1
    assert len(first.metrics) == 2


def test_a_session_resumes_where_its_state_was_kept(worker, task):
    opened(worker, task)
    stepped(worker, 0)
    kept = worker.run(jobs.Keep("a"))
    direct = stepped(worker, 1, 1)
    assert kept.state == direct.before
    assert kept.end.witness != direct.after.witness
    assert opened(worker, task, "b", kept.state).state == kept.state
    assert stepped(worker, 1, 1, name="b") == direct


def test_a_step_that_was_begun_is_answered_later(worker, task):
    opened(worker, task)
    opened(worker, task, "b")
    wanted = [stepped(worker, i, i) for i in range(3)]
    for i in range(3):
        assert worker.run(jobs.Begin(step_of(i, i, name="b"))) == jobs.Begun()
    assert [stepped(worker, i, i, name="b") for i in range(3)] == wanted


def test_a_refused_step_changes_nothing(worker, task):
    opened(worker, task)
    before = stepped(worker, 0)
    assert "does not exist" in failed(worker, step_of(1, 48))
    assert "message map" in failed(worker, step_of(1, 0, [b"\0\1"]))
    assert stepped(worker, 1, 1).before.weights == before.after.weights


def test_the_longest_unused_session_makes_room(worker, task, monkeypatch):
    monkeypatch.setattr(workshop, "SESSION_COUNT_MAX", 2)
    opened(worker, task, "a")
    opened(worker, task, "b")
    worker.run(jobs.Keep("a"))
    opened(worker, task, "c")
    assert isinstance(worker.run(jobs.Keep("a")), jobs.Kept)
    assert "'b'" in failed(worker, jobs.Keep("b"))


def recorded(worker, task):
    """A step with two peers' maps, and the replay that checks it."""
    opened(worker, task)
    peers = (stepped(worker, 0).message_map, stepped(worker, 1, 1).message_map)
    step = stepped(worker, 2, 2, peers)
    kept = worker.run(jobs.KeepCapsule("a", step.before, step.batch))
    assert kept == jobs.CapsuleKept(step.before, step.batch)
    return step, jobs.Replay(
        task=task.encode(),
        seed=SEED,
        position=jobs.Position(1, 2, TAU_BITS),
        before=kept.before,
        batch=kept.batch,
        peers=step_of(2, 2, peers).peers,
        message_map=step.message_map,
        metrics=step.metrics,
        samples=30,
        platform=ZERO_HASH,
    )


def test_a_replay_in_a_strangers_worker_is_identical(worker, shelf, task):
    step, job = recorded(worker, task)
    parts = (job.before.weights, job.before.residual, job.before.optimiser, BlobId(job.batch))
    assert shelf.shared.issuperset(parts)
    theirs = Shelf()
    for part in parts:
        theirs.put(shelf.get(part), shared=False)
    replayed = type(worker)(theirs).run(job)
    assert (replayed.after, replayed.difference) == (step.after, "")


def test_the_witness_chains_from_end_to_start(worker, task):
    opened(worker, task)
    first, second = stepped(worker, 0), stepped(worker, 1, 1)
    _, job = recorded(worker, task)
    kept = worker.run(jobs.KeepCapsule("a", second.before, second.batch))
    assert kept.before == second.before
    asked = replace(job, before=kept.before, batch=kept.batch, peers=(), message_map=second.message_map)
    assert worker.run(asked).start_witness == first.after.witness


def test_a_replay_waits_for_what_has_not_arrived(worker, task):
    _, job = recorded(worker, task)
    lost = BlobId(Hash32(bytes(32)))
    for part in ("weights", "residual", "optimiser"):
        assert "not arrived" in failed(worker, replace(job, before=replace(job.before, **{part: lost})))
    assert "not arrived" in failed(worker, replace(job, batch=Hash32(bytes(32))))


def test_capsules_of_recent_steps_can_be_kept_and_old_ones_are_gone(worker, task):
    opened(worker, task)
    steps = [stepped(worker, n, n) for n in range(CAPSULES_KEPT + 1)]
    assert worker.run(jobs.KeepCapsule("a", steps[1].before, steps[1].batch)).before == steps[1].before
    assert "no recent step" in failed(worker, jobs.KeepCapsule("a", steps[0].before, steps[0].batch))


def test_bad_jobs_fail_with_a_sentence(worker, task):
    fragments, encoded = task.dataset.fragments, task.encode()
    lost = BlobId(Hash32(bytes(32)))
    shallow = replace(task, layers=(Dense(9),))
    assert failed(worker, jobs.Open("a", b"junk", SEED, fragments, None))
    assert "one output for each class" in failed(
        worker, jobs.Open("a", shallow.encode(), SEED, fragments, None)
    )
    assert "not one of the task's" in failed(worker, jobs.Open("a", encoded, SEED, (lost,), None))
    absent = replace(task, dataset=replace(task.dataset, fragments=(*fragments[:9], lost)))
    assert "not arrived" in failed(worker, jobs.Open("a", absent.encode(), SEED, (lost,), None))
    assert "no mini-batch" in failed(worker, jobs.Open("a", encoded, SEED, (), None))
    narrow = replace(task, input_shape=(63,), dataset=replace(task.dataset, features=63))
    assert "expected 63" in failed(worker, jobs.Open("a", narrow.encode(), SEED, fragments, None))
    nowhere = (step_of(0, name="x"), jobs.Begin(step_of(0, name="x")), jobs.Keep("x"), jobs.Validate("x", ()))
    state = opened(worker, task).state
    for job in (*nowhere, jobs.KeepCapsule("x", state, lost)):
        assert "no training session 'x'" in failed(worker, job)
    assert "no recent step" in failed(worker, jobs.KeepCapsule("a", state, lost))
    for part, other, said in (
        ("weights", state.optimiser, "model"),
        ("optimiser", state.weights, "optimiser"),
    ):
        wrong = replace(state, **{part: other})
        assert said in failed(worker, jobs.Open("b", encoded, SEED, fragments[:8], wrong))
    assert "model" in failed(worker, jobs.Export(encoded, state.optimiser))
    assert "not arrived" in failed(worker, jobs.Evaluate(encoded, (lost,), fragments[8:]))


def test_a_store_that_lies_is_found_out(worker, shelf, task):
    state = opened(worker, task).state
    shelf.blobs[state.weights] = (bytes(len(shelf.get(state.weights)[0])),)
    said = failed(worker, jobs.Open("b", task.encode(), SEED, task.dataset.fragments[:8], state))
    assert said == "a stored state is not what its content ids say"


def test_fragments_cut_otherwise_than_defined_are_refused(worker, shelf, task):
    """Uneven fragments would stop honest miners; extra samples, honest evaluators."""
    fragments = task.dataset.fragments
    first = shelf.get(fragments[0])
    for chunks in (first[:1], (*first, first[0]), (first[-1], *first[1:-1], first[-1], first[0])):
        other = shelf.put(chunks, shared=False)
        lying = replace(task, dataset=replace(task.dataset, fragments=(other, *fragments[1:])))
        said = failed(worker, jobs.Open("a", lying.encode(), SEED, (other,), None))
        assert said == failed(worker, jobs.Evaluate(lying.encode(), (), (other,)))
        assert "as the task defines" in said


LIES = [
    lambda job: replace(job, message_map=b"\0\0"),
    lambda job: replace(job, message_map=b"junk"),
    lambda job: replace(job, metrics=(job.metrics[0] ^ 1, *job.metrics[1:])),
    lambda job: replace(job, metrics=job.metrics[:-1]),
    lambda job: replace(job, peers=job.peers[:-1]),
    lambda job: replace(job, samples=29),
    lambda job: replace(job, position=jobs.Position(1, 2, TAU_BITS + 1)),
]


@pytest.mark.parametrize("lie", LIES)
def test_a_replay_says_what_differs(worker, task, lie):
    step, job = recorded(worker, task)
    found = worker.run(lie(job))
    assert isinstance(found, jobs.Replayed)
    assert found.difference or found.after != step.after


def test_peers_are_no_ornament(worker, task):
    """An iteration that leaves out a peer's map ends elsewhere, whatever it says of itself."""
    step, job = recorded(worker, task)
    assert worker.run(replace(job, peers=job.peers[1:])).after != step.after


def test_models_are_scored_and_malformed_ones_get_nothing(worker, shelf, task):
    """All evaluators agree to the last bit, and training helps."""
    fresh = opened(worker, task).state.weights
    for i in range(40):
        stepped(worker, i, i)
    trained = worker.run(jobs.Keep("a")).state.weights
    junk = shelf.put((b"junk",), shared=True)
    for metrics in (("accuracy", "loss"), ("loss", "accuracy")):
        encoded = replace(task, metrics=metrics).encode()
        job = jobs.Evaluate(encoded, (fresh, trained, junk), task.dataset.fragments[8:])
        result = worker.run(job)
        assert result.samples == 357
        assert 0 == result.scores[2] < result.scores[0] < result.scores[1]
        assert worker.run(job) == result


def test_a_model_is_exported(worker, shelf, task):
    state = opened(worker, task).state
    file = worker.run(jobs.Export(task.encode(), state.weights)).file
    assert file == worker.run(jobs.Export(task.encode(), state.weights)).file
    assert file in shelf.shared
    tensors = load(b"".join(shelf.get(file)))
    stored = b"".join(shelf.get(state.weights))
    assert sum(tensor.nbytes for tensor in tensors.values()) == len(stored)
    assert all(tensor.tobytes() in stored for tensor in tensors.values())
