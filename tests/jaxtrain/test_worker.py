"""Every job of the trainer and its refusals, and that a group of miners learns."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import DIGITS, Shelf, digits_task
from safetensors.numpy import load

import p2pai
from p2pai import jobs
from p2pai.chain import shards
from p2pai.chain.layers import Dense
from p2pai.chain.training import Numerics, ReedSolomon
from p2pai.jaxtrain import message_map, weights
from p2pai.jaxtrain import worker as worker_module
from p2pai.jaxtrain.model import Architecture
from p2pai.jaxtrain.platform import fingerprint
from p2pai.jaxtrain.session import CAPSULES_KEPT
from p2pai.jaxtrain.worker import Worker
from p2pai.primitives import merkle
from p2pai.primitives.ids import ZERO_HASH, BlobId, Hash32

SEED = Hash32(bytes(range(32)))
TAU_BITS = 6


def opened(worker, task, name="a", state=None):
    result = worker.run(jobs.Open(name, task.encode(), SEED, task.dataset.fragments[:8], state))
    assert isinstance(result, jobs.Opened), result
    return result


def step_of(i, batch=0, peers=(), name="a"):
    updates = tuple(jobs.PeerUpdate(TAU_BITS, data) for data in peers)
    return jobs.Step(name, jobs.Position(1, i, TAU_BITS), batch, updates)


def stepped(worker, i, batch=0, peers=(), name="a"):
    result = worker.run(step_of(i, batch, peers, name))
    assert isinstance(result, jobs.Stepped), result
    return result


def failed(worker, job):
    result = worker.run(job)
    assert isinstance(result, jobs.Failed), result
    assert "\n" not in result.reason
    return result.reason


def prepare(path=DIGITS, form="npz", *, regression=False, batch_size=30, fragment_count=10):
    return jobs.Prepare(path, form, regression, batch_size, fragment_count)


# Data


def test_prepare_describes_the_dataset_and_shares_nothing(worker, shelf):
    prepared = worker.run(prepare())
    assert (prepared.samples, prepared.features, prepared.classes, prepared.targets) == (1797, 64, 10, 0)
    assert len(set(prepared.fragments)) == 10
    assert all(len(shelf.get(fragment)) == 6 for fragment in prepared.fragments)
    assert not shelf.shared


def test_prepare_takes_numbers_for_a_regression(worker):
    prepared = worker.run(prepare(regression=True))
    assert (prepared.samples, prepared.features, prepared.classes, prepared.targets) == (1797, 64, 0, 1)


def test_a_file_that_cannot_be_prepared_is_said(worker):
    assert "cannot be read" in failed(worker, prepare("/nowhere"))
    assert "at least 1" in failed(worker, prepare(batch_size=0))
    assert "at least 1" in failed(worker, prepare(fragment_count=0))
    assert "unknown data format" in failed(worker, prepare(form="parquet"))
    assert "cannot be cut" in failed(worker, prepare(fragment_count=1500))


# Sessions


def test_open_stores_the_initial_state(worker, shelf, task):
    result = opened(worker, task)
    assert result.weight_count == task.weight_count == 4810
    assert result.batch_count == 48
    assert result.platform == ZERO_HASH
    for part in (result.state.weights, result.state.residual):
        assert part in shelf.shared
        assert len(b"".join(shelf.get(part))) == 4 * 4810
    assert shelf.get(result.state.optimiser) == (b"",)


def test_a_task_in_native_numerics_names_the_platform(worker, task):
    assert opened(worker, replace(task, numerics=Numerics.NATIVE)).platform == fingerprint()


def test_states_chain_from_step_to_step(worker, task):
    state = opened(worker, task).state
    first, second = stepped(worker, 0), stepped(worker, 1, 1)
    assert first.before == state
    end = first.after
    assert second.before == jobs.ModelState(end.weights, end.residual, end.optimiser)
    assert second.before.weights != state.weights
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


def test_validation_scores_the_batches_asked_for(worker, task):
    opened(worker, task)
    result = worker.run(jobs.Validate("a", tuple(range(44, 48))))
    loss, accuracy = (np.array(m, np.uint32).view(np.float32) for m in result.metrics)
    assert 1 < loss < 4
    assert 0 < accuracy < 0.5
    assert worker.run(jobs.Validate("a", ())) == jobs.Validated(())
    assert "does not exist" in failed(worker, jobs.Validate("a", (48,)))


def test_the_longest_unused_session_makes_room(worker, task, monkeypatch):
    monkeypatch.setattr(worker_module, "SESSION_COUNT_MAX", 2)
    opened(worker, task, "a")
    opened(worker, task, "b")
    worker.run(jobs.Keep("a"))
    opened(worker, task, "c")
    assert isinstance(worker.run(jobs.Keep("a")), jobs.Kept)
    assert "'b'" in failed(worker, jobs.Keep("b"))


# Capsules and replays


def recorded(worker, task):
    """A step with two peers' maps, and the replay that checks it."""
    opened(worker, task)
    peers = (stepped(worker, 0).message_map, stepped(worker, 1, 1).message_map)
    step = stepped(worker, 2, 2, peers)
    kept = worker.run(jobs.KeepCapsule("a", step.before.weights))
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
    replayed = Worker(theirs).run(job)
    assert (replayed.after, replayed.difference) == (step.after, "")


