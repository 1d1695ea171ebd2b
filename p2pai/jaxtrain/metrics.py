"""Metrics as bit patterns of float32, made from integers.

The device only counts: a loss summed in Q30 and a number of right answers. The quotient is rounded to
float32 here, in Python integers, so no division of the device can show.

Source: PoUW Table 1; PROTOCOL section 7.
"""

from dataclasses import dataclass
from typing import Final

NAMES: Final = ("loss", "accuracy")
"""Metrics of a task, in the order in which they are reported."""

_LOSS_BITS: Final = 30
_PRECISION_BITS: Final = 24


@dataclass(frozen=True, slots=True)
class Score:
    """What counting gave over some samples."""

    loss_q30: int
    correct: int
    samples: int

    def __add__(self, other: "Score") -> "Score":
        return Score(
            self.loss_q30 + other.loss_q30, self.correct + other.correct, self.samples + other.samples
        )

    @property
    def metrics(self) -> tuple[int, ...]:
        """Bit patterns of mean loss and accuracy; none without samples."""
        if self.samples == 0:
            return ()
        loss = ratio_bits(self.loss_q30, self.samples << _LOSS_BITS)
        return (loss, ratio_bits(self.correct, self.samples))


NOTHING: Final = Score(0, 0, 0)


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
