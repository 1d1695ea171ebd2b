"""Task files of the project that this protocol was first written for: both dialects, and what is refused."""

import copy
from pathlib import Path

import pytest
import yaml

from p2pai.chain.layers import Activation, Dense, Function
from p2pai.chain.task import TaskDefinition
from p2pai.chain.training import (
    ConstantRate,
    Distribution,
    Fan,
    Holdout,
    Initialiser,
    Loss,
    Momentum,
    Sgd,
    Tau,
)
from p2pai.cli import definition
from p2pai.primitives.errors import InvalidInput

RELU = Activation(Function.RELU)
ABSENT = "<absent>"

# Numbers such as 2e-3 are text to YAML 1.1, and are written so on purpose.
IMAGES = """
version: 0.1
payment:
  best-model-payment-amount: 0.25
ml:
  dataset:
    sha256: 'not a hash'
    format: MNIST
    training-set-size: 0.857
    test-set-size: 0.143
    source:
      features: https://data.example.org/train-images-idx3-ubyte.gz
      labels: https://data.example.org/train-labels-idx1-ubyte.gz
  validation:
    strategy:
      method: Holdout
      size: 0.2
  optimizer:
    type: SGD
    optimizer_initialization_parameters:
      learning_rate: 2e-3
      momentum: 0.0
    tau: 10.0
    epochs: 12
    batch-size: 50
    initializer:
      name: Xavier
      parameters:
        magnitude: 2.24
  model:
    type: FC-DNN
    layers:
      - {id: 'a', type: Dense, nodes: 96, activation: relu}
      - {id: 'b', type: Dense, nodes: 48, activation: tanh}
      - {id: 'output', type: Dense, nodes: 10}
    loss: SoftmaxCrossEntropyLoss
  evaluation-metrics: [Accuracy, CrossEntropy]
"""

TABLE = """
version: '0.2'
payment:
  best-model-payment-amount: 3
ml:
  epochs: 25
  batch-size: 16
  tau: 8.0
  dataset:
    format: CSV
    source: 'table.csv'
    remove-features: [row, comment]
    labels: [width, depth]
    features-scaler: RobustScaler
    labels-scaler: RobustScaler
    train-size: 0.9
  validation:
    strategy: {method: Holdout, size: 0.1}
  optimizer:
    type: SGD
    learning_rate: 1e-3
  model:
    type: FC-DNN
    layers:
      - name: in
        type: Input
        shape: !!python/tuple [17,]
      - {name: one, type: Dense, units: 24, activation: relu}
      - {name: out, type: Dense, units: 2}
  loss: MeanSquaredError
  metrics: RootMeanSquaredError
"""


@pytest.fixture
def data(tmp_path):
    """A file that stands for data; nobody reads it here."""
    path = tmp_path / "train-images-idx3-ubyte"
    path.touch()
    return path


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "prepared.csv"
    path.touch()
    return path


class _Tuples(yaml.SafeLoader):
    pass


_Tuples.add_constructor("tag:yaml.org,2002:python/tuple", yaml.SafeLoader.construct_sequence)


def changed(text, path, value):
    """Return the text with one key set, added or removed."""
    made = copy.deepcopy(yaml.load(text, Loader=_Tuples))
    *parents, last = path.split(".")
    at = made
    for key in parents:
        at = at[int(key) if key.isdigit() else key]
    if value is ABSENT:
        del at[last]
    else:
        at[last] = value
    return yaml.safe_dump(made)


def read(text, data, folder=Path(), name="old"):
    return definition.parse(text, folder=folder, data=data, name=name)


