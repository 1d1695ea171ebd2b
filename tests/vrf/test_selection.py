"""Ticket selection decides who works, so every node must decide alike.

* the exact rule against the plain formula in high precision, an oracle that shares no code with the module;
* the edge of the rule, one step on either side;
* every malformed input is refused with the right error;
* the distribution: a ticket is selected as often as its cosine and omega say;
* the order of ranks against the oracle.
"""

from decimal import Decimal, localcontext
from hashlib import sha512

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from p2pai.primitives.errors import InvalidTicket
from p2pai.primitives.ids import Outpoint
from p2pai.vrf import ecvrf
from p2pai.vrf.selection import (
    DRAW_BITS,
    TRAIT_COUNT_MAX,
    TRAIT_VALUE_MAX,
    alpha,
    check_traits,
    draw_of,
    is_selected,
    rank,
)

DRAW_MAX = 2**DRAW_BITS - 1
BLOCK, TASK = bytes(31) + b"\x01", bytes(31) + b"\x02"
TICKET = Outpoint(bytes(31) + b"\x03", 4)

trait_values = st.integers(0, TRAIT_VALUE_MAX)
trait_pairs = st.lists(st.tuples(trait_values, trait_values), min_size=1, max_size=TRAIT_COUNT_MAX)
draws = st.integers(0, DRAW_MAX)
omegas = st.tuples(st.integers(0, 2**64), st.integers(1, 2**64))

MALFORMED = [
    ((), ()),
    ((0, 0), (1, 1)),
    ((1, 1), (0, 0)),
    ((1, 2, 3), (1, 2)),
    ((-1, 2), (1, 2)),
    ((TRAIT_VALUE_MAX + 1,), (1,)),
    ((1,) * (TRAIT_COUNT_MAX + 1), (1,) * (TRAIT_COUNT_MAX + 1)),
]


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return Decimal(dot) / (Decimal(sum(x * x for x in a)) * Decimal(sum(y * y for y in b))).sqrt()


@given(trait_pairs, draws, omegas)
def test_agrees_with_the_formula_of_the_paper(pairs, draw, omega):
    a, b = (tuple(column) for column in zip(*pairs, strict=True))
    assume(any(a) and any(b))
    with localcontext() as context:
        context.prec = 400
        margin = cosine(a, b) - Decimal(omega[0]) / omega[1] * Decimal(draw) / Decimal(2**DRAW_BITS)
        assume(abs(margin) > Decimal(10) ** -300)  # the oracle rounds; the module does not
        assert is_selected(a, b, draw, omega) == (margin > 0)


def test_equality_selects_and_one_step_beyond_does_not():
    # cos((3, 4), (4, 3)) is exactly 24/25, so with omega 48/25 the edge is u = 1/2.
    edge = 2 ** (DRAW_BITS - 1)
    assert is_selected((3, 4), (4, 3), edge, (48, 25))
    assert not is_selected((3, 4), (4, 3), edge + 1, (48, 25))


@given(draws, st.integers(1, TRAIT_VALUE_MAX))
def test_a_parallel_ticket_is_always_selected(draw, scale):
    assert is_selected((0, 1, 0), (0, scale, 0), draw)


def test_omega_zero_selects_everyone_and_a_large_one_hardly_anyone():
    assert is_selected((1, 0), (0, 1), DRAW_MAX, (0, 1))
    assert not is_selected((1, 1), (1, 1), 2**12, (2**DRAW_BITS, 1))


def test_an_orthogonal_ticket_needs_a_draw_of_zero():
    assert is_selected((1, 0), (0, 1), 0)
    assert not is_selected((1, 0), (0, 1), 1)


@pytest.mark.parametrize(("preferences", "requirements"), MALFORMED)
def test_malformed_traits_are_the_senders_fault(preferences, requirements):
    for act in (is_selected, rank):
        with pytest.raises(InvalidTicket):
            act(preferences, requirements, 0)


