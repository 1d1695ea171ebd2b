"""Decimal numbers of a task file as the integer units of a task definition.

What must be exact is exact or refused; a fraction in 65536ths and tau, a power of two, go to the nearest, and
are refused where that would be another number.

Source: PROTOCOL section 5; docs/EXACT.md.
"""

from decimal import Decimal
from fractions import Fraction
from typing import Final

from p2pai.chain.training import PPM, Q16, TAU_BITS
from p2pai.cli.section import Section
from p2pai.primitives.errors import InvalidInput

PPB: Final = 1_000_000_000
DEVIATION_MAX: Final = Fraction(1, 20)
"""How far a fraction, or what it lacks to 1, may move when it becomes 65536ths: 0.9999 is refused, since the
nearest averages over 9,362 iterations instead of 10,000."""


def exact(section: Section, key: str, unit: int, low: str, high: str, default: str | None = None) -> int:
    """Return a number in units of 1 / `unit`.

    Args:
      section: where the key stands.
      key: whose value it is.
      unit: how many units are 1.
      low: smallest number allowed, as it is shown.
      high: largest number allowed.
      default: what an absent key stands for.

    Raises:
      InvalidInput: out of range, or not a whole number of units.
    """
    number = section.decimal(key, default)
    units = Fraction(number) * unit
    if not Decimal(low) <= number <= Decimal(high) or units.denominator != 1:
        step = format(Decimal(1) / unit, "f")
        raise InvalidInput(f"{section.name(key)} must be from {low} to {high} in steps of {step}")
    return units.numerator


def share(section: Section, key: str, high: str, default: str | None = None) -> int:
    """Return a share of 1 in 65536ths, the nearest.

    Raises:
      InvalidInput: negative, above `high`, or so near to 0 or 1 that the nearest is another number.
    """
    number = section.decimal(key, default)
    if not 0 <= number <= Decimal(high):
        raise InvalidInput(f"{section.name(key)} must be from 0 to {high}")
    wanted = Fraction(number)
    units = round(wanted * Q16)
    distance = min(wanted, 1 - wanted)
    if abs(Fraction(units, Q16) - wanted) > DEVIATION_MAX * distance:
        below, above = (format(n / Q16, ".6f") for n in (int(wanted * Q16), int(wanted * Q16) + 1))
        raise InvalidInput(
            f"{section.name(key)} is kept in 65536ths, where the nearest to {number} are {below} and {above}"
        )
    return units


def variance(section: Section, key: str, divisor: int) -> int:
    """Return the square of a number, over `divisor`, in millionths: of a deviation, or of a uniform's limit.

    Raises:
      InvalidInput: negative, above 4, or so small that the nearest is another number.
    """
    number = section.decimal(key)
    wanted = Fraction(number) ** 2 * PPM / divisor
    units = round(wanted)
    if not 0 <= number <= 4 or abs(units - wanted) > DEVIATION_MAX * wanted:  # noqa: PLR2004
        raise InvalidInput(f"{section.name(key)} must be 0, or from 0.006 to 4")
    return units


def nearest_tau_bits(tau: Decimal) -> int:
    """Return the b for which 2^-b is nearest to `tau` by ratio.

    Raises:
      InvalidInput: no allowed power of two is within a factor of the square root of two.
    """
    bits = nearest_bits(Fraction(tau))
    if bits not in TAU_BITS:
        raise InvalidInput(
            f"tau must be between 2^-{TAU_BITS[-1]} and 2^-{TAU_BITS[0]} (0.0000038 to 0.0156)"
        )
    return bits


def nearest_bits(number: Fraction) -> int:
    """Return the b for which 2^-b is nearest to `number` by ratio; at most one beyond the bits of tau."""
    bits = TAU_BITS[0] - 1
    # 2^-b is nearest when 2^-(b+1/2) <= number < 2^-(b-1/2); squared, both bounds are exact.
    while bits <= TAU_BITS[-1] and not (number > 0 and number * number >= Fraction(1, 2 ** (2 * bits + 1))):
        bits += 1
    return bits