def refusal(text, data):
    with pytest.raises(InvalidInput) as caught:
        read(text, data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_about_images_says_all_that_it_says_there(data):
    submission = read(IMAGES, data)
    task = submission.definition
    assert (submission.fee, submission.data) == (25_000_000, data)
    assert task.layers == (Dense(96), RELU, Dense(48), Activation(Function.TANH), Dense(10))
    assert (task.loss, task.metrics) == (Loss.SOFTMAX_CROSS_ENTROPY, ("accuracy", "loss"))
    assert (task.optimiser, task.schedule) == (Sgd(2_000), ConstantRate())
    assert (task.epochs, task.validation, task.stopping) == (12, Holdout(20), None)
    assert task.initialiser == Initialiser(Distribution.UNIFORM, Fan.AVERAGE, 746_667)
    assert (task.dataset.format, task.dataset.batch_size, task.input_shape) == ("idx", 50, ())
    assert TaskDefinition.decode(task.encode()) == task


def test_a_file_about_a_table_says_all_that_it_says_there(table):
    submission = read(TABLE, table)
    task = submission.definition
    assert submission.fee == 3 * 10**8
    assert (task.input_shape, task.layers) == ((17,), (Dense(24), RELU, Dense(2)))
    assert (task.loss, task.metrics, task.optimiser) == (Loss.MSE, ("rmse",), Sgd(1_000))
    assert (task.epochs, task.validation) == (25, Holdout(10))
    assert task.initialiser == Initialiser(Distribution.UNIFORM, Fan.AVERAGE, 1_000_000)
    assert (task.dataset.format, task.dataset.batch_size) == ("csv", 16)
    assert (task.training_fragment_count, len(task.dataset.fragments)) == (9, 10)


def test_tau_becomes_the_step_that_it_means_there(data, table):
    # 10 * 0.002 / 50 = 0.0004, nearest by ratio 2^-11; 8 * 0.001 / 16 = 0.0005
    assert read(IMAGES, data).definition.tau == Tau(11, 0)
    assert read(TABLE, table).definition.tau == Tau(11, 0)
    assert any("step of 0.0004 in weights" in note for note in read(IMAGES, data).notes)


@pytest.mark.parametrize(("tau", "bits"), [(1e-9, 18), (1e9, 6)])
def test_a_tau_out_of_range_goes_to_the_nearest_allowed_and_the_user_is_told(data, tau, bits):
    submission = read(changed(IMAGES, "ml.optimizer.tau", tau), data)
    assert submission.definition.tau == Tau(bits, 0)
    assert any("2^-18 to 2^-6 are allowed" in note for note in submission.notes)


def test_the_share_for_training_is_met_by_whole_fragments(data):
    task = read(IMAGES, data).definition
    assert (task.training_fragment_count, len(task.dataset.fragments)) == (12, 14)


@pytest.mark.parametrize("share", [0.01, 0.123, 0.5, 0.666, 0.755, 0.8, 0.95, 0.99])
def test_every_share_for_training_is_met_within_half_a_per_cent(table, share):
    task = read(changed(TABLE, "ml.dataset.train-size", share), table).definition
    assert abs(task.training_fragment_count / len(task.dataset.fragments) - share) <= 0.00501


def test_sizes_of_hidden_layers_alone_are_an_older_form(data):
    text = changed(IMAGES, "ml.model", {"type": "FC-DNN", "hidden-units": [64, 32],
                                        "loss": "SoftmaxCrossEntropyLoss"})  # fmt: skip
    submission = read(text, data)
    assert submission.definition.layers == (Dense(64), RELU, Dense(32), RELU, Dense(10))
    assert any("names no activation: relu" in note for note in submission.notes)


def test_momentum_is_taken_over(data):
    key = "ml.optimizer.optimizer_initialization_parameters.momentum"
    assert read(changed(IMAGES, key, 0.9), data).definition.optimiser == Momentum(
        2_000, 58_982, nesterov=False
    )


def test_an_initializer_without_magnitude_is_glorots(data):
    text = changed(IMAGES, "ml.optimizer.initializer", {"name": "Xavier"})
    assert read(text, data).definition.initialiser.variance_ppm == 1_000_000


def test_what_a_file_lacks_has_defaults(data):
    submission = read(IMAGES, data, name="x" * 90)
    task = submission.definition
    assert (task.name, task.expected_blocks, task.preferences) == ("x" * 64, 1_000, (1, 1))
    assert (task.group.miners, task.group.supervisors, task.group.evaluators) == (3, 3, 3)
    assert (task.reward.miners, task.reward.supervisors, task.reward.evaluators) == (70, 15, 15)
    assert any("names no group, reward or expected_blocks" in note for note in submission.notes)
    lean = changed(changed(TABLE, "ml.validation", ABSENT), "ml.metrics", ABSENT)
    task = read(changed(lean, "ml.dataset", {"format": "CSV"}), data).definition
    assert (task.validation, task.metrics, task.training_fragment_count) == (
        Holdout(0), ("loss", "rmse"), 8,
    )  # fmt: skip


def test_the_name_is_the_files(tmp_path, data):
    path = tmp_path / "first-model.yaml"
    path.write_text(IMAGES)
    assert definition.load(path, data).definition.name == "first-model"


def test_the_hash_of_the_data_is_not_checked_and_the_user_is_told(data):
    assert any("sha256 is not checked" in note for note in read(IMAGES, data).notes)


class TestData:
    def test_an_address_is_not_fetched(self):
        assert "source is not fetched: download the data and give --data PATH" in refusal(IMAGES, None)

    def test_a_path_is_looked_up_beside_the_file(self, tmp_path):
        source = {"features": "t-images-idx3-ubyte", "labels": "t-labels-idx1-ubyte"}
        text = changed(IMAGES, "ml.dataset.source", source)
        (tmp_path / source["features"]).touch()
        assert read(text, None, tmp_path).data == tmp_path / source["features"]

    def test_a_table_to_prepare_must_be_prepared(self):
        said = refusal(TABLE, None)
        assert "p2pai does not prepare data (remove-features: row, comment; labels: width, depth;" in said
        assert "features-scaler: RobustScaler; labels-scaler: RobustScaler)" in said
        assert "prepare the CSV, its labels last and named y_..., and give it with --data PATH" in said

    def test_a_prepared_table_is_taken_as_it_is_and_the_user_is_told(self, table):
        assert any("taken as they are; the file wants them prepared" in n for n in read(TABLE, table).notes)

    def test_a_table_that_needs_no_preparation_is_read(self, tmp_path):
        (tmp_path / "table.csv").touch()
        text = changed(TABLE, "ml.dataset", {"format": "CSV", "source": "table.csv", "train-size": 0.8})
        assert read(text, None, tmp_path).data == tmp_path / "table.csv"

    def test_data_of_another_form_may_be_given(self, tmp_path):
        (tmp_path / "mnist.npz").touch()
        assert read(IMAGES, tmp_path / "mnist.npz").definition.dataset.format == "npz"
        assert read(TABLE, tmp_path / "mnist.npz").definition.dataset.format == "npz"


PARAMETERS = "ml.optimizer.optimizer_initialization_parameters"
FAULTS = [
    (IMAGES, "payment", ABSENT, "payment is missing"),
    (IMAGES, "payment.best-model-payment-amount", 0, "an amount is above 0"),
    (IMAGES, "payment.currency", "x", "payment.currency is not a known key"),
    (IMAGES, "owner", "x", "owner is not a known key"),
    (IMAGES, "ml.seed", 3, "ml.seed is not a known key"),
    (IMAGES, "ml.dataset.format", "HDF5", "ml.dataset.format must be MNIST or CSV, not 'HDF5'"),
    (IMAGES, "ml.dataset.training-set-size", 0, "ml.dataset.training-set-size must be from 0.01 to 0.99"),
    (IMAGES, "ml.dataset.test-set-size", 0.2, "training-set-size and ml.dataset.test-set-size must sum to 1"),
    (IMAGES, "ml.dataset.shuffle", True, "ml.dataset.shuffle is not a known key"),
    (IMAGES, "ml.dataset.source", {"features": "a"}, "ml.dataset.source.labels is missing"),
    (IMAGES, "ml.validation.strategy.method", "CrossValidation", "method must be Holdout"),
    (IMAGES, "ml.validation.strategy.size", 0.125, "ml.validation.strategy.size must be from 0 to 0.99 in"),
    (IMAGES, "ml.optimizer.type", "Adam", "ml.optimizer.type must be SGD, since tau of such a file"),
    (IMAGES, "ml.optimizer.tau", ABSENT, "ml.tau is missing"),
    (IMAGES, "ml.optimizer.tau", 0, "ml.optimizer.tau must be above 0"),
    (IMAGES, "ml.tau", 3, "ml.tau stands in ml.optimizer.tau too"),
    (IMAGES, "ml.optimizer.epochs", "12", "ml.optimizer.epochs must be a whole number"),
    (IMAGES, "ml.optimizer.batch-size", 0, "ml.optimizer.batch-size must be a whole number"),
    (IMAGES, f"{PARAMETERS}.learning_rate", "fast", f"{PARAMETERS}.learning_rate must be a number"),
    (IMAGES, f"{PARAMETERS}.wd", 0.1, f"{PARAMETERS}.wd is not a known key"),
    (IMAGES, "ml.optimizer.initializer.name", "Orthogonal", "initializer.name must be Xavier"),
    (IMAGES, "ml.optimizer.initializer.parameters.magnitude", 0, "magnitude must be above 0, at most 16"),
    (IMAGES, "ml.model.type", "CNN", "ml.model.type must be FC-DNN, not 'CNN'"),
    (IMAGES, "ml.model.loss", "HuberLoss", "ml.model.loss must be SoftmaxCrossEntropyLoss or"),
    (IMAGES, "ml.model.layers", [{"type": "Conv"}], "ml.model.layers[0].type must be Input or Dense"),
    (IMAGES, "ml.model.layers", [{"type": "Dense"}], "ml.model.layers[0].nodes is missing"),
    (IMAGES, "ml.model.layers", [{"type": "Dense", "nodes": 3, "activation": "elu"}],
     "ml.model.layers[0].activation must be relu or sigmoid or tanh or softmax"),
    (IMAGES, "ml.model.layers", [{"type": "Input", "shape": [3]}], "has no layer but the input"),
    (IMAGES, "ml.model.layers", [{"type": "Dense", "nodes": 3}, {"type": "Input", "shape": [3]}],
     "ml.model.layers[1]: the Input comes first"),
    (IMAGES, "ml.evaluation-metrics", ["AUC"], "ml.evaluation-metrics: 'AUC' is not measured with this loss"),
    (IMAGES, "ml.evaluation-metrics", ["RootMeanSquaredError"], "there is no metric 'rmse' for loss softmax"),
    (IMAGES, "ml.metrics", "Accuracy", "ml.evaluation-metrics stands beside ml.metrics"),
    (TABLE, "ml.metrics", ["CrossEntropy"], "'CrossEntropy' is not measured with this loss"),
    (TABLE, "ml.model", {"type": "FC-DNN", "hidden-units": [3]},
     "ml.model.hidden-units does not say how many outputs there are"),
    (TABLE, "ml.loss", ABSENT, "ml.model.loss is missing"),
    (TABLE, "ml.epochs", ABSENT, "ml.epochs is missing"),
    (TABLE, "ml.dataset.labels", [1], "ml.dataset.labels must be a list of 1 to 65536 words"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "path", "value", "sentence"), FAULTS, ids=lambda v: str(v).strip()[:40].replace("\n", " ")
)
def test_each_fault_is_one_sentence_that_names_its_key(text, path, value, sentence, data):
    assert sentence in refusal(changed(text, path, value), data)


@pytest.mark.parametrize(
    ("word", "metric"),
    [("RootMeanSquaredError", "rmse"), ("MeanAbsoluteError", "mae"), ("MeanSquaredError", "loss")],
)
def test_each_metric_of_numbers(table, word, metric):
    assert read(changed(TABLE, "ml.metrics", [word]), table).definition.metrics == (metric,)


@pytest.mark.parametrize("text", [IMAGES, TABLE])
def test_nothing_in_such_a_file_runs(text, data):
    with pytest.raises(InvalidInput, match="this is not YAML"):
        read(text.replace("FC-DNN", "!!python/object/apply:os.getpid []"), data)
