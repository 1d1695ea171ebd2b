"""Ticket selection decides who works, so every node must decide alike.

* the exact rule against the plain formula in high precision, an oracle that shares no code with the module;
* the edge of the rule, one step on either side;
* every malformed input is refused with the right error;
* the distribution: a ticket is selected as often as its cosine and omega say;
* the order of ranks against the oracle;
* omega against its definition in exact fractions, and by what it does: half as many again are drawn, each as
  often as its cosine says, two tickets of one key independently.
"""

from decimal import ROUND_FLOOR, Decimal, localcontext
from fractions import Fraction
from hashlib import sha512
from math import sqrt

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from p2pai.primitives.errors import InvalidTicket
from p2pai.primitives.hashing import tagged_hash
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
    omega,
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


def fixed_point(traits, requirements):
    """Return a similarity as omega is derived from it: in units of 2^-32, rounded down, by decimals."""
    with localcontext() as context:
        context.prec = 80
        exact = cosine(traits, requirements) * 2**32
        # The oracle errs by less than this where the root is rational; nothing else is so near to an integer.
        return Fraction(int((exact + Decimal(10) ** -60).to_integral_value(ROUND_FLOOR)), 2**32)


def passing(similarities, value):
    """Return the expected number of tickets that are drawn: the sum of min(1, s / omega)."""
    return sum(min(Fraction(1), s / value) for s in similarities)


requirement_vectors = st.tuples(trait_values, trait_values, trait_values).filter(any)
populations = st.lists(requirement_vectors, max_size=40)


class TestOmega:
    @given(populations, requirement_vectors, st.integers(1, 30))
    def test_is_where_half_as_many_again_pass_exactly(self, tickets, requirements, wanted):
        numerator, denominator = omega(tickets, requirements, wanted)
        near = [s for t in tickets if (s := fixed_point(t, requirements))]
        value, goal = Fraction(numerator, denominator), Fraction(3 * wanted, 2)
        if len(near) >= goal:
            assert passing(near, value) == goal  # decreasing in omega, so there is no other
        else:
            assert passing(near, value) == len(near)
            assert value == Fraction(1, 2**32)

    @given(
        populations.filter(bool), requirement_vectors, st.integers(1, 30), st.randoms(use_true_random=False)
    )
    def test_does_not_depend_on_the_order_of_tickets(self, tickets, requirements, wanted, random):
        shuffled = list(tickets)
        random.shuffle(shuffled)
        assert omega(shuffled, requirements, wanted) == omega(tickets, requirements, wanted)

    @pytest.mark.parametrize(
        ("tickets", "wanted", "expected"),
        [
            ([(1, 0)] * 12, 4, Fraction(2)),
            ([(1, 0)] * 6, 4, Fraction(1)),
            ([(1, 0)] * 5, 4, Fraction(1, 2**32)),
            ([], 4, Fraction(1, 2**32)),
            ([(0, 1)] * 50, 4, Fraction(1, 2**32)),
            ([(1, 0)] * 12 + [(0, 1)] * 50, 4, Fraction(2)),
            # Six parallel ones and ten at 3/5: as 6 + 10 * 0.6 is twice 6, omega is 2.
            ([(1, 0)] * 6 + [(3, 4)] * 10, 4, Fraction(6 + 10 * fixed_point((3, 4), (1, 0))) / 6),
            # Two parallel ones are sure to pass; ten at about 1/20 share the one place that is left.
            ([(1, 0)] * 2 + [(1, 20)] * 10, 2, 10 * fixed_point((1, 20), (1, 0))),
        ],
    )
    def test_of_plain_cases(self, tickets, wanted, expected):
        assert Fraction(*omega(tickets, (1, 0), wanted)) == expected

    def test_fits_the_records_of_the_ledger(self):
        parts = omega([(65_535,) * 64] * 50_000, (65_535,) * 64, 256)
        assert all(0 < part < 2**64 for part in parts)


REQUIREMENTS = (4, 3)
CLASSES = {(4, 3): 100, (1, 0): 80, (0, 1): 60, (1, 24): 40, (24, 1): 20}
"""Preferences and how many tickets have them; cosines 1, 0.8, 0.6, 0.632 and 0.824."""
ORTHOGONAL = 30
TRIALS = 400


