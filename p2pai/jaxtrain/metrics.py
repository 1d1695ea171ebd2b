"""Metrics as bit patterns of float32, made from integers.

The device only counts: a loss summed in Q30, ranks of labels, answers, errors in Q16. Quotients are exact
fractions here and are rounded to float32 once, so no division of the device can show.

Source: PoUW Table 1; PROTOCOL section 7; docs/EXACT.md, "Metrics".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import Any, Final

import numpy as np

from p2pai.chain.training import SCORE_MAX, SMALLER_IS_BETTER, TOP_MAX, Loss, top_k
from p2pai.jaxtrain.exact.loss import Classified, Measured

_LOSS_BITS: Final = 30
_ERROR_BITS: Final = 16
_ROOT_BITS: Final = 30
_PRECISION_BITS: Final = 24

Counts = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """What counting gave over some samples; scores of disjoint samples add up."""

    samples: int
    loss: Fraction = Fraction(0)
    """Summed over the samples."""
    ranks: Counts = ()
    """Labels of rank 0, 1, ... up to TOP_MAX - 1."""
    hits: Counts = ()
    """Right answers of each class."""
    answers: Counts = ()
    labels: Counts = ()
    numbers: int = 0
    """Errors that the sums below are over, in Q16 and Q32."""
    absolute: int = 0
    squared: int = 0
    target: int = 0
    target_squared: int = 0

    @classmethod
    def of(cls, loss: Loss, observation: Classified | Measured, labels: Any) -> "Score":  # noqa: ANN401
        """Count one batch.

        Args:
          loss: of the task.
          observation: of the batch's forward pass, on the host.
          labels: int (batch,), or anything where labels are numbers.
        """
        if isinstance(observation, Measured):
            return _measured(loss, observation)
        return _classified(observation, np.asarray(labels))

    def __add__(self, other: "Score") -> "Score":
        return Score(
            self.samples + other.samples,
            self.loss + other.loss,
            _add(self.ranks, other.ranks),
            _add(self.hits, other.hits),
            _add(self.answers, other.answers),
            _add(self.labels, other.labels),
            self.numbers + other.numbers,
            self.absolute + other.absolute,
            self.squared + other.squared,
            self.target + other.target,
            self.target_squared + other.target_squared,
        )

    def value(self, metric: str) -> Fraction:
        """Return a metric, exact but for rmse, which is rounded down to 2^-30; 0 without samples."""
        if self.samples == 0:
            return Fraction(0)
        if metric == "loss":
            return self.loss / self.samples
        if top_k(metric):
            return Fraction(sum(self.ranks[: top_k(metric)]), self.samples)
        if metric in ("precision", "recall", "f1"):
            return self._mean_over_classes(metric)
        return self._of_errors(metric)

    def bits(self, metrics: Sequence[str]) -> tuple[int, ...]:
        """Return metrics as bit patterns of float32."""
        return tuple(float32_bits(self.value(metric)) for metric in metrics)

    def quality(self, metric: str) -> int:
        """Return the score by a metric: 32 bits, more is better."""
        value = self.value(metric)
        share = 1 / (1 + value) if metric in SMALLER_IS_BETTER else max(Fraction(0), value)
        return SCORE_MAX * share.numerator // share.denominator if self.samples else 0

    def _mean_over_classes(self, metric: str) -> Fraction:
        counted = [c for c in zip(self.hits, self.answers, self.labels, strict=True) if c[1] + c[2]]
        shares = [_share(metric, *counts) for counts in counted]
        return sum(shares, start=Fraction(0)) / len(shares)

    def _of_errors(self, metric: str) -> Fraction:
        count = self.numbers
        if metric == "mae":
            return Fraction(self.absolute, count << _ERROR_BITS)
        if metric == "rmse":
            root = isqrt((self.squared << 2 * (_ROOT_BITS - _ERROR_BITS)) // count)
            return Fraction(root, 1 << _ROOT_BITS)
        assert metric == "r2", metric
        spread = self.target_squared * count - self.target**2
        return 1 - Fraction(self.squared * count, spread) if spread else Fraction(0)


NOTHING: Final = Score(0)


def _share(metric: str, hits: int, answers: int, labels: int) -> Fraction:
    of = {"precision": answers, "recall": labels, "f1": answers + labels}[metric]
    return Fraction((2 if metric == "f1" else 1) * hits, of) if of else Fraction(0)


def _classified(seen: Classified, labels: Any) -> Score:  # noqa: ANN401
    rank, answer = np.asarray(seen.rank), np.asarray(seen.answer)
    classes = int(max(answer.max(), labels.max())) + 1
    return Score(
        len(labels),
        Fraction(int(seen.loss), 1 << _LOSS_BITS),
        _counts(rank[rank < TOP_MAX], 1),
        _counts(labels[answer == labels], classes),
        _counts(answer, classes),
        _counts(labels, classes),
    )


def _counts(values: Any, length: int) -> Counts:  # noqa: ANN401
    return tuple(np.bincount(values, minlength=length).tolist())


def _measured(loss: Loss, seen: Measured) -> Score:
    error, target = np.asarray(seen.error), np.asarray(seen.target)
    squared, absolute = _sum_of_squares(error), int(np.abs(error).sum())
    total = Fraction(squared, 1 << _ERROR_BITS) if loss is Loss.MSE else Fraction(absolute)
    return Score(
        len(error),
        total / (error.shape[1] << _ERROR_BITS),  # the loss of a sample is a mean over its numbers
        numbers=error.size,
        absolute=absolute,
        squared=squared,
        target=int(target.sum()),
        target_squared=_sum_of_squares(target),
    )


def _sum_of_squares(values: Any) -> int:  # noqa: ANN401
    """Sum squares of int64 numbers up to 2^31, of any number of them."""
    squares = values * values
    return (int((squares >> 32).sum()) << 32) + int((squares & 0xFFFFFFFF).sum())


def _add(some: Counts, others: Counts) -> Counts:
    longer, shorter = (some, others) if len(some) >= len(others) else (others, some)
    return tuple(a + b for a, b in zip(longer, shorter + (0,) * (len(longer) - len(shorter)), strict=True))


def float32_bits(value: Fraction) -> int:
    """Return the bit pattern of a fraction as float32, to nearest, ties to even.

    Args:
      value: zero, or between 2^-126 and 2^127 either way.
    """
    if value < 0:
        return ratio_bits(-value.numerator, value.denominator) | 1 << 31
    return ratio_bits(value.numerator, value.denominator)


def ratio_bits(numerator: int, denominator: int) -> int:
    """Return the bit pattern of numerator / denominator as float32, to nearest, ties to even.

    Args:
      numerator: not negative.
      denominator: positive; the quotient is zero or between 2^-126 and 2^127.
    """
    assert numerator >= 0
    assert denominator > 0
    if numerator == 0:
        return 0
    exponent = numerator.bit_length() - denominator.bit_length() - _PRECISION_BITS
    mantissa = _round_quotient(numerator, denominator, exponent)
    if mantissa >= 1 << _PRECISION_BITS:
        exponent += 1
        mantissa = _round_quotient(numerator, denominator, exponent)
    assert 1 << (_PRECISION_BITS - 1) <= mantissa <= 1 << _PRECISION_BITS
    # The hidden bit adds one to the exponent field, and so does a mantissa that was rounded up to 2^24.
    field = exponent + 127 + 22
    assert 0 <= field < 254, "quotient is out of float32's normal range"  # noqa: PLR2004
    return (field << 23) + mantissa


def _round_quotient(numerator: int, denominator: int, exponent: int) -> int:
    """Return numerator / (denominator * 2^exponent) to the nearest integer, ties to even."""
    n = numerator << max(-exponent, 0)
    d = denominator << max(exponent, 0)
    quotient, rest = divmod(n, d)
    up = 2 * rest > d or (2 * rest == d and quotient & 1)
    return quotient + int(up)
