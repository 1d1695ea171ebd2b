"""Target: what every role does alike: salts, tickets to be drawn by, applications for tasks that drew one."""

from dataclasses import replace

import pytest

from p2pai.chain.state import Stage
from p2pai.chain.transaction import BuyTickets, JoinTask, Stake
from p2pai.primitives.ids import PeerId, TaskId
from p2pai.roles.base import Identity
from tests.chain.ledger import Chain, devnet, key_hash, keys, label, public
from tests.roles.lone import Lone

FREE = 7
"""An account without tickets."""


@pytest.fixture
def chain():
    return Chain()


class TestIdentity:
    def test_its_public_half_is_that_of_the_ledger(self):
        identity = Identity.of(keys(3), PeerId("me"))
        assert (identity.public, identity.key_hash, identity.peer) == (public(3), key_hash(3), "me")

    def test_a_salt_is_the_same_after_a_restart_and_for_nobody_else(self):
        salts = [
            Identity.of(keys(account), PeerId(peer)).salt(*parts)
            for account, peer, parts in (
                (1, "a", (b"verdict", b"block")),
                (1, "b", (b"verdict", b"block")),
                (2, "a", (b"verdict", b"block")),
                (1, "a", (b"verdict", b"other")),
                (1, "a", (b"conclusion", b"block")),
            )
        ]
        assert salts[0] == salts[1]
        assert len(dict.fromkeys(salts)) == 4


class TestKeepTicket:
    @pytest.mark.parametrize("role", ["miner", "supervisor", "evaluator", "verifier"])
    def test_who_has_none_buys_one(self, chain, role):
        lone = Lone(chain, FREE, (role,))
        (tx,) = lone.posted(BuyTickets)
        assert (tx.data.role, tx.data.peer, tx.data.preferences) == (role, "peer7", (1, 1))
        price = chain.params.ticket_price_atoms
        assert [o for o in tx.outputs if isinstance(o, Stake)] == [Stake(price, key_hash(FREE))]
        lone.hand_over()
        lone.mine()
        assert [ticket.height for _, ticket in lone.role().tickets()] == [1]

    def test_it_stakes_the_price_of_the_next_block(self):
        spec = devnet()
        params = replace(spec.params, ticket_window_blocks=2, ticket_pool_target=3)
        chain = Chain(replace(spec, params=params))
        chain.mine_until(3)
        assert chain.state.ticket_price > chain.params.ticket_price_atoms
        (tx,) = Lone(chain, FREE, ("miner",)).posted(BuyTickets)
        assert tx.outputs[0] == Stake(chain.state.ticket_price, key_hash(FREE))

    def test_one_is_enough_while_it_waits_and_after(self, chain):
        lone = Lone(chain, FREE, ("miner",))
        lone.wait(5_000)
        lone.hand_over()
        for _ in range(3):
            lone.mine()
        lone.wait(5_000)
        assert len(lone.posted(BuyTickets)) == 1

    @pytest.mark.parametrize(("account", "role"), [(1, "verifier"), (1, "evaluator"), (4, "miner")])
    def test_who_has_a_free_one_buys_none(self, chain, account, role):
        lone = Lone(chain, account, (role,))
        lone.mine()
        assert lone.posted(BuyTickets) == []

    def test_each_role_has_its_own(self, chain):
        lone = Lone(chain, FREE, ("miner", "verifier"))
        lone.wait(1_000)
        assert sorted(tx.data.role for tx in lone.posted(BuyTickets)) == ["miner", "verifier"]

    def test_when_a_task_took_it_another_is_bought(self, chain):
        task = chain.submit()
        lone = Lone(chain, 4, ("miner",))
        assert lone.posted(BuyTickets) == [], "there is a free one, and it applies"
        lone.hand_over()
        assert chain.tickets("miner", 4, task=task)
        lone.mine()
        assert len(lone.posted(BuyTickets)) == 1

    def test_who_cannot_pay_goes_on_without(self, chain):
        rich = tuple(a for a in chain.spec.allocations if a.key_hash != key_hash(FREE))
        lone = Lone(Chain(replace(chain.spec, allocations=rich)), FREE, ("miner",))
        lone.mine()
        assert lone.posted(object) == []

    def test_all_traits_count_alike(self):
        spec = Chain().spec
        task = replace(spec.tasks[0], preferences=(1, 2, 3))
        traits = tuple(replace(b, ticket=replace(b.ticket, preferences=(1, 1, 1))) for b in spec.tickets)
        params = replace(spec.params, trait_count=3)
        other = replace(spec, tasks=(task,), tickets=traits, params=params)
        lone = Lone(Chain(other), FREE, ("verifier",))
        assert [tx.data.preferences for tx in lone.posted(BuyTickets)] == [(1, 1, 1)]
        lone.hand_over()
        lone.mine()
        assert len(lone.role().tickets()) == 1


