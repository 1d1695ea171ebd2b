"""Targets: the price of tickets, against DCP-0001's sixteen published chains, and on the ledger."""

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain import transition
from p2pai.chain.ticket_price import next_price, pool_size
from p2pai.chain.transaction import Stake
from p2pai.primitives.errors import InvalidTicket
from tests.chain.ledger import Chain, devnet, key_hash, refused

PUBLISHED = Path(__file__).parents[3] / "shared/vectors/decred/dcp0001_stake_difficulty.json"
VECTORS = json.loads(PUBLISHED.read_text()) if PUBLISHED.exists() else {"vectors": [], "params": {}}

COIN = 10**8
LEAST = 10 * COIN

DECRED = {
    "min_stake_diff": 200_000_000,
    "ticket_maturity": 256,
    "stake_validation_height": 4_096,
    "interval": 144,
    "votes_per_block": 5,
    "ticket_pool_size": 8_192,
    "coinbase_maturity": 256,
    "base_subsidy": 3_119_582_664,
    "mul": 100,
    "div": 101,
    "reduction_interval": 6_144,
    "block_one_subsidy": 168_000_000_000_000,
}
"""Decred's main network. Source: dcrd, chaincfg."""


class Decred:
    """Decred's ledger as far as its price looks: tickets bought, matured and voted with.

    Source: dcrd, internal/blockchain/difficulty_test.go, TestCalcNextRequiredStakeDiffV2.
    """

    def __init__(self, params):
        self.params = params
        self.prices, self.bought, self.pools = [params["min_stake_diff"]], [0], [0]
        self._maturing = defaultdict(int)
        self._pool = 0

    def grow(self, blocks, tickets):
        for _ in range(blocks):
            height = len(self.prices)
            self.prices.append(self.price())
            self.bought.append(tickets)
            self.pools.append(self._pool)
            self._pool += self._maturing[height]
            if height >= self.params["stake_validation_height"]:
                self._pool -= self.params["votes_per_block"]
            self._maturing[height + self.params["ticket_maturity"]] = tickets

    def price(self):
        """Return the price of the next block."""
        p, height = self.params, len(self.prices)
        if height <= p["coinbase_maturity"] or height % p["interval"]:
            return self.prices[-1]
        return next_price(
            self.prices[-1],
            self._all(height - 1 - p["interval"]),
            self._all(height - 1),
            target=p["votes_per_block"] * (p["ticket_pool_size"] + p["ticket_maturity"]),
            least_atoms=p["min_stake_diff"],
            most_atoms=self._supply(height) // p["ticket_pool_size"],
        )

    def _all(self, height):
        if height < 0:
            return 0
        first = max(0, height + 1 - self.params["ticket_maturity"])
        return self.pools[height] + sum(self.bought[first : height + 1])

    def _supply(self, height):
        p = self.params
        supply, subsidy = p["block_one_subsidy"], p["base_subsidy"]
        for _ in range(height // p["reduction_interval"]):
            supply += p["reduction_interval"] * subsidy
            subsidy = subsidy * p["mul"] // p["div"]
        supply += (1 + height % p["reduction_interval"]) * subsidy
        return supply - 2 * p["base_subsidy"]


def follow(params, runs):
    chain = Decred(params)
    for blocks, tickets, price in runs:
        assert chain.price() == price
        chain.grow(blocks, tickets)
    return chain.price()


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: v["name"])
def test_published_chain(vector):
    assert vector["runs"]
    assert follow(VECTORS["params"], vector["runs"]) == vector["expected"]


@pytest.mark.skipif(not PUBLISHED.exists(), reason="published vectors are not here")
def test_all_published_chains_are_here():
    assert len(VECTORS["vectors"]) == 16
    assert VECTORS["params"] == DECRED


def test_a_published_chain_that_reaches_the_highest_price():
    # Source: dcrd, difficulty_test.go, "31st retarget interval, waning demand".
    full = [(256, 0, 200000000), (2047, 20, 200000000)]
    prices = [208418769, 231326567, 272451490, 339388424, 445827839, 615949254, 892862990, 1354989669]
    full += [(144, 20, price) for price in (*prices, 2148473276, 3552797658)]
    waning = [(144, 13, 6116808441), (144, 0, 10645659768), (144, 0, 18046712136)]
    highest = [(144, 0, 22097687698), (144, 0, 22152524112)]
    assert follow(DECRED, [*full, *waning, *highest]) == 22207360526


