"""Task files: what is read, and one sentence for each way to get one wrong."""

import copy
import re
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain import layers, training
from p2pai.chain.layers import (
    Activation,
    Add,
    AveragePool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Function,
    LayerNorm,
    LeakyRelu,
    MaxPool,
    Padding,
)
from p2pai.chain.task import Group, Reward, TaskDefinition
from p2pai.chain.training import (
    FULL_REPLICAS,
    Adam,
    Assignment,
    ConstantRate,
    CosineRate,
    Distribution,
    EarlyStopping,
    Fan,
    Holdout,
    Initialiser,
    KFold,
    Loss,
    Momentum,
    Numerics,
    ReedSolomon,
    RmsProp,
    Sgd,
    StepRate,
    Target,
    Tau,
)
from p2pai.cli import definition, number
from p2pai.cli.network import INITIALISERS
from p2pai.primitives.errors import InvalidInput

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE = EXAMPLES / "digits.yaml"
GOOD = yaml.safe_load(EXAMPLE.read_text())
SMALLEST = {
    "name": "smallest",
    "fee": 1,
    "data": "package:digits.npz",
    "model": {"layers": [{"dense": 10}], "loss": "softmax_cross_entropy"},
    "optimiser": {"name": "sgd", "learning_rate": 0.1},
    "tau": 0.001,
    "epochs": 1,
}
IMAGE = {"input": [8, 8, 1], "loss": "softmax_cross_entropy"}
RELU = Activation(Function.RELU)
ABSENT = object()


def changed(path, value, base=GOOD):
    """Return the text of a file with one key set, added or removed."""
    made = copy.deepcopy(base)
    *parents, last = path.split(".")
    at = made
    for key in parents:
        at = at[int(key) if key.isdigit() else key]
    if value is ABSENT:
        del at[last]
    else:
        at[int(last) if last.isdigit() else last] = value
    return yaml.safe_dump(made, sort_keys=False)


def read(text, folder=EXAMPLES, data=None):
    return definition.parse(text, folder=folder, data=data)


def task_with(path, value, base=SMALLEST):
    return read(changed(path, value, base)).definition


def layers_of(*entries, **model):
    """Return the layers of a model whose file lists `entries`."""
    return task_with("model", {**IMAGE, **model, "layers": list(entries)}).layers


