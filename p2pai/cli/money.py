"""Coins for people, atoms for the protocol.

An amount is typed and shown in coins, with at most eight decimal places; inside it is an integer number of
atoms. Nothing here rounds: what can't be said in atoms is refused.
"""

from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Final

from p2pai.chain.params import ATOMS_PER_COIN
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Amount

COINS_MAX: Final = 10**9
"""More than will ever be issued; keeps every amount far inside 64 bits."""

_EXACT: Final = Context(traps=[Inexact])
"""Arithmetic that refuses to round."""


def parse_coins(text: str) -> Amount:
    """Read an amount of coins as atoms.

    Raises:
      InvalidInput: not a number above zero, or finer than an atom.
    """
    try:
        coins = Decimal(text)
    except InvalidOperation:
        coins = None
    # Decimal takes 1_0 for 10, and digits of every script.
    if coins is None or "_" in text or not text.isascii():
        raise InvalidInput(f"{text!r} is not an amount of coins, such as 12.5")
    if not coins.is_finite() or not 0 < coins <= COINS_MAX:
        raise InvalidInput(f"an amount is above 0 and at most {COINS_MAX} coins, not {text}")
    try:
        atoms = _EXACT.multiply(coins, ATOMS_PER_COIN)
    except Inexact:
        atoms = None
    if atoms is None or atoms != int(atoms):
        raise InvalidInput(f"{text} coins is finer than an atom: use at most 8 decimal places")
    return Amount(int(atoms))


def format_atoms(atoms: int) -> str:
    """Show atoms as coins, exactly, without needless zeros."""
    sign = "-" if atoms < 0 else ""
    coins, rest = divmod(abs(atoms), ATOMS_PER_COIN)
    fraction = f".{rest:08d}".rstrip("0") if rest else ""
    return f"{sign}{coins:,}{fraction}"