@pytest.mark.parametrize(
    ("price", "before", "pool", "expected"),
    [
        (LEAST, 0, 500, LEAST),
        (70 * COIN, 0, 0, 70 * COIN),  # as it was, even where nothing waits
        (20 * COIN, 100, 100, 20 * COIN),
        (20 * COIN, 100, 200, 80 * COIN),  # twice the change, twice the distance
        (20 * COIN, 50, 100, 40 * COIN),
        (20 * COIN, 100, 50, LEAST),
        (20 * COIN, 100, 0, LEAST),
        (900 * COIN, 100, 200, 1_000 * COIN),
        (1_234_567_891, 7, 97, 1_234_567_891 * 97 * 97 // 7 // 100),
    ],
)
def test_both_ratios_move_the_price_between_its_bounds(price, before, pool, expected):
    got = next_price(price, before, pool, target=100, least_atoms=LEAST, most_atoms=1_000 * COIN)
    assert got == expected


def test_the_least_price_has_the_last_word():
    assert next_price(LEAST, 5, 5, target=5, least_atoms=LEAST, most_atoms=COIN) == LEAST


@given(st.integers(LEAST, 10**15), st.integers(1, 10**6), st.integers(0, 10**6), st.integers(1, 10**5))
def test_more_demand_is_never_cheaper(price, before, pool, target):
    def at(size):
        return next_price(price, before, size, target=target, least_atoms=LEAST, most_atoms=10**15)

    assert LEAST <= at(pool) <= at(pool + 1) <= 10**15


@pytest.mark.parametrize("changes", [{"price": 0}, {"pool": -1}, {"target": 0}, {"least_atoms": 0}])
def test_nonsense_is_our_own_fault(changes):
    names = ("price", "pool_before", "pool", "target", "least_atoms", "most_atoms")
    with pytest.raises(AssertionError):
        next_price(**{**dict.fromkeys(names, 1), **changes})


FREE = 12
"""Bootstrap tickets of the devnet that wait."""


def crowded(target=10):
    """A chain with a new price every three blocks, which aims at fewer tickets than there are."""
    spec = devnet()
    params = replace(spec.params, ticket_window_blocks=3, ticket_pool_target=target)
    return Chain(replace(spec, params=params))


class TestOnTheLedger:
    def test_the_first_price_is_the_least_one(self):
        chain = crowded()
        assert (chain.state.ticket_price, chain.state.ticket_pool) == (LEAST, 0)
        chain.mine_until(2)
        assert (chain.state.ticket_price, chain.state.ticket_pool) == (LEAST, FREE)

    def test_it_follows_the_pool_at_the_end_of_each_window(self):
        chain = crowded()
        chain.mine_until(3)
        chain.add(chain.buy(7, count=8))
        chain.mine()
        assert pool_size(chain.state, 5) == FREE + 8, "immature ones count"
        assert chain.state.ticket_price == LEAST, "the window is not over"
        chain.mine()
        first = LEAST * 20 * 20 // FREE // 10
        assert (chain.state.ticket_price, chain.state.ticket_pool) == (first, 20)
        chain.mine_until(8)
        assert chain.state.ticket_price == first * 20 * 20 // 20 // 10

    def test_tickets_that_work_are_not_in_the_pool(self):
        chain = crowded()
        assert len(chain.state.tickets) == FREE + 6
        chain.start()
        assert pool_size(chain.state, chain.height + 1) == FREE - 9

    def test_expired_tickets_are_not_in_the_pool(self):
        spec = devnet()
        chain = Chain(replace(spec, params=replace(spec.params, ticket_expiry_blocks=1)))
        chain.add(chain.buy(7, count=3))
        chain.mine()
        last = chain.height + chain.params.ticket_maturity_blocks
        assert pool_size(chain.state, last) == FREE + 3
        assert pool_size(chain.state, last + 1) == FREE

    def test_all_coins_would_buy_the_target(self):
        chain = crowded(target=1)
        chain.mine_until(5)
        assert chain.state.issued - chain.state.burned > LEAST * FREE
        for _ in range(5):
            chain.mine_until(chain.height + 3)
        assert chain.state.ticket_price == chain.state.issued - chain.state.burned

    def test_a_ticket_costs_the_price_due_at_its_block(self):
        chain = crowded()
        chain.mine_until(3)
        chain.add(chain.buy(7, count=8))
        early = chain.buy(8)
        transition.apply_transaction(chain.pool, early, chain.params)
        chain.mine_until(5)
        due = chain.state.ticket_price
        assert due > LEAST
        with pytest.raises(InvalidTicket, match=f"a ticket costs {due} atoms"):
            transition.apply_transaction(chain.pool, early, chain.params)
        refused(chain, chain.draft(transactions=(early,)), f"a ticket costs {due} atoms")
        tx = chain.add(chain.buy(8))
        assert tx.outputs[0] == Stake(due, key_hash(8))
        chain.mine()
        assert len(chain.tickets("miner", 8)) == 1
        chain.check_supply()
