"""Targets: a choice pays what is wanted and the fee at the rate; no coin too many, no dust; an exact sum is
found where there is one; the same coins give the same choice.
"""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.node import coin_selection
from p2pai.node.coin_selection import Coin, Costs, choose
from p2pai.primitives.ids import Outpoint

COSTS = Costs(base=100, coin=150, change=40, coins_max=256)
FREE = Costs(0, 0, 0, 256)


def purse(*values):
    return [Coin(value, Outpoint(bytes(32), place)) for place, value in enumerate(values)]


def values(choice):
    return [coin.value for coin in choice.coins]


def fee(choice, wanted):
    return sum(values(choice)) - wanted - choice.change


def cost(choice, costs):
    return costs.base + costs.coin * len(choice.coins) + (costs.change if choice.change else 0)


COINS = st.lists(st.integers(1, 5_000), max_size=12).map(lambda v: purse(*v))
AMOUNTS = st.integers(0, 20_000)
RATES = st.builds(Costs, st.integers(0, 500), st.integers(0, 300), st.integers(0, 100), st.just(12))


@settings(max_examples=250)
@given(COINS, AMOUNTS, RATES)
def test_a_choice_pays_and_no_more(coins_, wanted, costs):
    choice = choose(coins_, wanted, costs)
    useful = [coin for coin in coins_ if coin.value > costs.coin]
    enough = sum(coin.value - costs.coin for coin in useful) >= wanted + costs.base and useful
    if not enough:
        assert choice is None
        return
    assert len(set(choice.coins)) == len(choice.coins)
    assert set(choice.coins) <= set(useful)
    # The fee is what the rate asks for, and at most a change that was not worth making.
    assert (
        cost(choice, costs)
        <= fee(choice, wanted)
        < cost(choice, costs) + costs.change + max(costs.change_min, costs.coin, 1) + 1
    )
    assert choice.change == 0 or choice.change >= costs.change_min
    # Without any one of them it would not have been enough.
    if len(choice.coins) > 1:
        smallest = min(values(choice)) - costs.coin
        assert sum(values(choice)) - len(choice.coins) * costs.coin - smallest < wanted + costs.base


@settings(max_examples=150)
@given(COINS, AMOUNTS, RATES, st.randoms(use_true_random=False))
def test_the_order_of_the_coins_does_not_matter(coins_, wanted, costs, dice):
    first = choose(coins_, wanted, costs)
    shuffled = list(coins_)
    dice.shuffle(shuffled)
    assert choose(shuffled, wanted, costs) == first


@settings(max_examples=150)
@given(COINS, AMOUNTS)
def test_the_best_exact_sum_is_found_where_there_is_one(coins_, wanted):
    """Against all subsets, so against a search without any shortcut."""
    slack = COSTS.change + COSTS.coin
    sums = {
        sum(coin.value - COSTS.coin for coin in some)
        for count in range(1, len(coins_) + 1)
        for some in combinations([c for c in coins_ if c.value > COSTS.coin], count)
    }
    target = wanted + COSTS.base
    exact = min((s for s in sums if target <= s <= target + slack), default=None)
    choice = choose(coins_, wanted, COSTS)
    if exact is not None:
        assert choice.change == 0
        assert sum(values(choice)) - COSTS.coin * len(choice.coins) == exact


def test_change_that_costs_more_than_it_is_worth_is_left_to_the_fee():
    for rest in range(200, COSTS.change + COSTS.change_min):
        choice = choose(purse(5_000), 5_000 - 250 - rest, COSTS)
        assert (choice.change, fee(choice, 5_000 - 250 - rest)) == (0, 250 + rest)
    rest = COSTS.change + COSTS.change_min
    assert choose(purse(5_000), 5_000 - 250 - rest, COSTS).change == COSTS.change_min


def test_one_coin_that_is_enough_is_the_smallest():
    assert values(choose(purse(9_000, 4_000, 6_000, 30_000), 5_000, FREE)) == [6_000]


def test_the_fewest_coins_are_taken():
    assert values(choose(purse(*[10] * 50, 400, 300, 200), 605, FREE)) == [400, 300]


def test_a_coin_that_is_not_worth_its_fee_stays():
    assert choose(purse(*[COSTS.coin] * 10), 1, COSTS) is None
    assert values(choose(purse(150, 151, 9_000), 100, COSTS)) == [9_000]


def test_no_more_coins_than_a_transaction_takes():
    assert len(choose(purse(*[10] * 300), 10 * 256, FREE).coins) == 256
    assert choose(purse(*[10] * 300), 10 * 256 + 1, FREE) is None


@pytest.mark.parametrize("wanted", [1, 4_999_999, 123_456_789])
def test_many_coins_are_searched_for_a_bounded_time(wanted, monkeypatch):
    """Odd sums of even coins: no exact sum exists, and all subsets can't be tried."""
    steps = []
    monkeypatch.setattr(coin_selection, "_is_new", lambda *found: steps.append(1) or True)
    choice = choose(purse(*(2 * n for n in range(5_000, 7_000))), wanted, FREE)
    assert len(steps) <= coin_selection.STEPS_MAX
    assert choice is None or sum(values(choice)) >= wanted
