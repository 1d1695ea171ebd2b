"""Coins and atoms: exact both ways, and nothing in between."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.cli.money import COINS_MAX, format_atoms, parse_coins
from p2pai.primitives.errors import InvalidInput


@given(st.integers(1, COINS_MAX * 10**8))
def test_what_is_shown_reads_back(atoms):
    assert parse_coins(format_atoms(atoms).replace(",", "")) == atoms


@pytest.mark.parametrize(
    ("text", "atoms"),
    [("1", 10**8), ("0.00000001", 1), ("12.5", 1_250_000_000), ("1e2", 10**10), (f"100.{'0' * 40}", 10**10)],
)
def test_reads_coins(text, atoms):
    assert parse_coins(text) == atoms


@pytest.mark.parametrize(
    "text",
    [
        *("0", "-1", "NaN", "Infinity", "1000000001", "ten", "", "1,000", "1_0", "\N{FULLWIDTH DIGIT ONE}"),
        *("0.000000001", "1e-999999", f"1.{'0' * 34}1"),
    ],
)
def test_refuses_what_is_no_amount(text):
    with pytest.raises(InvalidInput):
        parse_coins(text)


@pytest.mark.parametrize(
    ("atoms", "text"),
    [
        (0, "0"),
        (1, "0.00000001"),
        (10**8, "1"),
        (123_456_789_000_000_000, "1,234,567,890"),
        (-5 * 10**7, "-0.5"),
    ],
)
def test_shows_coins(atoms, text):
    assert format_atoms(atoms) == text