def refusal(text):
    with pytest.raises(InvalidInput) as caught:
        read(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_example_is_what_the_node_is_asked():
    submission = definition.load(EXAMPLE)
    task, params = submission.definition, submission.params()
    assert TaskDefinition.decode(bytes.fromhex(params.pop("definition"))) == task
    assert params == {"data": str(submission.data), "fee": 100 * 10**8}
    assert submission.data.name == "digits.npz"
    assert submission.data.is_file()
    assert submission.notes == ()
    assert task.layers == (Dense(128), RELU, Dense(10))
    assert (task.loss, task.optimiser, task.tau) == (Loss.SOFTMAX_CROSS_ENTROPY, Sgd(250_000), Tau(6, 0))
    assert (task.epochs, task.validation, task.metrics) == (20, Holdout(10), ("accuracy", "loss"))
    assert (task.group, task.reward, task.expected_blocks) == (Group(3, 3, 3), Reward(70, 15, 15), 120)
    assert (task.dataset.format, task.dataset.batch_size, task.dataset.training_percent) == ("npz", 30, 80)


def test_a_draft_lacks_what_only_the_data_can_tell():
    task = definition.load(EXAMPLE).definition
    data = task.dataset
    assert (data.samples, data.features, data.classes, data.targets) == (0, 0, 0, 0)
    assert data.fragments == (bytes(32),) * 10
    assert (task.input_shape, task.client) == ((), "")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_example_is_read(path, tmp_path):
    named = "data:" in path.read_text()
    assert definition.load(path, None if named else tmp_path).definition.name == path.stem


def test_what_a_short_file_leaves_out_has_a_sensible_value():
    task = read(yaml.safe_dump(SMALLEST)).definition
    assert (task.numerics, task.mantissa_bits) == (Numerics.EXACT, 13)
    assert task.initialiser == Initialiser(Distribution.UNIFORM, Fan.AVERAGE, 1_000_000)
    assert (task.schedule, task.stopping, task.validation) == (ConstantRate(), None, Holdout(0))
    assert task.metrics == ("accuracy", "loss")
    assert (task.group, task.reward, task.preferences) == (Group(3, 3, 3), Reward(70, 15, 15), (1, 1))
    assert task.expected_blocks == 1000
    assert (task.assignment, task.redundancy) == (Assignment.INTERLEAVED, FULL_REPLICAS)
    data = task.dataset
    assert (data.format, data.batch_size, data.training_percent, len(data.fragments)) == ("npz", 32, 80, 10)


@pytest.mark.parametrize("key", SMALLEST)
def test_other_keys_are_needed(key):
    assert f"{key} is missing" in refusal(changed(key, ABSENT, SMALLEST))


def test_a_key_with_nothing_behind_it_is_absent():
    assert task_with("validation", None).validation == Holdout(0)
    assert "epochs is missing" in refusal(changed("epochs", None))


class TestLayers:
    @pytest.mark.parametrize(
        ("entry", "expected"),
        [
            ({"conv": 6, "size": 5}, Conv(6, 5, 5, 1, Padding.VALID)),
            (
                {"conv": 6, "size": [5, 3], "stride": 2, "padding": "same"},
                Conv(6, 5, 3, 2, Padding.SAME),
            ),
            ({"max_pool": 2}, MaxPool(2, 2)),
            ({"max_pool": 3, "stride": 1}, MaxPool(3, 1)),
            ({"average_pool": 4}, AveragePool(4, 4)),
            ("batch_norm", BatchNorm(58_982)),
            ({"batch_norm": 0.5}, BatchNorm(32_768)),
            ("layer_norm", LayerNorm()),
            ({"layer_norm": None}, LayerNorm()),
            ({"dropout": 0.25}, Dropout(16_384)),
            ({"dropout": 0.96875}, Dropout(layers.DROPOUT_RATE_Q16_MAX)),
            ("leaky_relu", LeakyRelu(655)),
            ({"leaky_relu": 0.5}, LeakyRelu(32_768)),
            ({"activation": "tanh"}, Activation(Function.TANH)),
            *((function.value, Activation(function)) for function in Function),
        ],
        ids=str,
    )
    def test_each_kind(self, entry, expected):
        assert layers_of(entry, "flatten", {"dense": 10}) == (expected, Flatten(), Dense(10))

    def test_an_activation_is_a_layer_of_its_own(self):
        found = layers_of(
            "flatten",
            {"dense": 8, "activation": "gelu"},
            {"dense": 8, "activation": "none"},
            {"dense": 8, "activation": {"leaky_relu": 0.25}},
            {"dense": 8, "activation": "leaky_relu"},
        )
        assert found[1:] == (
            Dense(8), Activation(Function.GELU), Dense(8), Dense(8), LeakyRelu(16_384), Dense(8),
            LeakyRelu(655),
        )  # fmt: skip

    def test_a_residual_connection_names_what_comes_out_of_an_entry(self):
        found = layers_of(
            {"conv": 4, "size": 3, "padding": "same", "activation": "relu", "name": "trunk"},
            {"conv": 4, "size": 3, "padding": "same", "activation": "relu"},
            {"add": "trunk", "activation": "relu", "name": "sum"},
        )
        assert found[4:] == (Add(1), RELU)

    @pytest.mark.parametrize(
        ("entries", "sentence"),
        [
            (["flatten", {"dense": 10}, {"add": "trunk"}],
             "model.layers[2].add: no earlier layer is called 'trunk'; known: none has a name"),
            ([{"dropout": 0.5, "name": "a"}, {"dropout": 0.5, "name": "a"}],
             "model.layers[1].name: another layer is called 'a'"),
            ([{"dropout": 0.5, "name": "a"}, {"add": "a"}],
             "model.layers[1]: it adds the output of a layer before the previous one"),
            ([{"conv": 2, "size": 1, "activation": "relu", "name": "a"}, {"max_pool": 2}, {"add": "a"}],
             "model.layers[2]: the two shapes differ"),
            ([{"dropout": 0.5, "name": "a"}, "relu", {"add": "a"}, {"add": "a"}],
             "model.layers: a layer's output is added at most once"),
            ([{"conv": 2, "size": 3, "activation": "relu"}, {"dense": 10}],
             "model.layers[1]: its input is an image; put Flatten before it"),
            ([{"conv": 2, "size": 9}], "model.layers[0]: the window is larger than the image"),
            (["flatten", {"dense": 65_536}, {"dense": 65_536}], "weights, at most 16,777,216"),
            ([{"dense": 10, "activation": "relu"}] * 65, "model.layers: 1 to 128 layers"),
            (["relu"] * 129, "model.layers must be a list of 1 to 128 items"),
            (["reul"], "model.layers[0] must name one layer: dense, conv, max_pool"),
            ([{"dense": 3, "conv": 3}], "model.layers[0] must name one layer"),
            ([{"size": 3}], "model.layers[0] must name one layer"),
            ([7], "model.layers[0] must be a mapping"),
            ([{"conv": 2}], "model.layers[0].size is missing"),
            ([{"conv": 2, "size": 17}], "model.layers[0].size must be 1 to 2 whole numbers from 1 to 16"),
            ([{"conv": 2, "size": [1, 2, 3]}], "model.layers[0].size must be 1 to 2 whole numbers"),
            ([{"conv": 2, "size": 2, "padding": "full"}],
             "model.layers[0].padding must be valid or same, not 'full'"),
            ([{"dense": 0}], "model.layers[0].dense must be a whole number from 1 to 65,536"),
            ([{"dense": 10, "bias": False}], "model.layers[0].bias is not a known key"),
            ([{"dense": 10, "activtion": "relu"}], "did you mean activation?"),
            ([{"dense": 10, "activation": "swish"}],
             "model.layers[0].activation must be none or relu or sigmoid or tanh or gelu or softmax"),
            ([{"flatten": 3}], "model.layers[0].flatten takes no value"),
            ([{"layer_norm": 3}], "model.layers[0].layer_norm takes no value"),
            ([{"relu": True}], "model.layers[0].relu takes no value"),
            ([{"dropout": None}], "model.layers[0].dropout is missing"),
            ([{"dropout": 0.97}], "model.layers[0].dropout must be from 0 to 0.96875"),
            ([{"batch_norm": 1}], "model.layers[0].batch_norm must be from 0 to 0.99998"),
            ([{"leaky_relu": 0.00001}],
             "is kept in 65536ths, where the nearest to 0.00001 are 0.000000 and 0.000015"),
        ],
        ids=lambda v: str(v)[:40],
    )  # fmt: skip
    def test_each_fault_names_the_entry(self, entries, sentence):
        assert sentence in refusal(changed("model", {**IMAGE, "layers": entries}))

    def test_an_image_needs_a_shape(self):
        text = changed("model.layers", [{"conv": 6, "size": 5}])
        assert "model.layers[0]: its input is not an image" in refusal(text)
        assert "model.input gives the shape of a sample" in refusal(text)

    @pytest.mark.parametrize(("value", "shape"), [(64, (64,)), ([64], (64,)), ([8, 8, 1], (8, 8, 1))])
    def test_the_shape_of_a_sample(self, value, shape):
        model = {**SMALLEST["model"], "input": value, "layers": ["flatten", {"dense": 10}]}
        assert task_with("model", model).input_shape == shape

    @pytest.mark.parametrize("value", [0, "8x8", [1, 2, 3, 4], [], [8, 0, 1], 70_000])
    def test_a_shape_that_is_none(self, value):
        assert "model.input must be" in refusal(changed("model.input", value))

    def test_a_shape_has_one_or_three_lengths(self):
        assert "a sample is (features,) or (height, width, channels)" in refusal(
            changed("model.input", [8, 8])
        )


class TestInitialiser:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            *INITIALISERS.items(),
            ({"normal": 0.02}, Initialiser(Distribution.NORMAL, Fan.ONE, 400)),
            ({"uniform": 0.3}, Initialiser(Distribution.UNIFORM, Fan.ONE, 30_000)),
            ({"uniform": 0.05}, Initialiser(Distribution.UNIFORM, Fan.ONE, 833)),
            ({"normal": {"fan": "out", "variance": 1}}, Initialiser(Distribution.NORMAL, Fan.OUT, 1_000_000)),
        ],
        ids=str,
    )  # fmt: skip
    def test_each_form(self, value, expected):
        assert task_with("model.initialiser", value).initialiser == expected

    @pytest.mark.parametrize(
        ("value", "sentence"),
        [
            ("kaiming", "model.initialiser must be glorot_uniform or glorot_normal"),
            ({"normal": 0.0001}, "model.initialiser.normal must be 0, or from 0.006 to 4"),
            ({"uniform": -0.1}, "model.initialiser.uniform must be 0, or from 0.006 to 4"),
            ({"normal": {"fan": "both", "variance": 1}}, "fan must be in or out or average or one, not"),
            ({"normal": {"fan": "in", "variance": 17}}, "variance must be from 0 to 16 in steps of 0.000001"),
            ({"normal": {"fan": "in", "variance": 1, "mean": 0}}, "normal.mean is not a known key"),
        ],
        ids=str,
    )  # fmt: skip
    def test_each_fault(self, value, sentence):
        assert sentence in refusal(changed("model.initialiser", value))