def test_the_witness_chains_from_end_to_start(worker, task):
    opened(worker, task)
    first, second = stepped(worker, 0), stepped(worker, 1, 1)
    _, job = recorded(worker, task)
    kept = worker.run(jobs.KeepCapsule("a", second.before.weights))
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
    assert worker.run(jobs.KeepCapsule("a", steps[1].before.weights)).before == steps[1].before
    assert "no recent step" in failed(worker, jobs.KeepCapsule("a", steps[0].before.weights))


# Models


def test_models_are_scored_and_malformed_ones_get_nothing(worker, shelf, task):
    state = opened(worker, task).state
    junk = shelf.put((b"junk",), shared=True)
    by_accuracy = replace(task, metrics=("accuracy", "loss"))
    result = worker.run(
        jobs.Evaluate(by_accuracy.encode(), (state.weights, junk), task.dataset.fragments[8:])
    )
    assert result.samples == 357
    assert 0 < result.scores[0] < 2**31
    assert result.scores[1] == 0
    by_loss = worker.run(jobs.Evaluate(task.encode(), (state.weights, junk), task.dataset.fragments[8:]))
    assert 2**32 // 5 < by_loss.scores[0] < 2**32 // 2
    assert by_loss.scores[1] == 0


def test_the_exported_file_holds_the_named_tensors(worker, shelf, task):
    state = opened(worker, task).state
    file = worker.run(jobs.Export(task.encode(), state.weights)).file
    assert file == worker.run(jobs.Export(task.encode(), state.weights)).file
    assert file in shelf.shared
    tensors = load(b"".join(shelf.get(file)))
    architecture = Architecture.of(task)
    assert set(tensors) == set(architecture.names)
    assert weights.pack([tensors[n] for n in architecture.names]) == b"".join(shelf.get(state.weights))


# Refusals


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
    for job in (*nowhere, jobs.KeepCapsule("x", lost)):
        assert "no training session 'x'" in failed(worker, job)
    state = opened(worker, task).state
    assert "no recent step" in failed(worker, jobs.KeepCapsule("a", state.weights))
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
    shelf.blobs[state.weights] = (bytes(4 * task.weight_count),)
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


def test_memory_that_runs_out_fails_the_job_alone(worker, task, monkeypatch):
    def grow(*_):
        raise MemoryError

    monkeypatch.setattr(worker_module, "initial_values", grow)
    job = jobs.Open("a", task.encode(), SEED, task.dataset.fragments[:8], None)
    assert "more memory" in failed(worker, job)


# Learning


@pytest.mark.parametrize("delay", [1, 3])
def test_three_miners_learn_the_digits(worker, task, delay):
    """Interleaved mini-batches, maps applied `delay` iterations late, fragments 0 to 7 to train on."""
    names = ("a", "b", "c")
    batch_count = min(opened(worker, task, name).batch_count for name in names)
    history = []
    for i in range(250):
        late = history[i - delay] if i >= delay else {}
        steps = {
            name: stepped(
                worker, i, (3 * i + k) % batch_count, [m for n, m in late.items() if n != name], name
            )
            for k, name in enumerate(names)
        }
        history.append({name: step.message_map for name, step in steps.items()})
    models = tuple(worker.run(jobs.Keep(name)).state.weights for name in names)
    by_accuracy = replace(task, metrics=("accuracy",))
    result = worker.run(jobs.Evaluate(by_accuracy.encode(), models, task.dataset.fragments[8:]))
    assert min(result.scores) / 2**32 >= 0.94
    sent = sum(message_map.element_count(m) for maps in history for m in maps.values())
    assert sent / (750 * task.weight_count) < 0.03


def test_the_package_itself_does_not_import_jax():
    program = "import sys, p2pai.jaxtrain; sys.exit('jax' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(p2pai.__file__).parent.parent)}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0


# Shards, and what fragments hold


@pytest.fixture
def sharded(worker):
    """A task on the digits whose fragments are cut into 2 + 1 shards."""
    scheme = ReedSolomon(2, 1)
    made = worker.run(jobs.Prepare(DIGITS, "npz", False, 30, 10, scheme))
    task = digits_task(made, redundancy=scheme)
    assert task.dataset.shards == made.shards is not None
    return task


def rows(shelf, task):
    return shards.read(task, b"".join(shelf.get(task.dataset.shards)))


def only(shelf, *names):
    """Another's shelf, with some of the blobs."""
    theirs = Shelf()
    for name in names:
        theirs.put(shelf.get(name), shared=False)
    return theirs


def test_shards_change_neither_the_fragments_nor_what_is_shared(shelf, worker, sharded):
    whole = worker.run(prepare())
    assert whole.shards is None
    assert whole.fragments == sharded.dataset.fragments
    assert shelf.shared == set()


