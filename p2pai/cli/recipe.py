"""How a task file's model is trained: optimiser, schedule, tau, validation, metrics, and when to stop.

Source: PoUW §3.4; chain/training.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from p2pai.chain import training
from p2pai.chain.task import EPOCHS_MAX
from p2pai.chain.training import (
    FOLDS,
    METRIC_COUNT_MAX,
    PATIENCE_MAX,
    PPM,
    Adam,
    ConstantRate,
    CosineRate,
    EarlyStopping,
    Holdout,
    KFold,
    Loss,
    Momentum,
    Optimiser,
    RmsProp,
    Schedule,
    Sgd,
    StepRate,
    Target,
    Tau,
    Validation,
)
from p2pai.cli import number
from p2pai.cli.number import PPB
from p2pai.cli.section import Section
from p2pai.primitives.errors import InvalidInput, InvalidTransaction

SMALLEST_RATE: Final = "0.000001"
SMALLEST_EPSILON: Final = "0.000000001"
BELOW_ONE: Final = "0.99998"
TARGET_MAX: Final = "1000000"

CLASSIFICATION: Final = ("accuracy", "loss")
REGRESSION: Final = ("loss", "rmse")
"""Metrics where a file names none."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model learns, is measured and stops."""

    optimiser: Optimiser
    schedule: Schedule
    tau: Tau
    epochs: int
    stopping: EarlyStopping | Target | None
    validation: Validation
    metrics: tuple[str, ...]


def read(root: Section, loss: Loss) -> Recipe:
    """Read a file's keys of this kind; the loss decides which metrics there are."""
    recipe = Recipe(
        optimiser=_optimiser(root.section("optimiser")),
        schedule=_schedule(root),
        tau=_tau(root),
        epochs=root.integer("epochs", 1, EPOCHS_MAX),
        stopping=_stopping(root),
        validation=_validation(root),
        metrics=_metrics(root, loss),
    )
    check_stopping(recipe)
    return recipe


def default_metrics(loss: Loss) -> tuple[str, ...]:
    """Return the metrics of a file that names none."""
    return CLASSIFICATION if loss.is_classification else REGRESSION


def check_metrics(metrics: tuple[str, ...], loss: Loss, where: str) -> None:
    """Check that metrics fit the loss; raises InvalidInput."""
    try:
        training.check_metrics(metrics, loss)
    except InvalidTransaction as error:
        raise InvalidInput(f"{where}: {str(error).removeprefix('task definition: ')}") from error


def check_stopping(recipe: Recipe) -> None:
    """Check that what stops training is measured, on data that are there.

    Raises:
      InvalidInput: it is not.
    """
    if recipe.stopping is None:
        return
    if recipe.stopping.metric not in recipe.metrics:
        listed = ", ".join(recipe.metrics)
        raise InvalidInput(f"stopping: {recipe.stopping.metric[:20]!r} is not one of metrics ({listed})")
    if recipe.validation == Holdout(0):
        raise InvalidInput(
            "stopping needs validation data: set some apart with validation, such as {holdout: 10}"
        )


def _optimiser(section: Section) -> Optimiser:
    name = section.text("name", tuple(_OPTIMISERS))
    optimiser = _OPTIMISERS[name](section)
    section.close()
    return optimiser


def _sgd(section: Section) -> Optimiser:
    return Sgd(number.exact(section, "learning_rate", PPM, SMALLEST_RATE, "16"))


def _momentum(section: Section) -> Optimiser:
    return Momentum(
        number.exact(section, "learning_rate", PPM, SMALLEST_RATE, "16"),
        number.share(section, "momentum", BELOW_ONE, default="0.9"),
        section.truth("nesterov", default=False),
    )


def _rmsprop(section: Section) -> Optimiser:
    return RmsProp(
        number.exact(section, "learning_rate", PPM, SMALLEST_RATE, "1"),
        number.share(section, "decay", BELOW_ONE, default="0.9"),
        _epsilon(section),
    )


def _adam(section: Section) -> Optimiser:
    return _adam_of(section, 0)


def _adamw(section: Section) -> Optimiser:
    return _adam_of(section, number.exact(section, "weight_decay", PPM, SMALLEST_RATE, "1", default="0.01"))


def _adam_of(section: Section, weight_decay_ppm: int) -> Optimiser:
    return Adam(
        number.exact(section, "learning_rate", PPM, SMALLEST_RATE, "1"),
        number.share(section, "beta1", BELOW_ONE, default="0.9"),
        number.share(section, "beta2", BELOW_ONE, default="0.999"),
        _epsilon(section),
        weight_decay_ppm,
    )


def _epsilon(section: Section) -> int:
    return number.exact(section, "epsilon", PPB, SMALLEST_EPSILON, "1", default="0.00000001")


_OPTIMISERS: Final[dict[str, Callable[[Section], Optimiser]]] = {
    "sgd": _sgd,
    "momentum": _momentum,
    "rmsprop": _rmsprop,
    "adam": _adam,
    "adamw": _adamw,
}


def _schedule(root: Section) -> Schedule:
    if not root.has("schedule"):
        return ConstantRate()
    kind, details = root.variant("schedule", ("constant", "cosine"), ("step",))
    if kind != "step":
        return CosineRate() if kind == "cosine" else ConstantRate()
    step = details.section("step")
    rate = StepRate(
        step.integer("epochs", 1, EPOCHS_MAX), number.exact(step, "factor", PPM, SMALLEST_RATE, "1")
    )
    step.close()
    return rate


def _tau(root: Section) -> Tau:
    if not isinstance(root.take("tau"), dict):
        return Tau(number.nearest_tau_bits(root.decimal("tau")), 0)
    adaptive = root.section("tau")
    bits = number.nearest_tau_bits(adaptive.decimal("start"))
    density = number.exact(adaptive, "density", PPM, SMALLEST_RATE, "0.25")
    adaptive.close()
    return Tau(bits, density)


def _stopping(root: Section) -> EarlyStopping | Target | None:
    if not root.has("stopping"):
        return None
    kind, details = root.variant("stopping", ("none",), ("early", "target"))
    if kind == "none":
        return None
    criterion = details.section(kind)
    metric = criterion.text("metric", length_max=20)
    found: EarlyStopping | Target = (
        EarlyStopping(metric, criterion.integer("patience", 1, PATIENCE_MAX))
        if kind == "early"
        else Target(metric, number.exact(criterion, "value", PPM, "0", TARGET_MAX))
    )
    criterion.close()
    return found


def _validation(root: Section) -> Validation:
    if not root.has("validation"):
        return Holdout(0)
    kind, details = root.variant("validation", ("none",), ("holdout", "folds"))
    if kind == "folds":
        return KFold(details.integer("folds", FOLDS[0], FOLDS[-1]))
    return Holdout(details.integer("holdout", 0, 99) if kind == "holdout" else 0)


def _metrics(root: Section, loss: Loss) -> tuple[str, ...]:
    if not root.has("metrics"):
        return default_metrics(loss)
    metrics = root.words("metrics", METRIC_COUNT_MAX)
    check_metrics(metrics, loss, root.name("metrics"))
    return metrics