class TestRecipe:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ({"name": "sgd", "learning_rate": 16}, Sgd(16_000_000)),
            ({"name": "momentum", "learning_rate": 0.1}, Momentum(100_000, 58_982, nesterov=False)),
            (
                {"name": "momentum", "learning_rate": 0.1, "momentum": 0.5, "nesterov": True},
                Momentum(100_000, 32_768, nesterov=True),
            ),
            ({"name": "rmsprop", "learning_rate": 0.001}, RmsProp(1_000, 58_982, 10)),
            (
                {"name": "rmsprop", "learning_rate": 0.001, "decay": 0.99, "epsilon": 1e-7},
                RmsProp(1_000, 64_881, 100),
            ),
            ({"name": "adam", "learning_rate": 0.001}, Adam(1_000, 58_982, 65_470, 10, 0)),
            (
                {"name": "adam", "learning_rate": "3e-4", "beta1": 0, "beta2": 0.99, "epsilon": "1e-9"},
                Adam(300, 0, 64_881, 1, 0),
            ),
            ({"name": "adamw", "learning_rate": 0.001}, Adam(1_000, 58_982, 65_470, 10, 10_000)),
            (
                {"name": "adamw", "learning_rate": 0.001, "weight_decay": 0.3},
                Adam(1_000, 58_982, 65_470, 10, 300_000),
            ),
        ],
        ids=str,
    )
    def test_each_optimiser(self, value, expected):
        task = task_with("optimiser", value)
        training.check_optimiser(task.optimiser, task.schedule)
        assert task.optimiser == expected

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("constant", ConstantRate()),
            ("cosine", CosineRate()),
            ({"step": {"epochs": 10, "factor": 0.5}}, StepRate(10, 500_000)),
        ],
        ids=str,
    )
    def test_each_schedule(self, value, expected):
        assert task_with("schedule", value).schedule == expected

    def test_tau_may_adapt(self):
        assert task_with("tau", {"start": 0.0005, "density": 0.005}).tau == Tau(11, 5_000)

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("none", None),
            ({"early": {"metric": "loss", "patience": 3}}, EarlyStopping("loss", 3)),
            ({"target": {"metric": "accuracy", "value": 0.97}}, Target("accuracy", 970_000)),
        ],
        ids=str,
    )
    def test_each_criterion_to_stop(self, value, expected):
        assert task_with("stopping", value, GOOD).stopping == expected

    @pytest.mark.parametrize(
        ("value", "expected"),
        [("none", Holdout(0)), ({"holdout": 99}, Holdout(99)), ({"folds": 5}, KFold(5))],
        ids=str,
    )
    def test_each_validation(self, value, expected):
        assert task_with("validation", value).validation == expected

    @pytest.mark.parametrize(
        ("loss", "metrics"),
        [
            ("softmax_cross_entropy", ("accuracy", "loss")),
            ("binary_cross_entropy", ("accuracy", "loss")),
            ("mse", ("loss", "rmse")),
            ("mae", ("loss", "rmse")),
        ],
    )
    def test_metrics_of_each_loss(self, loss, metrics):
        task = task_with("model.loss", loss)
        assert (task.loss.value, task.metrics) == (loss, metrics)

    def test_metrics_may_be_named(self):
        task = task_with("metrics", ["f1", "top_5", "precision", "recall"])
        assert task.metrics == ("f1", "top_5", "precision", "recall")
        assert task_with("metrics", "accuracy").metrics == ("accuracy",)


