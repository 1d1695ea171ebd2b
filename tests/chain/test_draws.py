"""Targets: public draws are the same for everyone, from whatever table, and nobody is favoured."""

from dataclasses import replace
from random import Random

import pytest
from immutables import Map

from p2pai.chain import draws
from p2pai.chain.transaction import Stake
from p2pai.primitives.ids import Outpoint, TaskId
from tests.chain.ledger import MINERS, Chain, devnet, key_hash, label, public

PRICE = 10**9
BEACONS = [label("beacon", i) for i in range(1000)]


@pytest.fixture(scope="module")
def chain():
    """Twenty owners of one free ticket each, and account 7 with twenty more."""
    chain = Chain()
    sample = chain.state.tickets[chain.verifier(1)]
    extra = {
        Outpoint(label("owner", i), 0): replace(sample, owner=owner(i), role=("miner", "verifier")[i % 2])
        for i in range(20)
    }
    rich = {Outpoint(label("rich"), i): replace(sample, owner=public(7), role="evaluator") for i in range(20)}
    stakes = {ticket: Stake(PRICE, key_hash(7)) for ticket in (*extra, *rich)}
    chain.state = chain.pool = replace(
        chain.state,
        tickets=Map({**extra, **rich, chain_miner(chain): miner(chain)}),
        utxos=chain.state.utxos.update(stakes),
    )
    return chain


def owner(number):
    return b"\x02" + label("key", number)


def chain_miner(chain):
    return chain.tickets("miner", MINERS[0], task=chain.predefined)[0]


def miner(chain):
    return chain.state.tickets[chain_miner(chain)]


def validators(chain, beacon, count=5, state=None, height=9):
    params = replace(chain.params, validators=count)
    return draws.draw_validators(state or chain.state, beacon, height, params)


class TestValidators:
    def test_each_owner_has_one_ticket_at_most(self, chain):
        for beacon in BEACONS[:100]:
            drawn = validators(chain, beacon)
            owners = [chain.state.tickets[t].owner for t in drawn]
            assert len(drawn) == 5 == len(set(owners))
            assert drawn == tuple(sorted(drawn))
        assert len(validators(chain, BEACONS[0], 99)) == 22

    def test_are_the_same_from_a_table_filled_in_another_order(self, chain):
        rows = list(chain.state.tickets.items())
        for seed in range(5):
            Random(seed).shuffle(rows)
            state = replace(chain.state, tickets=Map(rows))
            assert [validators(chain, b, state=state) for b in BEACONS[:20]] == [
                validators(chain, b) for b in BEACONS[:20]
            ]

    def test_every_stake_has_the_same_chance_and_an_owner_one_seat(self, chain):
        """The owner of 20 of 41 tickets has no seat in (21 20 19 18 17) / (41 40 39 38 37) of the draws."""
        counts = {owner(i): 0 for i in range(20)} | {public(7): 0, miner(chain).owner: 0}
        for beacon in BEACONS:
            for ticket in validators(chain, beacon):
                counts[chain.state.tickets[ticket].owner] += 1
        assert sum(counts.values()) == 5000
        rich = counts.pop(public(7))
        assert abs(rich - 972.8) < 4 * 5.2
        each = (5000 - 972.8) / 21
        assert all(abs(count - each) < 4 * 12.5 for count in counts.values())

    def test_other_beacons_draw_others(self, chain):
        assert len({validators(chain, beacon) for beacon in BEACONS[:100]}) > 95

    @pytest.mark.parametrize("changes", [{"expires": 5}, {"height": 8}])
    def test_only_live_tickets_count(self, chain, changes):
        ticket = Outpoint(label("owner", 3), 0)
        changed = replace(chain.state.tickets[ticket], **changes)
        state = replace(chain.state, tickets=chain.state.tickets.set(ticket, changed))
        assert ticket in validators(chain, BEACONS[0], 99)
        assert ticket not in validators(chain, BEACONS[0], 99, state)

    def test_who_works_on_a_task_can_vote(self, chain):
        assert chain.state.tickets[chain_miner(chain)].task is not None
        assert chain_miner(chain) in validators(chain, BEACONS[0], 99)

    def test_who_has_no_stake_is_not_asked(self, chain):
        ticket = Outpoint(label("owner", 3), 0)
        state = replace(chain.state, utxos=chain.state.utxos.delete(ticket))
        assert ticket not in validators(chain, BEACONS[0], 99, state)
        assert len(validators(chain, BEACONS[0], 99, state)) == 21


class TestEvaluators:
    def draw(self, chain, beacon, state=None, task_id=None, **changes):
        state, task_id = state or chain.state, task_id or chain.predefined
        task = replace(chain.state.tasks[chain.predefined], **changes)
        state = replace(state, tasks=state.tasks.set(task_id, task))
        return draws.draw_evaluators(state, task_id, beacon, 9, chain.params)

    def test_are_as_many_as_the_task_asks_for(self, chain):
        drawn = self.draw(chain, BEACONS[0])
        assert len(drawn) == 3
        assert drawn == tuple(sorted(drawn))
        assert all(chain.state.tickets[t].role == "evaluator" for t in drawn)

    def test_are_none_of_those_before_and_nobody_expelled(self, chain):
        everyone = tuple(Outpoint(label("rich"), i) for i in range(20))
        for beacon in BEACONS[:20]:
            drawn = self.draw(chain, beacon, evaluators=everyone[:8], expelled=everyone[8:15])
            assert set(drawn) <= set(everyone[15:])

    def test_follow_from_beacon_and_task(self, chain):
        one = self.draw(chain, BEACONS[0])
        assert one == self.draw(chain, BEACONS[0])
        assert one != self.draw(chain, BEACONS[1])

    def test_two_tasks_whose_rounds_end_together_draw_apart(self, chain):
        """Or the same few would judge all of them."""
        drawn = {self.draw(chain, BEACONS[0], task_id=TaskId(label("task", i))) for i in range(20)}
        assert len(drawn) > 15
        assert len({t for some in drawn for t in some}) > 15

    def test_everyone_is_drawn_equally_often(self, chain):
        """3 of 20 in 1000 draws: 150 each, sigma 11.3."""
        counts = dict.fromkeys((Outpoint(label("rich"), i) for i in range(20)), 0)
        for beacon in BEACONS:
            for ticket in self.draw(chain, beacon):
                counts[ticket] += 1
        assert all(abs(count - 150) < 4 * 11.3 for count in counts.values())


class TestVerifiers:
    def test_are_of_other_owners_than_the_miner(self, chain):
        mine = Outpoint(label("mine"), 0)
        own = replace(miner(chain), role="verifier", task=None)
        state = replace(chain.state, tickets=chain.state.tickets.set(mine, own))
        for beacon in BEACONS[:50]:
            drawn = draws.draw_verifiers(state, beacon, chain_miner(chain), 9, chain.params)
            assert len(drawn) == 10
            assert mine not in drawn

    def test_draws_for_different_ends_are_different(self, chain):
        """One block's hash draws verifiers, validators and evaluators, none of which tells the others."""
        everyone = Chain(devnet())
        state = everyone.state
        tickets = Map({t: replace(k, task=None) for t, k in state.tickets.items()})
        state = replace(state, tickets=tickets)
        orders = set()
        for seed in BEACONS[:100]:
            validator = validators(chain, seed, 1, state)
            (verifier,) = draws.draw_verifiers(
                state, seed, chain_miner(everyone), 9, replace(chain.params, verifiers_per_block_max=1)
            )
            orders.add(state.tickets[validator[0]].owner == state.tickets[verifier].owner)
        assert orders == {True, False}
