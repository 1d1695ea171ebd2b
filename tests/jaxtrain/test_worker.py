"""The real trainer's numbers, and that miners learn together; all trainers' promises are in test_jobs.py."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from asking import SEED, failed, opened, stepped
from safetensors.numpy import load

import p2pai
from p2pai import jobs
from p2pai.chain.training import Numerics
from p2pai.jaxtrain import message_map, weights
from p2pai.jaxtrain import worker as worker_module
from p2pai.jaxtrain.model import Architecture
from p2pai.jaxtrain.platform import fingerprint
from p2pai.primitives.ids import ZERO_HASH


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


def test_validation_scores_the_batches_asked_for(worker, task):
    opened(worker, task)
    result = worker.run(jobs.Validate("a", tuple(range(44, 48))))
    loss, accuracy = (np.array(m, np.uint32).view(np.float32) for m in result.metrics)
    assert 1 < loss < 4
    assert 0 < accuracy < 0.5
    assert worker.run(jobs.Validate("a", ())) == jobs.Validated(())
    assert "does not exist" in failed(worker, jobs.Validate("a", (48,)))


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


def test_memory_that_runs_out_fails_the_job_alone(worker, task, monkeypatch):
    def grow(*_):
        raise MemoryError

    monkeypatch.setattr(worker_module, "initial_values", grow)
    job = jobs.Open("a", task.encode(), SEED, task.dataset.fragments[:8], None)
    assert "more memory" in failed(worker, job)


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