def test_the_rest():
    made = {
        **SMALLEST,
        "numerics": "native",
        "mantissa_bits": 7,
        "preferences": [3, 0, 65_535],
        "group": {"miners": 16, "supervisors": 4, "evaluators": 5},
        "reward": {"miners": 100, "supervisors": 0, "evaluators": 0},
        "expected_blocks": 7,
        "assignment": "consistent_hashing",
        "redundancy": {"reed_solomon": {"data": 2, "parity": 2}},
        "dataset": {"format": "csv", "batch_size": 4096, "fragments": 256, "training_percent": 1},
    }
    task = read(yaml.safe_dump(made)).definition
    assert (task.numerics, task.mantissa_bits, task.preferences) == (Numerics.NATIVE, 7, (3, 0, 65_535))
    assert (task.group, task.reward, task.expected_blocks) == (Group(16, 4, 5), Reward(100, 0, 0), 7)
    assert (task.assignment, task.redundancy) == (Assignment.CONSISTENT_HASHING, ReedSolomon(2, 2))
    data = task.dataset
    assert (data.format, data.batch_size, len(data.fragments), data.training_percent) == ("csv", 4096, 256, 1)


def test_redundancy_is_full_replicas_or_shards():
    assert task_with("redundancy", "full").redundancy == FULL_REPLICAS
    for data, parity in ((1, 1), (1, 2), (2, 1)):
        asked = {"reed_solomon": {"data": data, "parity": parity}}
        assert task_with("redundancy", asked).redundancy == ReedSolomon(data, parity)


