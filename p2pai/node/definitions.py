"""A task definition as people and tools read it: one short text for each part, numbers in ordinary units."""

from dataclasses import fields
from enum import Enum
from typing import Any, Final

from p2pai.chain.task import TaskDefinition
from p2pai.chain.training import SCORE_MAX, SMALLER_IS_BETTER

_UNITS: Final = {"_ppm": 1_000_000, "_q16": 1 << 16, "_ppb": 1_000_000_000}
"""Endings of integers that stand for fractions, and what they count."""


def report(task: TaskDefinition) -> dict[str, Any]:
    """Return a definition's parts by name."""
    return {
        "numerics": task.numerics.value,
        "mantissa_bits": task.mantissa_bits,
        "input": list(task.input_shape),
        "layers": [describe(layer) for layer in task.layers],
        "weights": task.weight_count,
        "initialiser": describe(task.initialiser),
        "loss": task.loss.value,
        "optimiser": describe(task.optimiser),
        "schedule": describe(task.schedule),
        "tau": describe(task.tau),
        "epochs": task.epochs,
        "stopping": describe(task.stopping) if task.stopping else None,
        "validation": describe(task.validation),
        "metrics": list(task.metrics),
        "assignment": task.assignment.value,
        "redundancy": describe(task.redundancy),
        "samples": task.dataset.samples,
        "batch_size": task.dataset.batch_size,
        "fragments": [f.hex() for f in task.dataset.fragments],
    }


def describe(part: Any) -> str:  # noqa: ANN401
    """Return one part as text, such as "Dense units 128" or "Sgd learning_rate 0.25"."""
    values = (f"{name} {value}" for name, value in _values(part))
    return " ".join((type(part).__name__, *values))


def _values(part: Any) -> list[tuple[str, Any]]:  # noqa: ANN401
    return [_plain(field.name, getattr(part, field.name)) for field in fields(part)]


def _plain(name: str, value: Any) -> tuple[str, Any]:  # noqa: ANN401
    unit = _UNITS.get(name[-4:])
    if unit is not None:
        return name[:-4], f"{value / unit:.6g}"
    return name, value.value if isinstance(value, Enum) else value


def value_of(metric: str, score: int) -> float | None:
    """Return the metric that a model's score stands for; None for the score of what is no model.

    Source: docs/EXACT.md, "Metrics".
    """
    if metric not in SMALLER_IS_BETTER:
        return score / SCORE_MAX
    return SCORE_MAX / score - 1 if score else None
