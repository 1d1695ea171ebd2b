"""How hard a block must be: compact targets, expected work, and ASERT.

A block's hash, read as a 256-bit integer, must not exceed its target. Headers carry the target as `bits`: a
byte of size, then 23 bits of mantissa and a sign bit that must be zero.

ASERT moves the target by a factor of two for each half-life that the chain is ahead of or behind an ideal
schedule counted from an anchor block. It depends on the anchor and the parent alone, so it can't oscillate.
The power of two is a cubic polynomial in 16-bit fixed point, in integers, with an error below 0.013 %.

Source: Bitcoin Core, arith_uint256.cpp (compact form); DCP-0011 and its reference in dcrd (ASERT).
"""

from typing import Final

from p2pai.primitives.errors import InvalidBlock

TARGET_BITS: Final = 256

_FRACTION_BITS: Final = 16
_COEFFICIENTS: Final = (195_766_423_245_049, 971_821_376, 5_127)
"""Of x, x^2 and x^3 in 2^x - 1 for x in [0, 1), times 2^48, 2^32 and 2^16. Source: DCP-0011."""


def decode_bits(bits: int) -> int:
    """Return the target that the compact form `bits` stands for, in 1..2^256 - 1.

    Raises:
      InvalidBlock: not 32 bits, or the target is zero, negative or above 256 bits.
    """
    if not 0 <= bits < 1 << 32:
        raise InvalidBlock("compact target does not fit 32 bits")
    size, mantissa = bits >> 24, bits & 0x7FFFFF
    target = mantissa << 8 * (size - 3) if size > 3 else mantissa >> 8 * (3 - size)
    if target == 0:
        raise InvalidBlock("target is zero")
    if bits & 0x800000:
        raise InvalidBlock("target is negative")
    if target >> TARGET_BITS:
        raise InvalidBlock("target is above 256 bits")
    return target


def encode_bits(target: int) -> int:
    """Return the compact form of `target`, rounded down to its 23 to 16 leading bits."""
    assert 0 < target < 1 << TARGET_BITS, "target out of range"
    size = -(-target.bit_length() // 8)
    mantissa = target >> 8 * (size - 3) if size > 3 else target << 8 * (3 - size)
    if mantissa & 0x800000:
        # The top bit is the sign, so one more byte of size is needed.
        size, mantissa = size + 1, mantissa >> 8
    return size << 24 | mantissa


def work(target: int) -> int:
    """Return the number of hashes expected for a block with this target."""
    assert 0 < target < 1 << TARGET_BITS, "target out of range"
    return (1 << TARGET_BITS) // (target + 1)


def next_bits(
    anchor_bits: int, time_delta_s: int, height_delta: int, spacing_s: int, half_life_s: int, limit_bits: int
) -> int:
    """Return the compact target of the block after the parent.

    Args:
      anchor_bits: compact target of the anchor block.
      time_delta_s: time of the parent less time of the anchor, seconds; may be negative.
      height_delta: height of the parent less height of the anchor.
      spacing_s: ideal time between blocks, seconds.
      half_life_s: delay that doubles the target, seconds.
      limit_bits: compact form of the easiest target allowed.

    Raises:
      InvalidBlock: `anchor_bits` or `limit_bits` is no target.
    """
    assert height_delta >= 0, "the parent comes before the anchor"
    assert spacing_s > 0, "spacing is not positive"
    assert half_life_s > 0, "half-life is not positive"
    anchor, limit = decode_bits(anchor_bits), decode_bits(limit_bits)
    exponent = _divide((time_delta_s - height_delta * spacing_s) << _FRACTION_BITS, half_life_s)
    return encode_bits(min(max(_scale(anchor, exponent), 1), limit))


def _divide(dividend: int, divisor: int) -> int:
    # Towards zero, as the reference does; Python's // goes down.
    quotient = abs(dividend) // divisor
    return quotient if dividend >= 0 else -quotient


def _scale(target: int, exponent: int) -> int:
    """Return target * 2^(exponent / 2^16), rounded down; at most 2^512 times the target."""
    shift = min(exponent >> _FRACTION_BITS, 2 * TARGET_BITS) - _FRACTION_BITS
    product = target * _power_of_two(exponent & ((1 << _FRACTION_BITS) - 1))
    return product << shift if shift >= 0 else product >> -shift


def _power_of_two(fraction: int) -> int:
    """Return 2^(fraction / 2^16) times 2^16, for a fraction below 2^16."""
    first, second, third = _COEFFICIENTS
    polynomial = first * fraction + second * fraction**2 + third * fraction**3
    return (1 << _FRACTION_BITS) + ((polynomial + (1 << 47)) >> 48)