def seeded_draw(trial, ticket):
    return int.from_bytes(sha512(b"omega %d %d" % (trial, ticket)).digest(), "big")


@pytest.mark.parametrize("wanted", [5, 60, 180])
def test_half_as_many_again_are_drawn_and_each_class_as_its_cosine_says(wanted):
    """300 tickets, 400 tasks. Where 1.5 x wanted is 270 of 300, the near ones are sure to pass."""
    tickets = [traits for traits, count in CLASSES.items() for _ in range(count)]
    rule = omega(tickets, REQUIREMENTS, wanted)
    drawn = dict.fromkeys(CLASSES, 0)
    for trial in range(TRIALS):
        for number, traits in enumerate(tickets):
            drawn[traits] += is_selected(traits, REQUIREMENTS, seeded_draw(trial, number), rule)
    value = Fraction(*rule)
    chances = {c: float(min(Fraction(1), fixed_point(c, REQUIREMENTS) / value)) for c in CLASSES}
    variances = {c: TRIALS * CLASSES[c] * p * (1 - p) for c, p in chances.items()}
    for traits, count in drawn.items():
        expected = TRIALS * CLASSES[traits] * chances[traits]
        assert abs(count - expected) <= 4 * sqrt(variances[traits])  # binomial; sigma 0 where all pass
    total = sum(drawn.values())
    assert abs(total - TRIALS * 1.5 * wanted) <= 4 * sqrt(sum(variances.values()))  # at 5: 3000 +- 4 * 54


def test_too_few_tickets_all_pass_but_orthogonal_ones_never():
    tickets = [(1, 0)] * 4 + [(1, 100)] * 3 + [(0, 1)] * ORTHOGONAL
    rule = omega(tickets, (1, 0), 5)
    for trial in range(50):
        passed = [is_selected(t, (1, 0), seeded_draw(trial, n), rule) for n, t in enumerate(tickets)]
        assert passed == [True] * 7 + [False] * ORTHOGONAL


def test_orthogonal_tickets_do_not_change_who_is_drawn():
    near = [(1, 0)] * 10 + [(3, 4)] * 10
    assert omega(near + [(0, 1)] * 1000, (1, 0), 4) == omega(near, (1, 0), 4)


def test_two_tickets_of_one_key_draw_independently():
    """Real draws of one key for two tickets on 800 tasks, in a table of 4 x 4 quarters.

    Chi-square with 9 degrees of freedom: mean 9, sigma 4.24. Correlation of uniform pairs: sigma 800^-0.5.
    """
    secret, tasks = tagged_hash("test/key"), 800
    pairs = []
    for number in range(tasks):
        task = tagged_hash("test/task", number.to_bytes(4, "big"))
        outpoints = (TICKET, Outpoint(TICKET.txid, TICKET.position + 1))
        questions = [alpha(BLOCK, task, "miner", ticket) for ticket in outpoints]
        draws_ = [draw_of(ecvrf.output(ecvrf.prove(secret, question))) for question in questions]
        pairs.append(tuple(draw / 2**DRAW_BITS for draw in draws_))
    table = [[0] * 4 for _ in range(4)]
    for u, v in pairs:
        table[int(4 * u)][int(4 * v)] += 1
    rows, columns = [sum(row) for row in table], [sum(column) for column in zip(*table, strict=True)]
    chi_square = sum(
        (table[i][j] - rows[i] * columns[j] / tasks) ** 2 / (rows[i] * columns[j] / tasks)
        for i in range(4)
        for j in range(4)
    )
    assert chi_square < 9 + 4 * 4.24
    correlation = 12 * sum((u - 0.5) * (v - 0.5) for u, v in pairs) / tasks
    assert abs(correlation) < 4 / sqrt(tasks)
    both = sum(u < 0.5 and v < 0.5 for u, v in pairs)  # 200 expected, sigma sqrt(800 * 3/16) = 12.2
    assert abs(both - 200) < 4 * 12.25
