"""Metrics: quotients of whole numbers that are counted over batches.

Counts of several batches add up, so the same metrics serve one iteration and an evaluation.

Source: docs/EXACT.md, "Metrics".
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import Final

import numpy as np

from p2pai.chain.training import SMALLER_IS_BETTER, Loss, top_k
from p2pai.numpyreplay.integers import Integers, exact_sum
from p2pai.numpyreplay.loss import fixed_errors, fixed_targets
from p2pai.numpyreplay.quantise import Floats

SCORE_MAX: Final = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Answers:
    """What a classification was counted to be."""

    loss: Fraction
    samples: int
    ranks: Integers
    """How many labels have each rank, from 0."""
    hits: Integers
    answers: Integers
    labels: Integers
    """Of each class."""

    def __add__(self, other: "Answers") -> "Answers":
        return Answers(
            self.loss + other.loss,
            self.samples + other.samples,
            self.ranks + other.ranks,
            self.hits + other.hits,
            self.answers + other.answers,
            self.labels + other.labels,
        )


@dataclass(frozen=True, slots=True)
class Errors:
    """Sums over the numbers of a regression, in Q16 and, of squares, in Q32."""

    loss: Fraction
    samples: int
    numbers: int
    sizes: int
    squares: int
    targets: int
    target_squares: int

    def __add__(self, other: "Errors") -> "Errors":
        return Errors(
            self.loss + other.loss,
            self.samples + other.samples,
            self.numbers + other.numbers,
            self.sizes + other.sizes,
            self.squares + other.squares,
            self.targets + other.targets,
            self.target_squares + other.target_squares,
        )


Counts = Answers | Errors


def count(loss: Loss, total: Fraction, z: Floats, labels: Integers | Floats) -> Counts:
    """Count what a batch's metrics need.

    Args:
      loss: of the task.
      total: the batch's loss, summed over its samples.
      z: the network's outputs, (batch, outputs).
      labels: (batch) classes, or (batch, outputs) numbers.
    """
    if not loss.is_classification:
        return _count_errors(total, z, labels.astype(np.float32))
    classes = labels.astype(np.int64)
    if loss is Loss.BINARY_CROSS_ENTROPY:
        answers = (z[:, 0] > 0).astype(np.int64)
        return _count_answers(total, 2, answers, classes, (answers != classes).astype(np.int64))
    own = z[np.arange(len(z)), classes][:, None]
    earlier = np.arange(z.shape[1]) < classes[:, None]
    ranks = ((z > own) | (z == own) & earlier).sum(axis=1)
    return _count_answers(total, z.shape[1], z.argmax(axis=1), classes, ranks)


def value(metric: str, counts: Counts) -> Fraction:
    """Return a metric, unrounded."""
    if metric == "loss":
        return counts.loss / counts.samples
    if isinstance(counts, Errors):
        return _ERRORS[metric](counts)
    if top_k(metric):
        return Fraction(int(counts.ranks[: top_k(metric)].sum()), counts.samples)
    return _mean_over_classes(metric, counts)


def score(metric: str, counts: Counts) -> int:
    """Return a metric as a whole number of 32 bits, more is better."""
    found = value(metric, counts)
    if metric in SMALLER_IS_BETTER:
        return int(SCORE_MAX / (1 + found))
    return int(max(found, Fraction(0)) * SCORE_MAX)


def float32_bits(number: Fraction) -> int:
    """Return the bit pattern of the nearest float32, ties to even; of 0 or a number in its normal range."""
    if number == 0:
        return 0
    size = abs(number)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if size < Fraction(2) ** exponent:
        exponent -= 1
    # `round` takes ties to even; a mantissa that grows to 2^24 carries into the exponent.
    mantissa = round(size * Fraction(2) ** (23 - exponent))
    return (number < 0) << 31 | ((exponent + 126) << 23) + mantissa


def _count_answers(
    total: Fraction, classes: int, answers: Integers, labels: Integers, ranks: Integers
) -> Answers:
    right = labels[answers == labels]
    counted = (np.bincount(values, minlength=classes) for values in (ranks, right, answers, labels))
    return Answers(total, len(labels), *(values.astype(np.int64) for values in counted))


def _count_errors(total: Fraction, z: Floats, targets: Floats) -> Errors:
    errors, t = fixed_errors(z, targets), fixed_targets(targets)
    return Errors(
        loss=total,
        samples=len(z),
        numbers=z.size,
        sizes=exact_sum(np.abs(errors)),
        squares=exact_sum(errors * errors),
        targets=exact_sum(t),
        target_squares=exact_sum(t * t),
    )


def _mean_over_classes(metric: str, counts: Answers) -> Fraction:
    rows = zip(counts.hits.tolist(), counts.answers.tolist(), counts.labels.tolist(), strict=True)
    present = [row for row in rows if row[1] or row[2]]
    fractions = (_CLASSES[metric](*row) for row in present)
    return sum(fractions, Fraction(0)) / len(present)


def _fraction(numerator: int, denominator: int) -> Fraction:
    return Fraction(numerator, denominator) if denominator else Fraction(0)


def _r2(counts: Errors) -> Fraction:
    # The sum of squared distances from the mean is sum t^2 - (sum t)^2 / n.
    spread = counts.target_squares - Fraction(counts.targets**2, counts.numbers)
    return 1 - counts.squares / spread if spread else Fraction(0)


_CLASSES: Final[dict[str, Callable[[int, int, int], Fraction]]] = {
    "precision": lambda hits, answers, _: _fraction(hits, answers),
    "recall": lambda hits, _, labels: _fraction(hits, labels),
    "f1": lambda hits, answers, labels: _fraction(2 * hits, answers + labels),
}

_ERRORS: Final[dict[str, Callable[[Errors], Fraction]]] = {
    "mae": lambda counts: Fraction(counts.sizes, counts.numbers << 16),
    "rmse": lambda counts: Fraction(isqrt((counts.squares << 28) // counts.numbers), 1 << 30),
    "r2": _r2,
}