class TestApplying:
    @pytest.mark.parametrize(("account", "role"), [(1, "supervisor"), (1, "evaluator"), (4, "miner")])
    def test_a_drawn_ticket_applies_and_the_ledger_accepts(self, chain, account, role):
        lone = Lone(chain, account, (role,))
        assert lone.posted(JoinTask) == []
        task = chain.submit()
        lone.connect(chain.blocks[-1])
        (tx,) = lone.posted(JoinTask)
        assert tx.data.task == task
        assert tx.data.ticket in dict(lone.role().tickets())
        lone.hand_over()
        assert [j.role for j in chain.task(task).joins] == [role]

    def test_it_applies_once(self, chain):
        lone = Lone(chain, 4, ("miner",))
        chain.submit()
        lone.connect(chain.blocks[-1])
        lone.wait(5_000)
        lone.hand_over()
        lone.mine()
        lone.wait(5_000)
        assert len(lone.posted(JoinTask)) == 1

    def test_one_ticket_applies_for_one_of_two_tasks(self, chain):
        lone = Lone(chain, 4, ("miner",))
        for name in ("one", "two"):
            chain.submit(name=name)
            lone.connect(chain.blocks[-1])
        assert len(lone.posted(JoinTask)) == 1

    @pytest.mark.parametrize("age", [0, 1, 2, 3])
    def test_only_a_ticket_that_was_mature_at_the_submission_applies(self, chain, age):
        lone = Lone(chain, FREE, ("miner",))
        lone.hand_over()
        lone.mine()
        for _ in range(age):
            lone.mine()
        task = chain.submit()
        lone.connect(chain.blocks[-1])
        bought, since = 1, chain.task(task).since
        mature = bought + chain.params.ticket_maturity_blocks <= since
        assert len(lone.posted(JoinTask)) == mature
        lone.hand_over()
        assert len(chain.task(task).joins) == mature

    def test_a_ticket_that_was_not_drawn_does_not_apply(self, chain):
        # Orthogonal wishes: only a draw of exactly zero would pass.
        tickets = tuple(replace(b, ticket=replace(b.ticket, preferences=(1, 0))) for b in chain.spec.tickets)
        chain = Chain(replace(chain.spec, tickets=tickets))
        lone = Lone(chain, 4, ("miner",))
        chain.submit(preferences=(0, 1))
        lone.connect(chain.blocks[-1])
        assert lone.posted(JoinTask) == []

    def test_one_ticket_of_a_role_is_enough(self, chain):
        chain.add(chain.buy(4, "miner", count=3))
        chain.mine()
        chain.mine_until(chain.height + chain.params.ticket_maturity_blocks)
        lone = Lone(chain, 4, ("miner",))
        task = chain.submit(preferences=(1, 1))
        lone.connect(chain.blocks[-1])
        assert len([tx for tx in lone.posted(JoinTask) if tx.data.task == task]) == 1
        lone.wait(5_000)
        assert len([tx for tx in lone.posted(JoinTask) if tx.data.task == task]) == 1

    def test_nobody_applies_when_the_applications_are_closed(self, chain):
        task = chain.submit()
        chain.begin(task)
        lone = Lone(chain, 4, ("miner",))
        assert lone.posted(JoinTask) == []


class TestRole:
    def test_it_knows_its_own_tickets_alone(self, chain):
        lone = Lone(chain, 4, ("miner",))
        tickets = lone.role().tickets()
        assert len(tickets) == 2
        assert all(t.role == "miner" and t.owner == public(4) for _, t in tickets)
        assert tickets == sorted(tickets)

    def test_the_stage_of_a_task_that_is_not_there_is_none(self, chain):
        lone = Lone(chain, 4, ("miner",))
        assert lone.role().stage(chain.predefined) is Stage.TRAINING
        assert lone.role().stage(TaskId(label("nothing"))) is None