def test_each_row_of_the_list_can_be_proven(shelf, sharded):
    listed = shelf.get(sharded.dataset.shards)
    leaves = [merkle.leaf_hash(chunk) for chunk in listed]
    for i, row in enumerate(rows(shelf, sharded)):
        path = merkle.inclusion_path(leaves, i)
        merkle.verify_inclusion(merkle.leaf_hash(b"".join(row)), i, 10, path, Hash32(sharded.dataset.shards))
        assert len(row) == 3


@pytest.mark.parametrize("here", [(0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_a_fragment_is_restored_from_any_two_shards(shelf, sharded, here):
    for fragment, row in zip(sharded.dataset.fragments, rows(shelf, sharded), strict=True):
        theirs = only(shelf, sharded.dataset.shards, *(row[i] for i in here))
        restored = Worker(theirs).run(jobs.Restore(sharded.encode(), fragment))
        assert restored == jobs.Restored(fragment, "")
        assert theirs.get(fragment) == shelf.get(fragment)
        assert theirs.shared == set()


def test_too_few_shards_are_nobodys_fault(shelf, sharded):
    fragment, row = sharded.dataset.fragments[3], rows(shelf, sharded)[3]
    theirs = Worker(only(shelf, sharded.dataset.shards, row[1]))
    assert "2 shards restore a fragment, 1 are here" in failed(
        theirs, jobs.Restore(sharded.encode(), fragment)
    )
    nothing = Worker(only(shelf, *row))
    assert "not arrived" in failed(nothing, jobs.Restore(sharded.encode(), fragment))


def lying(shelf, task, change):
    """The task of a client whose list names other shards for fragment 3."""
    found = list(rows(shelf, task))
    found[3] = change(found)
    listed = shelf.put(shards.write(found), shared=False)
    return replace(task, dataset=replace(task.dataset, shards=listed))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda found: found[4], "something else"),
        (lambda found: (found[3][1], found[3][0], found[3][2]), "something else|impossible|more than"),
        (lambda found: (found[3][0], found[4][1], found[3][2]), "something else|impossible|more than"),
        (lambda found: (found[3][0], found[9][1], found[3][2]), "differ in length"),
    ],
)
def test_shards_that_restore_something_else_are_a_lie(shelf, worker, sharded, change, reason):
    task = lying(shelf, sharded, change)
    fragment = task.dataset.fragments[3]
    result = worker.run(jobs.Restore(task.encode(), fragment))
    assert isinstance(result, jobs.Restored)
    assert re.search(reason, result.fault)


def test_only_a_tasks_own_fragments_are_restored(worker, task, sharded):
    assert "not one of the task's" in failed(worker, jobs.Restore(sharded.encode(), BlobId(ZERO_HASH)))
    assert "has no shards" in failed(worker, jobs.Restore(task.encode(), task.dataset.fragments[0]))


@pytest.mark.parametrize("scheme", [ReedSolomon(0, 1), ReedSolomon(1, 0), ReedSolomon(17, 16)])
def test_shards_that_cannot_be_made(worker, scheme):
    assert "at most 32" in failed(worker, replace(prepare(), redundancy=scheme))


def test_fragments_that_hold_what_the_task_says(worker, task):
    assert worker.run(jobs.Inspect(task.encode(), task.dataset.fragments)) == jobs.Inspected(None, "")
    assert "not arrived" in failed(Worker(Shelf()), jobs.Inspect(task.encode(), task.dataset.fragments))


def spoilt(shelf, task, change):
    """The task of a client whose fragment 3 was changed before its hash was taken."""
    fragments = list(task.dataset.fragments)
    fragments[3] = shelf.put(tuple(change(list(shelf.get(fragments[3])))), shared=False)
    return replace(task, dataset=replace(task.dataset, fragments=tuple(fragments)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda batches: batches[:-1], "not cut into mini-batches as the task defines"),
        (lambda batches: [*batches, batches[0]], "not cut into mini-batches as the task defines"),
        (lambda batches: [batches[0][:-1], *batches[1:]], "wrong size"),
        (lambda batches: [b"no data", *batches[1:]], "too short"),
        (lambda batches: [batches[0][:-2] + b"\x0a\x00", *batches[1:]], "a label is out of range"),
        (lambda batches: [batches[0][:5] + b"\x02" + batches[0][6:], *batches[1:]], "kind of feature"),
    ],
    ids=["samples are missing", "samples too many", "cut off", "garbage", "label", "dtype"],
)
def test_the_first_fragment_that_does_not_is_named(shelf, worker, task, change, reason):
    bad = spoilt(shelf, task, change)
    result = worker.run(jobs.Inspect(bad.encode(), bad.dataset.fragments))
    assert isinstance(result, jobs.Inspected)
    assert result.fragment == bad.dataset.fragments[3]
    assert reason in result.reason
    others = bad.dataset.fragments[:3] + bad.dataset.fragments[4:]
    assert worker.run(jobs.Inspect(bad.encode(), others)) == jobs.Inspected(None, "")