FAULTS = [
    ("name", "", "name must be text of 1 to 64 characters"),
    ("name", "x" * 65, "name must be text of 1 to 64 characters"),
    ("name", 7, "name must be text"),
    ("fee", 0, "an amount is above 0"),
    ("fee", "much", "fee must be a number"),
    ("fee", True, "fee must be a number"),
    ("fee", float("nan"), "fee must be a number"),
    ("fee", "1e-31", "fee must be a number of ordinary size"),
    ("fee", "1e999999", "fee must be a number of ordinary size"),
    ("data", "package:secrets.npz", "p2pai ships no file called 'secrets.npz'"),
    ("data", "package:../__init__.py", "p2pai ships no file"),
    ("data", "absent.npz", "there is no file"),
    ("numerics", "fast", "numerics must be exact or native, not 'fast'"),
    ("mantissa_bits", 8, "mantissa_bits must be 7 or 13"),
    ("mantissa_bits", 24, "mantissa_bits must be a whole number from 7 to 13"),
    ("dataset", [1], "dataset must be a mapping"),
    ("dataset.format", "pickle", "dataset.format must be npz or csv or idx, not 'pickle'"),
    ("dataset.batch_size", 0, "dataset.batch_size must be a whole number from 1 to 4,096"),
    ("dataset.batch_size", 30.0, "dataset.batch_size must be a whole number"),
    ("dataset.batch_size", True, "dataset.batch_size must be a whole number"),
    ("dataset.fragments", 9, "dataset.fragments must be a whole number from 10 to 256"),
    ("dataset.training_percent", 100, "dataset.training_percent must be"),
    ("dataset.training_percent", 9, "dataset.training_percent leaves no whole fragment"),
    ("dataset.batchsize", 3, "dataset.batchsize is not a known key; did you mean batch_size?"),
    ("zzz", 3, "zzz is not a known key; known keys: data, dataset, model"),
    ("model.layers", [], "model.layers must be a list of 1 to 128 items"),
    ("model.layers", "dense", "model.layers must be a list"),
    ("model.loss", "hinge", "model.loss must be softmax_cross_entropy or binary_cross_entropy or mse or mae"),
    ("model.kind", "cnn", "model.kind is not a known key"),
    ("optimiser.name", "lion", "optimiser.name must be sgd or momentum or rmsprop or adam or adamw"),
    ("optimiser.learning_rate", 0, "optimiser.learning_rate must be from 0.000001 to 16"),
    ("optimiser.learning_rate", 17, "optimiser.learning_rate must be from 0.000001 to 16"),
    ("optimiser.learning_rate", 0.00000015, "learning_rate must be from 0.000001 to 16 in steps of 0.000001"),
    ("optimiser.momentum", 0.9, "optimiser.momentum is not a known key"),
    ("optimiser", {"name": "adam", "learning_rate": 2}, "learning_rate must be from 0.000001 to 1 in"),
    ("optimiser", {"name": "adam", "learning_rate": 0.1, "beta2": 0.99999},
     "optimiser.beta2 must be from 0 to 0.99998"),
    ("optimiser", {"name": "adam", "learning_rate": 0.1, "beta2": 0.9999},
     "optimiser.beta2 is kept in 65536ths, where the nearest to 0.9999 are 0.999893 and 0.999908"),
    ("optimiser", {"name": "adam", "learning_rate": 0.1, "epsilon": 1e-10},
     "optimiser.epsilon must be from 0.000000001 to 1 in steps of 0.000000001"),
    ("optimiser", {"name": "momentum", "learning_rate": 0.1, "nesterov": 1}, "nesterov must be true or"),
    ("optimiser", {"name": "momentum", "learning_rate": 0.1, "momentum": -0.1}, "momentum must be from 0 to"),
    ("optimiser", {"name": "adamw", "learning_rate": 0.1, "weight_decay": 0}, "weight_decay must be from"),
    ("schedule", "linear", "schedule must be constant or cosine or {step: ...}"),
    ("schedule", {"step": 3}, "schedule.step must be a mapping"),
    ("schedule", {"step": {"epochs": 3}}, "schedule.step.factor is missing"),
    ("schedule", {"step": {"epochs": 0, "factor": 0.5}}, "schedule.step.epochs must be a whole number"),
    ("schedule", {"step": {"epochs": 1, "factor": 2}}, "schedule.step.factor must be from 0.000001 to 1"),
    ("schedule", {"step": {}, "cosine": {}}, "schedule must be constant or cosine"),
    ("tau", 0, "tau must be between 2^-18 and 2^-6"),
    ("tau", -0.002, "tau must be between"),
    ("tau", 0.1, "tau must be between"),
    ("tau", "1e-30", "tau must be between"),
    ("tau", [1], "tau must be a number"),
    ("tau", {"start": 0.001}, "tau.density is missing"),
    ("tau", {"start": 0.001, "density": 0.3}, "tau.density must be from 0.000001 to 0.25"),
    ("tau", {"start": 0.001, "density": 0.1, "end": 1}, "tau.end is not a known key"),
    ("epochs", 0, "epochs must be a whole number from 1 to 65,535"),
    ("stopping", "soon", "stopping must be none or {early: ...} or {target: ...}"),
    ("stopping", {"early": {"metric": "loss", "patience": 0}}, "stopping.early.patience must be a whole"),
    ("stopping", {"early": {"metric": "f1", "patience": 1}}, "'f1' is not one of metrics (accuracy, loss)"),
    ("stopping", {"target": {"metric": "loss", "value": -1}}, "stopping.target.value must be from 0 to"),
    ("validation", 10, "validation must be none or {holdout: ...} or {folds: ...}"),
    ("validation", {"holdout": 100}, "validation.holdout must be a whole number from 0 to 99"),
    ("validation", {"folds": 1}, "validation.folds must be a whole number from 2 to 20"),
    ("metrics", [], "metrics must be a list of 1 to 8 items"),
    ("metrics", [1], "metrics must be a list of 1 to 8 words"),
    ("metrics", ["rmse"], "metrics: there is no metric 'rmse' for loss softmax_cross_entropy"),
    ("metrics", ["loss", "loss"], "metrics: a metric stands twice"),
    ("group.miners", 1, "group.miners must be a whole number from 2 to 256"),
    ("group.supervisors", 4, "group.supervisors is at most 3 for 3 miners"),
    ("group.evaluators", 2, "group.evaluators must be a whole number from 3 to 32"),
    ("group.verifiers", 3, "group.verifiers is not a known key"),
    ("reward.miners", 71, "the shares must sum to 100 per cent, not 101"),
    ("reward.miners", None, "reward.miners is missing"),
    ("preferences", [0, 0], "preferences must hold a number above 0"),
    ("preferences", [65_536], "preferences must be 1 to 64 whole numbers from 0 to 65,535"),
    ("assignment", "random", "assignment must be interleaved or consistent_hashing, not 'random'"),
    ("redundancy", "none", "redundancy must be full or {reed_solomon: ...}"),
    ("redundancy", {"reed_solomon": {"data": 1}}, "redundancy.reed_solomon.parity is missing"),
    ("redundancy", {"reed_solomon": {"data": 0, "parity": 1}}, "reed_solomon.data must be a whole number"),
    ("redundancy", {"reed_solomon": {"data": 2, "parity": 2}}, "makes 4 shards for 3 supervisors, one each"),
    ("redundancy", {"reed_solomon": {"data": 1, "parity": 1, "k": 1}}, "reed_solomon.k is not a known key"),
    ("expected_blocks", 0, "expected_blocks must be a whole number from 1 to 100,000"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "sentence"), FAULTS, ids=lambda v: str(v)[:30])