def test_the_limits_of_traits_are_allowed():
    check_traits((TRAIT_VALUE_MAX,) * TRAIT_COUNT_MAX)
    check_traits((0, 1))
    for traits in ((), (0,), (TRAIT_VALUE_MAX + 1,), (-1,), (1,) * (TRAIT_COUNT_MAX + 1)):
        with pytest.raises(InvalidTicket):
            check_traits(traits)


@pytest.mark.parametrize(("draw", "omega"), [(-1, (1, 1)), (DRAW_MAX + 1, (1, 1)), (0, (-1, 1)), (0, (1, 0))])
def test_a_draw_or_omega_out_of_range_is_our_own_fault(draw, omega):
    with pytest.raises(AssertionError):
        is_selected((1,), (1,), draw, omega)


def hashed_draws(count):
    return [int.from_bytes(sha512(b"draw" + i.to_bytes(2, "big")).digest(), "big") for i in range(count)]


@pytest.mark.parametrize(("omega", "expected"), [((1, 1), 7071), ((2, 1), 3536), ((1, 2), 10_000)])
def test_selected_as_often_as_cosine_and_omega_say(omega, expected):
    # cos((1, 1), (1, 0)) = 0.7071; of 10,000 draws at p = 0.7071 one sigma is 45.5, at 0.3536 it is 47.8.
    hits = sum(is_selected((1, 1), (1, 0), draw, omega) for draw in hashed_draws(10_000))
    assert abs(hits - expected) < 4 * 48
    assert expected < 10_000 or hits == 10_000


tickets = st.tuples(
    st.tuples(trait_values, trait_values, trait_values).filter(any),
    draws,
)


@given(st.lists(tickets, min_size=2, max_size=6))
def test_ranks_order_by_draw_over_cosine(entries):
    requirements = (3, 1, 2)
    with localcontext() as context:
        context.prec = 400
        ratios = [Decimal(draw) / cosine(traits, requirements) for traits, draw in entries]
    ranks = [rank(traits, requirements, draw) for traits, draw in entries]
    for i, left in enumerate(ratios):
        for j, right in enumerate(ratios):
            if abs(left - right) > (left + right) * Decimal(10) ** -300:
                assert (ranks[i] < ranks[j]) == (left < right)


def test_equal_ratios_have_equal_ranks_and_orthogonal_tickets_come_last():
    # cos((3, 4), (1, 0)) = 3/5 and cos((4, 3), (1, 0)) = 4/5.
    assert rank((3, 4), (1, 0), 3 * 7) == rank((4, 3), (1, 0), 4 * 7) == rank((30, 40), (2, 0), 3 * 7)
    assert rank((3, 4), (1, 0), DRAW_MAX) < rank((0, 1), (1, 0), 0) < rank((0, 1), (1, 0), 1)


def test_alpha_differs_by_each_of_its_parts():
    base = (BLOCK, TASK, "miner", TICKET)
    others = [
        (TASK, TASK, "miner", TICKET),
        (BLOCK, BLOCK, "miner", TICKET),
        (BLOCK, TASK, "supervisor", TICKET),
        (BLOCK, TASK, "miner", Outpoint(TICKET.txid, 5)),
        (BLOCK, TASK, "miner", Outpoint(BLOCK, 4)),
    ]
    assert len({alpha(*parts) for parts in [base, *others]}) == 6
    assert len(alpha(*base)) == 32


def test_a_draw_end_to_end():
    secret = bytes(32)
    question = alpha(BLOCK, TASK, "miner", TICKET)
    beta = ecvrf.verify(ecvrf.public_key(secret), question, ecvrf.prove(secret, question))
    assert 0 <= draw_of(beta) <= DRAW_MAX
    assert is_selected((1, 2), (1, 2), draw_of(beta))
    assert draw_of(b"\x80" + bytes(63)) == 2 ** (DRAW_BITS - 1)
    with pytest.raises(AssertionError):
        draw_of(beta[:32])
