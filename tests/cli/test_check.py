"""`p2pai task check`: what it finds wrong, and what it says a training costs."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from p2pai import jobs
from p2pai.chain.task import DEFINITION_SIZE_MAX
from p2pai.cli import check, cost, definition
from p2pai.jaxtrain import message_map
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import ZERO_HASH

EXAMPLES = Path(__file__).parents[2] / "examples"
DIGITS = EXAMPLES / "digits.yaml"
GOOD = yaml.safe_load(DIGITS.read_text())
CONV = {
    "input": [8, 8, 1],
    "layers": [
        {"conv": 3, "size": 3, "padding": "same", "activation": "relu"},
        "batch_norm",
        {"max_pool": 2},
        "flatten",
        {"dense": 10},
    ],
    "loss": "softmax_cross_entropy",
}
IMAGES = {"data": "package:digits.npz", "model": CONV, "optimiser": {"name": "adam", "learning_rate": 0.001}}


def submission(**changes):
    return definition.parse(yaml.safe_dump({**GOOD, **changes}), folder=EXAMPLES)


def checked(iterations=0, chain="devnet", **changes):
    return check.check(submission(**changes), chain, iterations)


@pytest.fixture
def task_file(tmp_path):
    def write(**changes):
        path = tmp_path / "task.yaml"
        path.write_text(yaml.safe_dump({**GOOD, **changes}))
        return path

    return write


def test_every_layer_has_its_shape_weights_and_products():
    rows = checked(**IMAGES)["layers"]
    assert [(row["kind"], row["output"], row["weights"], row["products"]) for row in rows] == [
        ("Conv", [8, 8, 3], 30, 8 * 8 * 3 * 9),
        ("Activation", [8, 8, 3], 0, 0),
        ("BatchNorm", [8, 8, 3], 6, 0),
        ("MaxPool", [4, 4, 3], 0, 0),
        ("Flatten", [48], 0, 0),
        ("Dense", [10], 490, 480),
    ]
    assert rows[0]["numbers"] == {"filters": 3, "height": 3, "width": 3, "stride": 1, "padding": "same"}
    assert checked(**IMAGES)["weights"] == 526


def test_the_data_are_cut_as_the_network_will():
    answer = checked()
    assert answer["dataset"] == {
        "format": "npz", "samples": 1797, "features": 64, "classes": 10, "targets": 0, "batch_size": 30,
        "fragments": 10, "training_fragments": 8,
        "redundancy": {"kind": "reed_solomon", "data": 2, "parity": 1},
    }  # fmt: skip
    course = answer["course"]
    assert (course["revealed_batches"], course["validation_batches"]) == (48, 4)
    assert (course["iterations_per_epoch"], course["iterations"]) == (15, 300)
    assert course["assignment"] == "consistent hashing"


def test_how_data_are_stored_and_batches_assigned_is_shown(task_file, p2pai):
    task = task_file(redundancy={"reed_solomon": {"data": 2, "parity": 1}}, assignment="consistent_hashing")
    status, shown, _ = p2pai("task", "check", task, "--iterations", "0")
    assert status == 0
    assert "in 2 + 1 shards a fragment, one with each supervisor; any 2 restore it" in shown
    assert "consistent hashing" in shown


def test_backward_every_product_layer_but_the_first_costs_twice():
    found = checked(**IMAGES)["iteration"]
    first, last = 8 * 8 * 3 * 9 * 30, 480 * 30
    assert (found["products_forward"], found["products_backward"]) == (first + last, first + 2 * last)


def test_state_and_capsule_in_bytes():
    found = checked(**IMAGES)["iteration"]
    adam, statistics = 12, 2 * 3 * 8
    assert found["state_bytes"] == 526 * (4 + 4 + adam) + statistics
    assert found["batch_bytes"] == 16 + 30 * (64 + 2)
    assert found["capsule_bytes"] == found["state_bytes"] + found["batch_bytes"]


@pytest.mark.parametrize(
    "optimiser",
    [
        {"name": "sgd", "learning_rate": 0.1},
        {"name": "momentum", "learning_rate": 0.1},
        {"name": "rmsprop", "learning_rate": 0.1},
        {"name": "adam", "learning_rate": 0.1},
    ],
    ids=lambda v: v["name"],
)
def test_the_state_is_as_large_as_the_trainer_stores_it(optimiser):
    made = submission(**{**IMAGES, "optimiser": optimiser})
    stored = []

    class Kept(check.Blobs):
        def put(self, chunks, *, shared):
            if shared:
                stored.append(sum(map(len, chunks)))
            return super().put(chunks, shared=shared)

    worker = check._worker(Kept())
    task = check.complete(made, worker)
    worker.run(jobs.Open("a", task.encode(), ZERO_HASH, task.dataset.fragments[:1], None))
    assert sum(stored) == cost.describe_iteration(task, check.Params(), 0)["state_bytes"]


@pytest.mark.parametrize("weights", [4, 100, 9_610])
@pytest.mark.parametrize("share", [0, 0.01, 1 / 16, 0.07, 1])
def test_a_message_map_is_as_large_as_it_is_written(weights, share):
    import numpy as np

    signs = np.zeros(weights, np.int8)
    signs[: int(weights * share)] = 1
    assert cost.map_size(int(weights * share), weights) == len(message_map.encode(signs))


def test_a_wanted_density_gives_a_wanted_size():
    found = checked(tau={"start": 0.015, "density": 0.01})["iteration"]
    assert found["map_bytes_wanted"] == 1 + 1 + 4 * 96
    assert found["map_bytes_max"] == 1 + 2 + 2403
    assert checked()["iteration"]["map_bytes_wanted"] is None


def test_native_numerics_earn_no_nonces():
    assert checked(numerics="native")["iteration"]["nonces"] == 0
    assert checked()["iteration"]["nonces"] == 1 + 9_610 // 256 + 30 * 66 // 1024


def test_the_definition_fits_the_chain():
    dense = {
        "layers": [{"dense": 10, "activation": "relu"}] * 63 + [{"dense": 10}],
        "loss": GOOD["model"]["loss"],
    }
    answer = checked(model=dense, dataset={"fragments": 200, "batch_size": 4}, name="x" * 64)
    assert answer["definition_bytes"] < answer["definition_bytes_max"] == DEFINITION_SIZE_MAX


def test_iterations_are_measured_and_held_against_the_spacing():
    answer = checked(iterations=2)
    assert answer["measured"]["iterations"] == 2
    assert 0 < answer["measured"]["iteration_ms"] < answer["measured"]["first_ms"]
    assert 0 < answer["measured"]["map_bytes"] <= answer["iteration"]["map_bytes_max"]
    devnet, others = answer["spacing"]
    assert (devnet["network"], devnet["factor"], devnet["commitment_distance"]) == ("devnet", 20, 3)
    assert (others["factor"], others["commitment_distance"], others["spacing_s"]) == (100, 5, 600)
    expected_s = 20 * 3 * answer["measured"]["iteration_ms"] / 1000
    assert devnet["spacing_s_min"] == pytest.approx(expected_s, abs=0.001)


def test_a_spacing_that_is_too_short_is_told():
    params = check.Params(spacing_s=6, commitment_distance=3)
    assert check._spacings("devnet", params, 0.1)[0]["is_enough"]
    rows = check._spacings("devnet", params, 0.2)
    assert not rows[0]["is_enough"]
    measured = {"iteration_ms": 200, "first_ms": 300, "iterations": 1, "map_bytes": 1}
    shown = check._measured_rows({"measured": measured, "spacing": rows})
    assert "12 s; it is 6 s, NOT enough" in shown[1][1]


def test_people_see_a_table(p2pai, task_file):
    status, out, err = p2pai("task", "check", task_file(**IMAGES), "--iterations", 0)
    assert (status, err) == (0, "")
    for text in (
        "Conv", "8 x 8 x 3", "padding same", "526", "1,797 samples of 64 features, 10 classes", "Nonces",
        "48 of 30 samples in 8 of 10 fragments", "4 set apart", "of 16,384",
    ):  # fmt: skip
        assert text in out
    assert "On this machine" not in out


def test_people_see_what_iterations_took(p2pai):
    status, out, err = p2pai("task", "check", DIGITS, "--iterations", 1)
    assert (status, err) == (0, "")
    for text in ("On this machine", "ms an iteration (median of 1)", "Spacing on devnet", "enough"):
        assert text in out


def test_programs_get_json(p2pai_json, task_file):
    answer = p2pai_json("task", "check", task_file(), "--iterations", 0)
    assert (answer["weights"], answer["measured"], answer["spacing"]) == (9_610, None, [])
    assert json.dumps(answer)


def test_notes_are_shown(p2pai, tmp_path):
    old = {
        "version": 1,
        "payment": {"best-model-payment-amount": 1},
        "ml": {
            "epochs": 1, "batch-size": 30, "tau": 100, "dataset": {"format": "MNIST"},
            "optimizer": {"type": "SGD", "learning_rate": 0.01}, "metrics": "Accuracy",
            "model": {"type": "FC-DNN", "hidden-units": [8], "loss": "SoftmaxCrossEntropyLoss"},
        },
    }  # fmt: skip
    path = tmp_path / "old.yaml"
    path.write_text(yaml.safe_dump(old))
    data = definition.load(DIGITS).data
    status, out, _ = p2pai("task", "check", path, "--data", data, "--iterations", 0)
    assert status == 0
    assert "Note: ml.tau of 100 in summed gradients" in out


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"model": {**CONV, "input": [8, 8, 2]}}, "the input's shape holds all features of a sample"),
        ({"model": {**CONV, "layers": ["flatten", {"dense": 9}]}}, "one output for each class"),
        ({"model": {**CONV, "loss": "binary_cross_entropy"}, "metrics": ["loss"]},
         "binary cross-entropy has two classes and one output"),
        ({"model": {"layers": [{"dense": 1}], "loss": "mse"}, "metrics": ["rmse"],
          "dataset": {"format": "csv"}}, "digits.npz"),
        ({"dataset": {"fragments": 256, "batch_size": 1}, "epochs": 65_535, "metrics": ["mse"]}, "metrics"),
        ({"epochs": None}, "epochs is missing"),
        ({"data": "nowhere.npz"}, "there is no file"),
    ],
    ids=lambda v: str(v)[:40],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(p2pai, task_file, changes, sentence):
    status, out, err = p2pai("task", "check", task_file(**changes))
    assert (status, out) == (1, "")
    assert sentence in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_too_few_samples_for_the_fragments(tmp_path):
    path = tmp_path / "few.csv"
    with path.open("w") as file:
        csv.writer(file).writerows([(i, i % 2) for i in range(5)])
    with pytest.raises(InvalidInput, match="fragments"):
        checked(data=str(path), dataset={"format": "csv"})


def test_an_unknown_chain_is_one_sentence(p2pai, task_file):
    status, _, err = p2pai("task", "check", task_file(), "--chain", "nowhere")
    assert status == 1
    assert "there is no chain nowhere" in err


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (5 << 20, "5.0 MiB"), (3 << 30, "3.0 GiB")],
)
def test_bytes_for_people(count, text):
    assert check.size(count) == text


def test_the_regression_example_is_complete():
    answer = check.check(definition.load(EXAMPLES / "projectile.yaml"), iterations=0)
    assert (answer["dataset"]["targets"], answer["dataset"]["classes"]) == (2, 0)
    shown = dict(check._data_rows(answer["dataset"], answer["course"]))
    assert "2 numbers a label" in shown["Data"]