def test_each_fault_is_one_sentence_that_names_its_key(path, value, sentence):
    assert sentence in refusal(changed(path, value))


def test_stopping_needs_validation_data():
    early = {"early": {"metric": "loss", "patience": 1}}
    assert "stopping needs validation data" in refusal(changed("stopping", early, SMALLEST))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the file must be a mapping"),
        ("[]", "the file must be a mapping"),
        ("name: [", "this is not YAML"),
        ("name: !!python/object/apply:os.getpid []", "this is not YAML"),
        ("name: !!python/name:os.system", "this is not YAML"),
        ("name: a\nname: b\n", "name stands twice"),
        ("dataset: {format: npz, format: npz}", "format stands twice"),
        ("a: &a [*a]", "name is missing|data is missing|recursive"),
        ("[" * 5000, "this is not YAML"),
    ],
)
def test_text_that_is_no_task(text, sentence):
    assert re.search(sentence, refusal(text))


def test_another_data_file_takes_the_place_of_the_named_one(tmp_path):
    other = tmp_path / "other.npz"
    other.write_bytes(b"")
    assert definition.load(EXAMPLE, other).data == other
    with pytest.raises(InvalidInput, match="there is no file"):
        definition.load(EXAMPLE, tmp_path / "absent.npz")


def test_a_relative_path_is_looked_up_beside_the_task(tmp_path):
    (tmp_path / "mine.npz").write_bytes(b"")
    assert read(changed("data", "mine.npz"), tmp_path).data == tmp_path / "mine.npz"


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.npz", "npz"), ("a.CSV", "csv"), ("train-images-idx3-ubyte.gz", "idx"), ("", "idx")],
)
def test_the_format_follows_from_the_files_name(tmp_path, name, form):
    (tmp_path / name).touch()
    made = read(yaml.safe_dump(SMALLEST), data=tmp_path / name)
    assert made.definition.dataset.format == form


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x: 1\n" * 20_000, None])
def test_a_file_that_cannot_be_read(tmp_path, content):
    path = tmp_path / "task.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"task\.yaml"):
        definition.load(path)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    ),
    st.sampled_from([*sorted(GOOD), "model.layers", "model.layers.0", "model.initialiser", "optimiser.name"]),
)
def test_any_value_anywhere_is_read_or_refused(value, key):
    with suppress(InvalidInput):
        assert read(changed(key, value)).params()["fee"] > 0


