"""`p2pai train --local` on a tiny task: what is printed, written and refused, and how Ctrl-C ends it."""

import json
import signal

import numpy as np
import pytest
from safetensors.numpy import load_file

from p2pai.jaxtrain import local

TASK = """
name: blobs
fee: 1
data: blobs.csv
dataset: {format: csv, batch_size: 10, fragments: 10, training_percent: 80}
model:
  layers:
    - {dense: 8, activation: relu}
    - {dense: 3}
  loss: softmax_cross_entropy
optimiser: {name: sgd, learning_rate: 0.5}
tau: 0.0078125
epochs: 4
validation: {holdout: 25}
metrics: [accuracy, loss]
"""


@pytest.fixture
def task(tmp_path):
    """A task file, and its data beside it: three heaps of points."""
    dice = np.random.Generator(np.random.Philox(1))
    labels = dice.integers(0, 3, 400)
    points = np.round(dice.normal(0, 0.3, (400, 4)) + np.eye(3, 4)[labels], 3)
    rows = [",".join([*map(str, point), str(label)]) for point, label in zip(points, labels, strict=True)]
    (tmp_path / "blobs.csv").write_text("\n".join(rows) + "\n")
    file = tmp_path / "blobs.yaml"
    file.write_text(TASK)
    return file


def test_it_tells_each_epoch_and_what_the_test_gave(p2pai, task, tmp_path):
    out = tmp_path / "model.safetensors"
    status, printed, errors = p2pai("train", "--local", task, "--out", out)
    assert (status, errors) == (0, "")
    lines = printed.splitlines()
    assert [line.split(":")[0] for line in lines[:4]] == [f"epoch {i}/4" for i in range(1, 5)]
    assert all("validation accuracy" in line and "% of the weights sent" in line for line in lines[:4])
    assert lines[4] == "Test, on 80 samples that no miner saw:"
    assert lines[5].split() == ["miner", "accuracy", "loss"]
    assert [line.split()[0] for line in lines[6:9]] == ["1", "2", "3"]
    assert "bytes an iteration" in lines[9]
    assert str(out) in lines[10]
    assert load_file(out)["layer0/kernel"].shape == (4, 8)


def test_programs_get_all_of_it(p2pai_json, task):
    answer = p2pai_json("train", "--local", task, "--miners", 2, "--epochs", 3)
    assert [epoch["epoch"] for epoch in answer["epochs"]] == [1, 2, 3]
    assert answer["iterations"] == 3 * 24
    assert len(answer["miners"]) == 2
    assert all(miner["accuracy"] > 0.7 for miner in answer["miners"])
    assert answer["epochs"][-1]["validation"]["loss"] < answer["epochs"][0]["validation"]["loss"]
    assert answer["dense_bytes"] == 72 * 4 * answer["weights"]
    assert (answer["interrupted"], answer["model"], answer["test_samples"]) == (False, None, 80)
    assert answer["best"] in (0, 1)


def test_a_seed_gives_the_same_run_again(p2pai_json, task):
    def run(seed):
        answer = p2pai_json("train", "--local", task, "--epochs", 1, "--seed", seed)
        return {key: value for key, value in answer.items() if key != "seconds"}

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_a_criterion_that_stops_is_told(p2pai, task):
    task.write_text(TASK + "stopping: {target: {metric: accuracy, value: 0.5}}\n")
    status, printed, _ = p2pai("train", "--local", task)
    assert status == 0
    assert "stopped: miner 1" in printed


@pytest.fixture
def interrupted(monkeypatch):
    """Make Ctrl-C come after some events of training."""

    def after(count):
        whole = local.Group.run

        def run(group):
            for i, event in enumerate(whole(group)):
                if i == count:
                    signal.raise_signal(signal.SIGINT)
                yield event

        monkeypatch.setattr(local.Group, "run", run)

    return after


def test_ctrl_c_ends_with_what_was_reached(p2pai, task, tmp_path, interrupted):
    interrupted(30)
    out = tmp_path / "model.safetensors"
    before = signal.getsignal(signal.SIGINT)
    status, printed, errors = p2pai("train", "--local", task, "--out", out)
    assert (status, errors) == (130, "")
    assert "epoch 1/4" in printed
    assert "epoch 2/4" not in printed
    assert "Interrupted after" in printed
    assert out.is_file()
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_is_json_too(p2pai, task, interrupted):
    interrupted(3)
    status, printed, errors = p2pai("train", "--local", task, "--json")
    assert (status, errors) == (130, "")
    answer = json.loads(printed)
    assert answer["interrupted"]
    assert 1 <= answer["iterations"] <= 6
    assert answer["epochs"] == []


def _without_local(task):
    return (task,), "p2pai task submit"


def _no_task(task):
    return ("--local", task.with_name("none.yaml")), "none.yaml"


def _no_data(task):
    return ("--local", task, "--data", task.with_name("none.csv")), "none.csv"


def _bad_data(task):
    task.with_name("blobs.csv").write_text("1,2,zebra\n")
    return ("--local", task), "blobs.csv"


def _too_few_samples(task):
    task.with_name("blobs.csv").write_text("1,2,0\n3,4,1\n")
    return ("--local", task), "2 samples"


def _misfit(task):
    task.write_text(TASK.replace("dense: 3}", "dense: 4}"))
    return ("--local", task), "one output for each class"


def _too_many_miners(task):
    return ("--local", task, "--miners", 25), "fewer mini-batches"


def _out_nowhere(task):
    return ("--local", task, "--out", task.with_name("none") / "model"), "can't be written"


def _out_is_a_directory(task):
    return ("--local", task, "--out", task.parent), "can't be written"


FAULTS = [
    _without_local, _no_task, _no_data, _bad_data, _too_few_samples, _misfit, _too_many_miners, _out_nowhere,
    _out_is_a_directory,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_a_fault_is_one_sentence(p2pai, task, fault):
    arguments, part = fault(task)
    status, printed, errors = p2pai("train", *arguments)
    assert (status, printed) == (1, "")
    assert part in errors
    assert errors.startswith("p2pai: ")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    "option", [("--miners", "0"), ("--epochs", "0"), ("--delay", "-1"), ("--seed", "-1")]
)
def test_options_have_ranges(p2pai, task, option):
    status, _, errors = p2pai("train", "--local", task, *option)
    assert status == 2
    assert option[0] in errors
