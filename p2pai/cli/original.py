"""Task files of the project that this protocol was first written for, read as they are.

They are known by their top-level keys `version` and `ml`, and come in two dialects: one keeps epochs, batch
size and tau under `ml.optimizer` and lists its metrics as `evaluation-metrics`; the other keeps them under
`ml`, begins its layers with an `Input`, and says how to prepare a table. What a file asks for and p2pai does
not do is refused; what it does otherwise is told in the submission's notes.

There, tau is in units of a gradient summed over a mini-batch, and an element of a message map moves a weight
by learning rate * tau / batch size. Here tau is that step itself.

Source: PoUW §3.4, §4.2 and its Algorithm 1; Glorot and Bengio 2010 as MXNet's `Xavier` has it.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

from p2pai.chain.layers import LAYER_COUNT_MAX, UNITS_MAX, Activation, Dense, Function, Layer, Shape
from p2pai.chain.task import BATCH_SIZE_MAX, EPOCHS_MAX, FRAGMENT_COUNT_MIN, Dataset
from p2pai.chain.training import (
    METRIC_COUNT_MAX,
    PPM,
    TAU_BITS,
    ConstantRate,
    Distribution,
    Fan,
    Holdout,
    Initialiser,
    Loss,
    Momentum,
    Optimiser,
    Sgd,
    Tau,
)
from p2pai.cli import network, number, recipe, submission
from p2pai.cli.money import parse_coins
from p2pai.cli.network import Network
from p2pai.cli.recipe import Recipe
from p2pai.cli.section import Section
from p2pai.cli.submission import Submission, Terms
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Amount

MARKS: Final = ("version", "ml")
"""Top-level keys that only these files have."""

MNIST_CLASSES: Final = 10
XAVIER_MAGNITUDE: Final = "3"
"""What MXNet takes where a file does not say."""

FRAGMENTS_MAX: Final = 100
"""With so many fragments every whole percentage can be revealed exactly."""

SHARE_DEVIATION_MAX: Final = Fraction(1, 200)
COLUMN_COUNT_MAX: Final = 65_536
LOSSES: Final = {
    "SoftmaxCrossEntropyLoss": Loss.SOFTMAX_CROSS_ENTROPY,
    "MeanSquaredError": Loss.MSE,
    "MeanAbsoluteError": Loss.MAE,
}
METRICS: Final = {
    "Accuracy": "accuracy",
    "Precision": "precision",
    "Recall": "recall",
    "F1": "f1",
    "RootMeanSquaredError": "rmse",
    "MeanAbsoluteError": "mae",
}
LOSS_METRICS: Final = {
    "CrossEntropy": Loss.SOFTMAX_CROSS_ENTROPY,
    "MeanSquaredError": Loss.MSE,
}
"""Metrics that are our `loss`, with that loss."""

ACTIVATIONS: Final = ("relu", "sigmoid", "tanh", "softmax")
PREPARATION: Final = ("remove-features", "labels", "features-scaler", "labels-scaler")


@dataclass(frozen=True, slots=True)
class _File:
    """The sections that a key may stand in, and what the user should know."""

    ml: Section
    optimizer: Section
    parameters: Section
    """Of the optimizer; the same as `optimizer` where a file has no section for them."""
    model: Section
    notes: list[str] = field(default_factory=list)

    def holder(self, key: str, *sections: Section) -> Section:
        """Return the one section that has a key; the first where none does."""
        holders = [section for section in sections if section.has(key)]
        if len(holders) > 1:
            raise InvalidInput(f"{holders[0].name(key)} stands in {holders[1].name(key)} too")
        return (holders or list(sections))[0]

    def close(self) -> None:
        """Refuse what nobody asked for."""
        for section in (self.parameters, self.optimizer, self.model, self.ml):
            section.close()


def is_original(root: Section) -> bool:
    """Tell whether a file is one of these."""
    return len(root.find(MARKS)) == len(MARKS)


def read(root: Section, *, folder: Path, data: Path | None, name: str) -> Submission:
    """Read such a file.

    Args:
      root: the whole file.
      folder: where a path in it is looked up.
      data: the client's data; needed where the file names an address, or a table that must be prepared.
      name: of the task.

    Raises:
      InvalidInput: one sentence that names the key at fault.
    """
    root.take("version")
    fee = _fee(root.section("payment"))
    file = _open(root.section("ml"))
    root.close()
    dataset = file.ml.section("dataset")
    form = dataset.text("format", ("MNIST", "CSV"))
    made = _network(file, form)
    batch_size = file.holder("batch-size", file.ml, file.optimizer).integer("batch-size", 1, BATCH_SIZE_MAX)
    training = _recipe(file, made.loss, batch_size)
    fragments, percent = _fragments(dataset, file.notes)
    path = _data(dataset, folder, data, file.notes)
    file.close()
    _note_defaults(file.notes)
    unread = _dataset(form, path, batch_size, percent, fragments)
    definition = submission.draft(name, made, training, unread, Terms())
    return Submission(definition, path, fee, tuple(file.notes))


def _open(ml: Section) -> _File:
    optimizer = ml.section("optimizer")
    key = "optimizer_initialization_parameters"
    parameters = optimizer.section(key) if optimizer.has(key) else optimizer
    return _File(ml, optimizer, parameters, ml.section("model"))


def _fee(payment: Section) -> Amount:
    fee = parse_coins(str(payment.decimal("best-model-payment-amount")))
    payment.close()
    return fee


def _note_defaults(notes: list[str]) -> None:
    group, reward = submission.GROUP, submission.REWARD
    notes.append(
        f"the file names no group, reward or expected_blocks: {group.miners} miners, {group.supervisors} "
        f"supervisors and {group.evaluators} evaluators, who get {reward.miners}, {reward.supervisors} and "
        f"{reward.evaluators} % of the fee, in at most {submission.EXPECTED_BLOCKS:,} blocks"
    )


def _network(file: _File, form: str) -> Network:
    file.model.text("type", ("FC-DNN",))
    if file.model.has("hidden-units"):
        shape, layers, entries = _hidden_units(file, form)
    else:
        shape, layers, entries = _layers(file.model)
    loss = LOSSES[file.holder("loss", file.model, file.ml).text("loss", tuple(LOSSES))]
    network.check(shape, layers, entries, file.model.name("layers"))
    return Network(shape, tuple(layers), loss, _initialiser(file))


def _hidden_units(file: _File, form: str) -> tuple[Shape, list[Layer], list[int]]:
    sizes = file.model.integers("hidden-units", 1, UNITS_MAX, LAYER_COUNT_MAX // 2 - 1)
    if form != "MNIST":
        raise InvalidInput(
            "ml.model.hidden-units does not say how many outputs there are: list them in ml.model.layers"
        )
    file.notes.append("ml.model.hidden-units names no activation: relu, and 10 outputs for MNIST's digits")
    layers: list[Layer] = []
    for units in sizes:
        layers += (Dense(units), Activation(Function.RELU))
    layers.append(Dense(MNIST_CLASSES))
    return (), layers, [i // 2 for i in range(len(layers))]


def _layers(model: Section) -> tuple[Shape, list[Layer], list[int]]:
    shape: Shape = ()
    layers: list[Layer] = []
    entries: list[int] = []
    for i, value in enumerate(model.items("layers", LAYER_COUNT_MAX)):
        entry = Section(value, model.name(f"layers[{i}]"))
        kind = entry.text("type", ("Input", "Dense"))
        for label in ("id", "name"):
            entry.has(label)
        if kind == "Input":
            shape = _input(entry, is_first=i == 0)
        found = [] if kind == "Input" else _dense(entry)
        entry.close()
        layers += found
        entries += [i] * len(found)
    if not layers:
        raise InvalidInput(f"{model.name('layers')} has no layer but the input")
    return shape, layers, entries


def _input(entry: Section, *, is_first: bool) -> Shape:
    if not is_first:
        raise InvalidInput(f"{entry.title}: the Input comes first")
    return entry.integers("shape", 1, UNITS_MAX, 3)


def _dense(entry: Section) -> list[Layer]:
    layers: list[Layer] = [Dense(entry.integer("units" if entry.has("units") else "nodes", 1, UNITS_MAX))]
    if entry.has("activation"):
        layers.append(Activation(Function(entry.text("activation", ACTIVATIONS))))
    return layers


def _initialiser(file: _File) -> Initialiser:
    if not file.optimizer.has("initializer"):
        file.notes.append("the file names no initializer: glorot_uniform")
        return network.GLOROT_UNIFORM
    initializer = file.optimizer.section("initializer")
    initializer.text("name", ("Xavier",))
    key = "parameters"
    parameters = initializer.section(key) if initializer.has(key) else Section({}, initializer.name(key))
    magnitude = Fraction(parameters.decimal("magnitude", default=XAVIER_MAGNITUDE))
    parameters.close()
    initializer.close()
    if not 0 < magnitude <= 16:  # noqa: PLR2004
        raise InvalidInput(f"{parameters.name('magnitude')} must be above 0, at most 16")
    # Uniform up to sqrt(magnitude / fan), whose variance is a third of that squared.
    return Initialiser(Distribution.UNIFORM, Fan.AVERAGE, round(magnitude * PPM / 3))


def _recipe(file: _File, loss: Loss, batch_size: int) -> Recipe:
    optimiser = _optimiser(file)
    return Recipe(
        optimiser=optimiser,
        schedule=ConstantRate(),
        tau=_tau(file, optimiser.learning_rate_ppm, batch_size),
        epochs=file.holder("epochs", file.ml, file.optimizer).integer("epochs", 1, EPOCHS_MAX),
        stopping=None,
        validation=_validation(file.ml),
        metrics=_metrics(file.ml, loss),
    )


def _optimiser(file: _File) -> Optimiser:
    kind = file.optimizer.text("type")
    if kind != "SGD":
        raise InvalidInput(
            f"{file.optimizer.name('type')} must be SGD, since tau of such a file counts plain gradients; "
            "for other optimisers write the task in p2pai's own form"
        )
    rate = number.exact(file.parameters, "learning_rate", PPM, recipe.SMALLEST_RATE, "16")
    momentum = number.share(file.parameters, "momentum", recipe.BELOW_ONE, default="0")
    return Momentum(rate, momentum, nesterov=False) if momentum else Sgd(rate)


def _tau(file: _File, rate_ppm: int, batch_size: int) -> Tau:
    section = file.holder("tau", file.ml, file.optimizer)
    tau = Fraction(section.decimal("tau"))
    if tau <= 0:
        raise InvalidInput(f"{section.name('tau')} must be above 0")
    step = tau * rate_ppm / PPM / batch_size
    nearest = number.nearest_bits(step)
    bits = min(max(nearest, TAU_BITS[0]), TAU_BITS[-1])
    allowed = "" if bits == nearest else f"; 2^-{TAU_BITS[-1]} to 2^-{TAU_BITS[0]} are allowed"
    file.notes.append(
        f"{section.name('tau')} of {float(tau):g} in summed gradients is a step of {float(step):.3g} in "
        f"weights (times learning rate, over batch size), so tau is 2^-{bits}{allowed}"
    )
    return Tau(bits, 0)


def _validation(ml: Section) -> Holdout:
    if not ml.has("validation"):
        return Holdout(0)
    validation = ml.section("validation")
    strategy = validation.section("strategy")
    strategy.text("method", ("Holdout",))
    percent = number.exact(strategy, "size", 100, "0", "0.99")
    strategy.close()
    validation.close()
    return Holdout(percent)


def _metrics(ml: Section, loss: Loss) -> tuple[str, ...]:
    keys = ml.find(("evaluation-metrics", "metrics"))
    if not keys:
        return recipe.default_metrics(loss)
    if len(keys) > 1:
        raise InvalidInput(f"{ml.name(keys[0])} stands beside {ml.name(keys[1])}")
    words = ml.words(keys[0], METRIC_COUNT_MAX)
    metrics = tuple(_metric(word, loss, ml.name(keys[0])) for word in words)
    recipe.check_metrics(metrics, loss, ml.name(keys[0]))
    return metrics


def _metric(word: str, loss: Loss, where: str) -> str:
    if word in LOSS_METRICS and LOSS_METRICS[word] is loss:
        return "loss"
    if word not in METRICS:
        known = ", ".join((*METRICS, *LOSS_METRICS))
        raise InvalidInput(f"{where}: {word[:40]!r} is not measured with this loss; known are {known}")
    return METRICS[word]


def _fragments(dataset: Section, notes: list[str]) -> tuple[int, int]:
    """Return how many fragments reveal the share of the data that the file trains on, and its percentage."""
    key = "training-set-size" if dataset.has("training-set-size") else "train-size"
    share = Fraction(dataset.decimal(key, default="0.8"))
    if not Fraction(1, 100) <= share <= Fraction(99, 100):
        raise InvalidInput(f"{dataset.name(key)} must be from 0.01 to 0.99")
    if dataset.has("test-set-size") and share + Fraction(dataset.decimal("test-set-size")) != 1:
        raise InvalidInput(f"{dataset.name(key)} and {dataset.name('test-set-size')} must sum to 1")
    percent = round(100 * share)
    count = next(
        n for n in range(FRAGMENT_COUNT_MIN, FRAGMENTS_MAX + 1) if _is_near(n * percent // 100, n, share)
    )
    revealed = count * percent // 100
    notes.append(f"{revealed} of {count} fragments are for training: {100 * revealed / count:.1f} %")
    return count, percent


def _is_near(revealed: int, count: int, share: Fraction) -> bool:
    return revealed > 0 and abs(Fraction(revealed, count) - share) <= SHARE_DEVIATION_MAX


def _data(dataset: Section, folder: Path, data: Path | None, notes: list[str]) -> Path:
    if dataset.has("sha256"):
        notes.append("ml.dataset.sha256 is not checked: the fragments' own hashes go on chain")
    wishes = _preparation(dataset)
    named = _source(dataset)
    dataset.close()
    if data is not None:
        if wishes:
            notes.append(f"the data are taken as they are; the file wants them prepared: {wishes}")
        return submission.existing(data)
    if wishes:
        raise InvalidInput(
            f"ml.dataset: p2pai does not prepare data ({wishes}): prepare the CSV, its labels last and "
            "named y_..., and give it with --data PATH"
        )
    if "://" in named or not named:
        raise InvalidInput("ml.dataset.source is not fetched: download the data and give --data PATH")
    return submission.existing(folder / named)


def _source(dataset: Section) -> str:
    """Return the path or address of the features; "" where the file has none."""
    if not dataset.has("source"):
        return ""
    if isinstance(dataset.take("source"), str):
        return dataset.text("source")
    source = dataset.section("source")
    source.text("labels")
    named = source.text("features")
    source.close()
    return named


def _preparation(dataset: Section) -> str:
    """Say how the file wants its table prepared; "" if it does not."""
    wishes = []
    for key in PREPARATION:
        if dataset.has(key):
            values = dataset.words(key, COLUMN_COUNT_MAX)
            shown = ", ".join(values[:5]) + (", ..." if len(values) > 5 else "")  # noqa: PLR2004
            wishes.append(f"{key}: {shown}")
    return "; ".join(wishes)


def _dataset(form: str, path: Path, batch_size: int, percent: int, fragments: int) -> Dataset:
    """Describe the data; a file given in their place may have another form, by its name."""
    expected = "idx" if form == "MNIST" else "csv"
    found = submission.format_of(path)
    return submission.unread_dataset(
        found if found == "npz" or expected == "idx" else expected, batch_size, percent, fragments
    )