@given(st.sampled_from(training.TAU_BITS), st.decimals("0.7072", "1.4142"))
def test_tau_goes_to_the_nearest_power_of_two(bits, factor):
    assert number.nearest_tau_bits(Decimal(2) ** -bits * factor) == bits


@pytest.mark.parametrize(("tau", "bits"), [("0.002", 9), ("0.001", 10), ("0.01", 7), ("0.015625", 6)])
def test_tau_of_common_values(tau, bits):
    assert number.nearest_tau_bits(Decimal(tau)) == bits


@given(st.decimals("0.001", "0.999", places=5))
def test_a_share_goes_to_the_nearest_65536th(rate):
    text = changed("optimiser", {"name": "momentum", "learning_rate": 1, "momentum": str(rate)}, SMALLEST)
    units = read(text).definition.optimiser.momentum_q16
    assert abs(units - rate * 65_536) <= Decimal("0.5")


@given(st.integers(1, 16_000_000))
def test_a_learning_rate_is_exact(ppm):
    text = changed("optimiser.learning_rate", str(Decimal(ppm) / 10**6), SMALLEST)
    assert read(text).definition.optimiser == Sgd(ppm)


@pytest.mark.parametrize("text", ["1e-3", "0.001", "1.0e-3"])
def test_learning_rate_is_exact_in_every_spelling(text):
    made = re.sub("learning_rate: [0-9.]*", f"learning_rate: {text}", EXAMPLE.read_text())
    assert read(made).definition.optimiser == Sgd(1000)


def test_a_tuple_of_other_writers_is_a_list():
    text = changed("model.layers", ["flatten", {"dense": 10}], SMALLEST)
    made = text.replace("model:\n", "model:\n  input: !!python/tuple [8, 8, 1]\n")
    assert read(made).definition.input_shape == (8, 8, 1)
