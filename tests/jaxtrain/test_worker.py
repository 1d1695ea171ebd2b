"""Every job of the trainer, replay and its refusals, and that a group of miners learns."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import DIGITS, Shelf
from safetensors.numpy import load

import p2pai
from p2pai import jobs
from p2pai.chain.task import Dense
from p2pai.jaxtrain import message_map, weights
from p2pai.jaxtrain import worker as worker_module
from p2pai.jaxtrain.model import Architecture
from p2pai.jaxtrain.session import CAPSULES_KEPT
from p2pai.jaxtrain.worker import Worker
from p2pai.primitives import blob
from p2pai.primitives.ids import BlobId, Hash32

SEED = Hash32(bytes(range(32)))


def opened(worker, task, name="a", state=None):
    result = worker.run(jobs.Open(name, task.encode(), SEED, task.dataset.fragments[:8], state))
    assert isinstance(result, jobs.Opened), result
    return result


def stepped(worker, batch=0, peers=(), name="a"):
    result = worker.run(jobs.Step(name, batch, tuple(peers)))
    assert isinstance(result, jobs.Stepped), result
    return result


def failed(worker, job):
    result = worker.run(job)
    assert isinstance(result, jobs.Failed), result
    assert "\n" not in result.reason
    return result.reason


def test_prepare_describes_the_dataset_and_shares_nothing(worker, shelf):
    prepared = worker.run(jobs.Prepare(DIGITS, "npz", 30, 10))
    assert (prepared.samples, prepared.features, prepared.classes) == (1797, 64, 10)
    assert len(set(prepared.fragments)) == 10
    assert all(len(shelf.get(fragment)) == 6 for fragment in prepared.fragments)
    assert not shelf.shared
    assert "cannot be read" in failed(worker, jobs.Prepare("/nowhere", "npz", 30, 10))
    assert "at least 1" in failed(worker, jobs.Prepare(DIGITS, "npz", 0, 10))


def test_open_stores_the_initial_state_and_sets_batches_apart(worker, shelf, task):
    result = opened(worker, task)
    assert result.weight_count == task.weight_count == 4810
    assert result.batch_count == 44
    for part, size in zip((result.state.weights, result.state.residual), (4 * 4810,) * 2, strict=True):
        assert part in shelf.shared
        assert len(b"".join(shelf.get(part))) == size
    assert shelf.get(result.state.optimiser) == (b"",)


def test_states_chain_from_step_to_step(worker, task):
    state = opened(worker, task).state
    first, second = stepped(worker, 0), stepped(worker, 1)
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
    direct = stepped(worker, 1)
    assert kept.state == direct.before
    assert kept.end.witness != direct.after.witness
    assert opened(worker, task, "b", kept.state).state == kept.state
    assert stepped(worker, 1, name="b") == direct


def test_a_refused_step_changes_nothing(worker, task):
    opened(worker, task)
    before = stepped(worker, 0)
    assert "does not exist" in failed(worker, jobs.Step("a", 44, ()))
    assert "message map" in failed(worker, jobs.Step("a", 0, (b"\0\1",)))
    assert stepped(worker, 1).before.weights == before.after.weights


def test_validation_scores_the_batches_set_apart(worker, task):
    opened(worker, task)
    loss, accuracy = (np.array(m, np.uint32).view(np.float32) for m in worker.run(jobs.Validate("a")).metrics)
    assert 1 < loss < 4
    assert 0 < accuracy < 0.5
    opened(worker, replace(task, dataset=replace(task.dataset, validation_percent=0)), "b")
    assert worker.run(jobs.Validate("b")) == jobs.Validated(())


def recorded(worker, task):
    """A step with two peers' maps, and the replay that checks it."""
    opened(worker, task)
    peers = (stepped(worker, 0).message_map, stepped(worker, 1).message_map)
    step = stepped(worker, 2, peers)
    kept = worker.run(jobs.KeepCapsule("a", step.before.weights))
    assert kept == jobs.CapsuleKept(step.before, step.batch)
    return step, jobs.Replay(
        task.encode(), kept.before, kept.batch, peers, step.message_map, step.metrics, 30
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
    first, second = stepped(worker, 0), stepped(worker, 1)
    kept = worker.run(jobs.KeepCapsule("a", second.before.weights))
    job = jobs.Replay(task.encode(), kept.before, kept.batch, (), second.message_map, second.metrics, 30)
    assert worker.run(job).start_witness == first.after.witness


def test_capsules_of_recent_steps_can_be_kept_and_old_ones_are_gone(worker, task):
    opened(worker, task)
    steps = [stepped(worker, n) for n in range(CAPSULES_KEPT + 1)]
    assert worker.run(jobs.KeepCapsule("a", steps[1].before.weights)).before == steps[1].before
    assert "no recent step" in failed(worker, jobs.KeepCapsule("a", steps[0].before.weights))


def tampered_map(job, index, sign):
    signs = message_map.decode(job.message_map, 4810).copy()
    assert signs[index] != sign
    signs[index] = sign
    return replace(job, message_map=message_map.encode(signs))


def with_part(shelf, job, part, change):
    """Change one part of the state before and point the capsule at it."""
    data = bytearray(b"".join(shelf.get(getattr(job.before, part))))
    change(data)
    return replace(job, before=replace(job.before, **{part: shelf.put(blob.cut(bytes(data)), shared=True)}))


def set_float(data, index, value):
    data[4 * index : 4 * index + 4] = np.array(value, "<f4").tobytes()


def set_int(data, index, value):
    data[4 * index : 4 * index + 4] = np.array(value, "<i4").tobytes()


def changed_batch(shelf, job):
    chunk = bytearray(shelf.get(BlobId(job.batch))[0])
    chunk[-2] = (chunk[-2] + 1) % 10
    return replace(job, batch=Hash32(shelf.put((bytes(chunk),), shared=True)))


def test_every_tampering_is_found_and_located(worker, shelf, task):
    _, job = recorded(worker, task)
    signs = message_map.decode(job.message_map, 4810)
    quiet, loud = int(np.flatnonzero(signs == 0)[100]), int(np.flatnonzero(signs)[0])
    where = Architecture.of(task).locate
    cases = {
        f"message map at {where(quiet)}: recorded +1, replayed nothing": tampered_map(job, quiet, 1),
        f"message map at {where(loud)}: recorded nothing, replayed {signs[loud]:+d}": tampered_map(
            job, loud, 0
        ),
        f"message map at {where(loud)}: recorded {-signs[loud]:+d}": tampered_map(job, loud, -signs[loud]),
        "recorded message map: ": replace(job, message_map=job.message_map + b"\0"),
        "metric loss: recorded 0x": replace(job, metrics=(job.metrics[0] ^ 1, job.metrics[1])),
        "metric accuracy: recorded 0x": replace(job, metrics=(job.metrics[0], job.metrics[1] ^ 1)),
        "1 metrics recorded": replace(job, metrics=job.metrics[:1]),
        "message map at layer1/bias[3]: recorded ": with_part(
            shelf, job, "residual", lambda data: set_int(data, 4803, 2**30)
        ),
        "message map at layer0/kernel[": with_part(
            shelf, job, "weights", lambda data: set_float(data, 4805, 8)
        ),
        "message map at layer": changed_batch(shelf, job),
        "malformed capsule: weights: a value": with_part(
            shelf, job, "weights", lambda data: set_float(data, 7, 2**-21)
        ),
        "malformed capsule: weights: 19244 bytes": with_part(
            shelf, job, "weights", lambda data: data.extend(bytes(4))
        ),
        "malformed capsule: residual": with_part(
            shelf, job, "residual", lambda data: set_int(data, 7, -(2**31))
        ),
        "malformed capsule: plain SGD": replace(
            job, before=replace(job.before, optimiser=shelf.put((b"x",), shared=True))
        ),
        "malformed capsule: message map": replace(job, peers=(*job.peers, b"\7")),
        "malformed capsule: mini-batch": replace(job, batch=Hash32(shelf.put((b"P2MB",), shared=True))),
    }
    for said, tampered in cases.items():
        assert worker.run(tampered).difference.startswith(said), (said, worker.run(tampered).difference)


def test_the_smallest_change_of_the_start_shows_in_the_end(worker, shelf, task):
    """A change too small for map and metrics still gives other weights: the nonce is bound to them."""
    step, job = recorded(worker, task)
    nudged = with_part(shelf, job, "weights", lambda data: set_float(data, 0, 2**-20))
    dropped = replace(job, peers=job.peers[:1])
    doubled = replace(job, peers=(*job.peers, job.peers[0]))
    for tampered in (nudged, dropped, doubled):
        assert worker.run(tampered).after != step.after


def test_models_are_scored_and_malformed_ones_get_nothing(worker, shelf, task):
    state = opened(worker, task).state
    junk = shelf.put((b"junk",), shared=True)
    result = worker.run(jobs.Evaluate(task.encode(), (state.weights, junk), task.dataset.fragments[8:]))
    assert result.samples == 357
    assert 0 < result.correct[0] < 120
    assert result.correct[1] == 0


def test_the_same_weights_are_exported_to_the_same_bytes(worker, task):
    state = opened(worker, task).state
    files = {worker.run(jobs.Export(task.encode(), state.weights)).file for _ in range(20)}
    assert len(files) == 1


def test_the_exported_file_holds_the_named_tensors(worker, shelf, task):
    state = opened(worker, task).state
    file = worker.run(jobs.Export(task.encode(), state.weights)).file
    assert file in shelf.shared
    tensors = load(b"".join(shelf.get(file)))
    architecture = Architecture.of(task)
    assert set(tensors) == set(architecture.names)
    assert weights.pack([tensors[n] for n in architecture.names]) == b"".join(shelf.get(state.weights))


def test_bad_jobs_fail_with_a_sentence(worker, task):
    fragments, encoded = task.dataset.fragments, task.encode()
    lost = BlobId(Hash32(bytes(32)))
    shallow = replace(task, layers=(Dense(9, "none"),))
    assert failed(worker, jobs.Open("a", b"junk", SEED, fragments, None))
    assert "one unit per class" in failed(worker, jobs.Open("a", shallow.encode(), SEED, fragments, None))
    assert "not one of the task's" in failed(worker, jobs.Open("a", encoded, SEED, (lost,), None))
    absent = replace(task, dataset=replace(task.dataset, fragments=(*fragments[:9], lost)))
    assert "not arrived" in failed(worker, jobs.Open("a", absent.encode(), SEED, (lost,), None))
    assert "no mini-batch" in failed(worker, jobs.Open("a", encoded, SEED, (), None))
    narrow = replace(task, dataset=replace(task.dataset, features=63))
    assert "expected 63" in failed(worker, jobs.Open("a", narrow.encode(), SEED, fragments, None))
    for job in (jobs.Step("x", 0, ()), jobs.Keep("x"), jobs.KeepCapsule("x", lost), jobs.Validate("x")):
        assert "no training session 'x'" in failed(worker, job)
    state = opened(worker, task).state
    assert "no recent step" in failed(worker, jobs.KeepCapsule("a", state.weights))
    assert "weights" in failed(
        worker, jobs.Open("b", encoded, SEED, fragments[:8], replace(state, weights=state.optimiser))
    )
    assert "optimiser" in failed(
        worker, jobs.Open("b", encoded, SEED, fragments[:8], replace(state, optimiser=state.weights))
    )
    assert "weights" in failed(worker, jobs.Export(encoded, state.optimiser))
    assert "not arrived" in failed(worker, jobs.Evaluate(encoded, (lost,), fragments[8:]))


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


def test_a_replay_refuses_a_batch_of_another_size(worker, task):
    _, job = recorded(worker, task)
    assert "30 samples, the task wants 29" in worker.run(replace(job, samples=29)).difference


def test_the_longest_unused_session_makes_room(worker, task, monkeypatch):
    monkeypatch.setattr(worker_module, "SESSION_COUNT_MAX", 2)
    opened(worker, task, "a")
    opened(worker, task, "b")
    worker.run(jobs.Keep("a"))
    opened(worker, task, "c")
    assert isinstance(worker.run(jobs.Keep("a")), jobs.Kept)
    assert "'b'" in failed(worker, jobs.Keep("b"))


@pytest.mark.parametrize("delay", [1, 3])
def test_three_miners_learn_the_digits(worker, task, delay):
    """Interleaved mini-batches, maps applied `delay` iterations late, fragments 0 to 7 to train on."""
    task = replace(task, layers=(Dense(128, "relu"), Dense(10, "none")))
    names = ("a", "b", "c")
    batch_count = min(opened(worker, task, name).batch_count for name in names)
    history = []
    for i in range(300):
        late = history[i - delay] if i >= delay else {}
        steps = {
            name: stepped(worker, (3 * i + k) % batch_count, [m for n, m in late.items() if n != name], name)
            for k, name in enumerate(names)
        }
        history.append({name: step.message_map for name, step in steps.items()})
    models = tuple(worker.run(jobs.Keep(name)).state.weights for name in names)
    result = worker.run(jobs.Evaluate(task.encode(), models, task.dataset.fragments[8:]))
    assert min(result.correct) / result.samples >= 0.95
    sent = sum(message_map.element_count(m) for maps in history for m in maps.values())
    assert sent / (900 * task.weight_count) < 0.02


def test_the_package_itself_does_not_import_jax():
    program = "import sys, p2pai.jaxtrain; sys.exit('jax' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(p2pai.__file__).parent.parent)}
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0
