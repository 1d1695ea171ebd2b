"""Targets: a ticket costs its stake, works once, and only a proven draw made after the task lets it apply."""

from dataclasses import replace
from fractions import Fraction
from math import sqrt

import pytest

from p2pai.chain import tickets, transition
from p2pai.chain.coins import is_locked
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.state import Stage
from p2pai.chain.task import Group
from p2pai.chain.transaction import CollectVerifications, Pay, PayForTask, Stake
from p2pai.primitives import bls
from p2pai.primitives.errors import InvalidInput, InvalidProof, InvalidTicket, InvalidTransaction
from p2pai.primitives.ids import ZERO_HASH, Outpoint, TaskId
from p2pai.vrf import ecvrf, selection
from tests.chain.ledger import (
    CLIENT,
    MINERS,
    VERIFIERS,
    Chain,
    definition,
    devnet,
    flip,
    key_hash,
    keys,
    label,
    public,
    refused,
)

PRICE = 10**9


@pytest.fixture
def chain():
    return Chain()


def refuse(chain, tx, reason, error=InvalidInput):
    with pytest.raises(error, match=reason):
        transition.apply_transaction(chain.pool, tx, chain.params)


def with_traits(count):
    """The devnet of another number of traits."""
    spec, alike = devnet(), (1,) * count
    tickets_alike = (replace(b, ticket=replace(b.ticket, preferences=alike)) for b in spec.tickets)
    return replace(
        spec,
        params=replace(spec.params, trait_count=count),
        tickets=tuple(tickets_alike),
        tasks=tuple(replace(task, preferences=alike) for task in spec.tasks),
    )


class TestBuying:
    def test_makes_one_ticket_per_stake(self, chain):
        before = len(chain.state.tickets)
        tx = chain.add(chain.buy(7, "miner", count=3))
        chain.mine()
        assert len(chain.state.tickets) == before + 3
        assert chain.tickets("miner", 7) == [Outpoint(tx.txid, i) for i in range(3)]
        ticket = chain.state.tickets[Outpoint(tx.txid, 0)]
        assert (ticket.height, ticket.owner, ticket.key_hash) == (1, public(7), key_hash(7))
        assert (ticket.task, ticket.peer, ticket.preferences) == (None, "peer7", (1, 1))
        chain.check_supply()

    @pytest.mark.parametrize("role", ["miner", "supervisor", "evaluator", "verifier"])
    def test_is_for_every_role(self, chain, role):
        chain.add(chain.buy(7, role))
        chain.mine()
        assert len(chain.tickets(role, 7)) == 1

    @pytest.mark.parametrize(
        ("changes", "reason", "error"),
        [
            ({"role": "client"}, "no tickets are sold for the role 'client'", InvalidTicket),
            ({"role": ""}, "no tickets are sold", InvalidTicket),
            ({"peer": "p" * 65}, "peer id is too long", InvalidTicket),
            ({"preferences": ()}, "0 traits", InvalidTicket),
            ({"preferences": (1,) * 65}, "65 traits", InvalidTicket),
            ({"preferences": (0, 0)}, "all zero", InvalidTicket),
            ({"preferences": (65_536,)}, "trait out of range", InvalidTicket),
            ({"preferences": (1,)}, "a ticket has 2 preferences on this network", InvalidTicket),
            ({"preferences": (1, 1, 1)}, "a ticket has 2 preferences on this network", InvalidTicket),
            ({"vrf_key": bytes(32)}, "not a point of the prime-order subgroup", InvalidProof),
            ({"bls_key": bls.public_key(keys(8).bls)}, "proof of possession does not match", InvalidProof),
            ({"possession": bls.prove_possession(keys(8).bls)}, "does not match", InvalidProof),
            ({"bls_key": bytes([0xC0]) + bytes(47)}, "point at infinity", InvalidProof),
        ],
    )
    def test_refuses_a_broken_rule(self, chain, changes, reason, error):
        refuse(chain, chain.buy(7, **changes), reason, error)

    def test_needs_a_stake(self, chain):
        refuse(chain, chain.buy(7, count=0), "no stake output", InvalidTicket)

    @pytest.mark.parametrize("price", [PRICE - 1, PRICE + 1])
    def test_has_one_price(self, chain, price):
        data = chain.buy(7).data
        good = Stake(PRICE, key_hash(7))
        tx = chain.fund(7, data, (good, replace(good, value=price)))
        refuse(chain, tx, f"a ticket costs {PRICE} atoms", InvalidTicket)

    def test_stakes_the_buyers_own_money(self, chain):
        tx = chain.fund(7, chain.buy(7).data, (Stake(PRICE, key_hash(8)),))
        refuse(chain, tx, "the stake belongs to another key", InvalidTicket)

    def test_stakes_stand_first(self, chain):
        outputs = (Stake(PRICE, key_hash(7)), Pay(5, key_hash(7)), Stake(5, key_hash(7)))
        refuse(chain, chain.fund(7, chain.buy(7).data, outputs), "stakes stand before", InvalidTicket)

    def test_fifty_tickets_a_block(self, chain):
        assert chain.params.tickets_per_block_max == 50
        for account, count in ((7, 30), (8, 20)):
            chain.add(chain.buy(account, count=count))
        chain.mine()
        for account, count in ((7, 30), (8, 21)):
            chain.add(chain.buy(account, count=count))
        refused(chain, chain.draft(), "at most 50 tickets per block")

    def test_more_than_a_block_takes_never_fits(self, chain):
        refuse(chain, chain.buy(CLIENT, count=51), "at most 50 tickets per block", InvalidTicket)

    def test_the_count_is_of_leading_stakes(self, chain):
        assert tickets.ticket_count(chain.buy(7, count=3)) == 3
        only_stakes = replace(chain.buy(7, count=3), outputs=(Stake(PRICE, key_hash(7)),) * 2)
        assert tickets.ticket_count(only_stakes) == 2


class TestJoining:
    def test_takes_the_ticket(self, chain):
        task_id = chain.submit()
        tx = chain.add(chain.join(task_id, "miner", MINERS[0]))
        chain.mine()
        assert chain.state.tickets[tx.data.ticket].task == task_id
        (join,) = chain.task(task_id).joins
        assert (join.ticket, join.role) == (tx.data.ticket, "miner")
        assert join.beta == ecvrf.output(tx.data.proof)

    def test_an_unknown_task(self, chain):
        task_id = chain.submit()
        tx = chain.join(task_id, "miner", MINERS[0], task=TaskId(label("none")))
        refuse(chain, tx, "the task does not take applications", InvalidTransaction)

    def test_a_task_that_trains_already(self, chain):
        task_id = chain.submit()
        late = chain.join(task_id, "miner", MINERS[0]).data
        chain.join_all(task_id)
        chain.mine_until(3)
        assert chain.task(task_id).stage is Stage.KEYING
        refuse(chain, chain.fund(MINERS[0], late), "the task does not take applications", InvalidTransaction)
        chain.make_key(task_id)
        chain.mine()
        assert chain.task(task_id).stage is Stage.TRAINING
        refuse(chain, chain.fund(MINERS[0], late), "the task does not take applications", InvalidTransaction)

    def test_the_predefined_task(self, chain):
        task_id = chain.submit()
        tx = chain.join(task_id, "miner", MINERS[0], task=chain.predefined)
        refuse(chain, tx, "the task does not take applications", InvalidTransaction)

    def test_a_draw_by_another_block_than_it_names(self, chain):
        task_id = chain.submit()
        tx = chain.join(task_id, "miner", MINERS[0], definition_block=chain.blocks[0].header.prev)
        refuse(chain, tx, "draw proof does not hold", InvalidProof)

    @pytest.mark.parametrize("block", [ZERO_HASH, label("guess")])
    def test_in_the_block_of_the_task_itself(self, chain, block):
        """A client could choose a task's id so that the tickets it likes are drawn."""
        data = PayForTask(definition(), 1)
        tx = chain.post(CLIENT, data, (Stake(10**6, key_hash(CLIENT)),))
        join = chain.join(TaskId(tx.txid), "miner", MINERS[0], definition_block=block)
        refuse(chain, join, "the task's definition block is not known yet", InvalidTransaction)
        refused(chain, chain.draft(transactions=[tx, join]), "definition block is not known yet")

    def test_an_unknown_ticket(self, chain):
        task_id = chain.submit()
        tx = chain.join(task_id, "miner", MINERS[0], ticket=Outpoint(ZERO_HASH, 0))
        refuse(chain, tx, "no such ticket", InvalidTicket)

    def test_somebody_elses_ticket(self, chain):
        task_id = chain.submit()
        tx = chain.join(task_id, "miner", MINERS[0], ticket=chain.tickets("miner", MINERS[1])[0])
        refuse(chain, tx, "the ticket belongs to another key", InvalidTicket)

    def test_a_ticket_that_works_elsewhere(self, chain):
        task_id = chain.submit()
        busy = chain.tickets("miner", MINERS[0], task=chain.predefined)[0]
        tx = chain.join(task_id, "miner", MINERS[0], ticket=busy)
        refuse(chain, tx, "the ticket is not free", InvalidTicket)

    def test_the_same_ticket_twice(self, chain):
        task_id = chain.submit()
        again = chain.join(task_id, "miner", MINERS[0])
        chain.add(chain.join(task_id, "miner", MINERS[0]))
        chain.mine()
        again = chain.fund(MINERS[0], again.data)
        refuse(chain, again, "the ticket is not free", InvalidTicket)

    def test_a_verifiers_ticket(self, chain):
        task_id = chain.submit()
        tx = chain.join(task_id, "verifier", VERIFIERS[0])
        refuse(chain, tx, "the ticket is not free for this task", InvalidTicket)

    @pytest.mark.parametrize(("blocks", "live"), [(0, False), (1, False), (2, True)])
    def test_a_ticket_must_be_live_before_the_task(self, chain, blocks, live):
        chain.add(chain.buy(7))
        chain.mine()
        chain.mine_until(chain.height + blocks - 1) if blocks else None
        task_id = chain.submit()
        since = chain.task(task_id).since
        tx = chain.join(task_id, "miner", 7)
        assert chain.state.tickets[tx.data.ticket].is_live(since, 2) == live
        if live:
            chain.add(tx)
        else:
            refuse(chain, tx, "not live when the task was submitted", InvalidTicket)

    def test_a_ticket_whose_stake_was_taken_after_the_task_was_posted(self, chain):
        """A fraud proof takes all of it; the ticket was live when the task was submitted."""
        task_id = chain.submit()
        tx = chain.join(task_id, "miner", MINERS[0])
        chain.pool = replace(chain.pool, utxos=chain.pool.utxos.delete(tx.data.ticket))
        refuse(chain, tx, "the ticket has lost its stake", InvalidTicket)

    @pytest.mark.parametrize(
        ("proof", "reason"),
        [
            (b"", "draw proof has 0 bytes"),
            (bytes(79), "draw proof has 79 bytes"),
            (bytes(80), "not a point"),
            (b"\xff" * 80, "scalar is not reduced"),
            (bytes(400), "data is larger than 512 bytes"),
        ],
    )
    def test_a_malformed_proof(self, chain, proof, reason):
        task_id = chain.submit()
        refuse(chain, chain.join(task_id, "miner", MINERS[0], proof=proof), reason)

    def test_a_proof_with_one_bit_changed(self, chain):
        task_id = chain.submit()
        proof = chain.join(task_id, "miner", MINERS[0]).data.proof
        for bit in (0, 300, 400):
            tx = chain.join(task_id, "miner", MINERS[0], proof=flip(proof, bit))
            refuse(chain, tx, "draw proof|not a point", InvalidProof)

    def test_the_proof_of_another_draw(self, chain):
        task_id = chain.submit()
        ticket = chain.tickets("miner", MINERS[0])[0]
        block = chain.task(task_id).definition_block
        for alpha in (
            selection.alpha(block, task_id, "supervisor", ticket),
            selection.alpha(block, chain.predefined, "miner", ticket),
            selection.alpha(label("another block"), task_id, "miner", ticket),
            selection.alpha(block, task_id, "miner", chain.tickets("miner", MINERS[1])[0]),
        ):
            proof = ecvrf.prove(keys(MINERS[0]).vrf, alpha)
            refuse(
                chain,
                chain.join(task_id, "miner", MINERS[0], proof=proof),
                "draw proof does not hold",
                InvalidProof,
            )

    def test_a_ticket_that_was_not_drawn(self, chain):
        chain.add(chain.buy(7, preferences=(1, 0)))
        chain.mine_until(3)
        task_id = chain.submit(preferences=(0, 1))
        refuse(chain, chain.join(task_id, "miner", 7), "the ticket was not drawn", InvalidTicket)

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_tickets_and_tasks_speak_of_the_same_traits(self, count):
        """With traits of its own a task would draw its client's tickets alone."""
        chain = Chain(with_traits(count))
        for other in {1, 2, 3} - {count}:
            wrong = (1,) * other
            refuse(chain, chain.buy(7, preferences=wrong), f"a ticket has {count} preferences", InvalidTicket)
            data = PayForTask(definition(preferences=wrong), 1)
            tx = chain.fund(CLIENT, data, (Stake(10**6, key_hash(CLIENT)),))
            refuse(chain, tx, f"a task has {count} preferences on this network", InvalidTransaction)
        chain.add(chain.buy(7, preferences=(1,) * count))
        chain.mine_until(3)
        task_id = chain.submit(preferences=(1,) * count)
        chain.add(chain.join(task_id, "miner", MINERS[0]))
        chain.add(chain.join(task_id, "miner", 7))


class TestDraw:
    """How rare a draw is follows from the tickets that are live when the task is posted."""

    def test_half_as_many_again_are_wanted(self, chain):
        chain.add(chain.buy(7, count=27))
        chain.mine_until(3)
        task = chain.task(chain.submit(group=Group(4, 3, 3)))
        miners, supervisors, evaluators = (Fraction(*omega) for omega in task.omegas)
        assert miners == 5  # of 30 alike, six for four places
        assert supervisors == evaluators == Fraction(1, 2**32)  # three, and four and a half would do

    def test_only_the_live_and_free_count(self, chain):
        chain.add(chain.buy(7, count=27))
        chain.mine()
        young = chain.submit(group=Group(4, 3, 3))
        assert Fraction(*chain.task(young).omegas[0]) == Fraction(1, 2**32)
        chain.mine()
        chain.add(chain.join(young, "miner", MINERS[0]))
        grown = chain.submit(group=Group(4, 3, 3))
        assert Fraction(*chain.task(grown).omegas[0]) == Fraction(29, 6)

    def test_about_half_as_many_again_are_drawn(self, chain):
        """60 tickets, half of them at cosine 0.8; 20 tasks of four miners, six expected each.

        Sigma of a sum of Bernoulli trials is below the root of its mean.
        """
        chain.add(chain.buy(7, count=27))
        chain.add(chain.buy(8, count=20, preferences=(7, 1)))
        chain.mine()
        chain.add(chain.buy(8, count=10, preferences=(7, 1)))
        chain.mine_until(5)
        drawn = {"near": 0, "far": 0}
        for _ in range(20):
            task_id = chain.submit(group=Group(4, 3, 3))
            task = chain.task(task_id)
            for account in (*MINERS, 7, 8):
                for ticket in chain.tickets("miner", account):
                    question = selection.alpha(task.definition_block, task_id, "miner", ticket)
                    draw = selection.draw_of(ecvrf.output(ecvrf.prove(keys(account).vrf, question)))
                    is_drawn = tickets.is_drawn(task, chain.state.tickets[ticket], draw)
                    drawn["far" if account == 8 else "near"] += is_drawn
        assert abs(sum(drawn.values()) - 120) < 4 * sqrt(120)
        # Cosines 1 and 0.8: 66.7 and 53.3 expected.
        assert abs(drawn["near"] - 66.7) < 4 * sqrt(66.7)
        assert abs(drawn["far"] - 53.3) < 4 * sqrt(53.3)

    def test_is_not_known_before_the_block(self, chain):
        tx = chain.post(CLIENT, PayForTask(definition(), 1), (Stake(10**6, key_hash(CLIENT)),))
        assert chain.task(TaskId(tx.txid)).omegas == ()


def expiring(blocks=5):
    return Chain(replace(devnet(), params=replace(devnet().params, ticket_expiry_blocks=blocks)))


def moved(chain, account, ticket):
    """Move a stake to the purse of its owner."""
    value = chain.pool.utxos[ticket].value
    tx = replace(
        chain.fund(account), inputs=(ticket,), outputs=(Pay(value, key_hash(account)),), witnesses=()
    )
    return chain.sign(tx, account)


class TestExpiry:
    """A ticket that waited in vain is worth its stake again."""

    @pytest.fixture
    def chain(self):
        chain = expiring()
        chain.add(chain.buy(7))
        chain.mine()
        return chain

    def test_is_counted_from_maturity(self, chain):
        (ticket,) = chain.tickets("miner", 7)
        assert chain.state.tickets[ticket].expires == 1 + 2 + 5
        assert tickets.expiry(chain.params, 10) == 17
        assert tickets.expiry(replace(chain.params, ticket_expiry_blocks=0), 10) == 0

    def test_frees_the_stake_and_who_spends_it_gives_up_the_ticket(self, chain):
        (ticket,) = chain.tickets("miner", 7)
        while chain.height < 7:
            refuse(chain, moved(chain, 7, ticket), "a stake that is still locked")
            chain.mine()
        chain.add(moved(chain, 7, ticket))
        block = chain.mine()
        assert block.transactions[0].data.height == 8
        assert ticket not in chain.state.tickets
        assert ticket not in chain.state.utxos
        chain.check_supply()

    def test_nobody_else_takes_it(self, chain):
        (ticket,) = chain.tickets("miner", 7)
        chain.mine_until(8)
        tx = replace(moved(chain, 7, ticket), witnesses=())
        refuse(chain, chain.sign(tx, 8), "an input belongs to another key")

    def test_it_is_drawn_no_more(self, chain):
        (ticket,) = chain.tickets("miner", 7)
        chain.mine_until(6)
        assert ticket in chain.state.live_tickets("miner", 7, 2)
        assert ticket not in chain.state.live_tickets("miner", 8, 2)
        last = chain.submit()
        assert chain.task(last).since == 7
        late = chain.submit()
        chain.add(chain.join(last, "miner", 7))
        fork = chain.fork()
        refuse(fork, fork.join(late, "miner", 7), "not live when the task was submitted", InvalidTicket)

    def test_one_that_works_does_not_expire(self, chain):
        (ticket,) = chain.tickets("miner", 7)
        chain.mine_until(6)
        task_id = chain.submit()
        chain.add(chain.join(task_id, "miner", 7))
        chain.mine()
        assert chain.height == 8
        refuse(chain, moved(chain, 7, ticket), "a stake that is still locked")
        chain.mine_until(9)
        assert chain.task(task_id).stage is Stage.EXPIRED  # the task, as nobody else applied
        chain.add(moved(chain, 7, ticket))
        chain.mine()
        chain.check_supply()

    def test_who_spends_the_stake_does_not_apply_with_it(self, chain):
        (ticket,) = chain.tickets("miner", 7)
        chain.mine_until(6)
        task_id = chain.submit()
        data = chain.join(task_id, "miner", 7).data
        tx = replace(moved(chain, 7, ticket), data=data, witnesses=())
        refuse(chain, chain.sign(tx, 7), "no such ticket", InvalidTicket)

    def test_bootstrap_tickets_do_not_expire(self, chain):
        chain.mine_until(20)
        refuse(chain, moved(chain, 1, chain.verifier(1)), "a stake that is still locked")

    def test_a_drawn_verifier_waits_until_its_blocks_are_settled(self):
        """Or it could commit and run, and who approved could not be paid."""
        chain = expiring()
        chain.add(chain.buy(7, "verifier"))
        chain.mine_until(7)
        (ticket,) = chain.tickets("verifier", 7)
        block = chain.blocks[-1]
        assert ticket in chain.state.verifications[block.hash].verifiers
        chain.post(7, chain.commit(block, 7))
        chain.post(MINERS[0], CollectVerifications(block.hash))
        chain.post(7, chain.reveal(block, 7))
        while block.hash in chain.state.verifications:
            refuse(chain, moved(chain, 7, ticket), "a stake that is still locked")
            chain.mine()
        assert chain.height == 7 + chain.params.verification_window_blocks
        assert chain.blocks[-1].transactions[0].outputs
        chain.add(moved(chain, 7, ticket))
        chain.mine()
        chain.check_supply()

    def test_a_verifier_that_keeps_its_verdict_back_does_not_escape(self):
        chain = expiring()
        chain.add(chain.buy(7, "verifier"))
        chain.mine_until(7)
        (ticket,) = chain.tickets("verifier", 7)
        chain.post(7, chain.commit(chain.blocks[-1], 7))
        chain.mine_until(11)
        assert chain.state.utxos[ticket].value == PRICE * 9 // 10
        assert chain.state.burned == PRICE // 10
        chain.check_supply()


class TestStakes:
    def test_a_slash_burns_its_share(self, chain):
        ticket = chain.verifier(1)
        after = tickets.slash(chain.state, ticket, 10)
        assert after.utxos[ticket].value == PRICE * 9 // 10
        assert after.burned == PRICE // 10
        assert after.issued - after.burned == after.unspent_total()

    def test_a_slash_rounds_in_the_owners_favour(self, chain):
        ticket = chain.verifier(1)
        stake = replace(chain.state.utxos[ticket], value=9)
        state = replace(chain.state, utxos=chain.state.utxos.set(ticket, stake))
        assert tickets.slash(state, ticket, 10).utxos[ticket].value == 9

    def test_nothing_is_slashed_where_nothing_is_locked(self, chain):
        coin = chain.coins(CLIENT)[0][1]
        assert tickets.slash(chain.state, coin, 10) is chain.state
        assert tickets.slash(chain.state, Outpoint(ZERO_HASH, 0), 10) is chain.state

    def test_a_captured_share_waits_for_the_tasks_payment(self, chain):
        ticket = chain.tickets("miner", MINERS[0], task=chain.predefined)[0]
        state = tickets.capture(chain.state, chain.predefined, ticket, 10)
        state = tickets.capture(state, chain.predefined, ticket, 10)
        assert state.utxos[ticket].value == PRICE * 81 // 100
        assert state.tasks[chain.predefined].captured == state.burned == PRICE * 19 // 100
        assert state.issued - state.burned == state.unspent_total()

    def test_all_of_a_stake_may_be_captured(self, chain):
        ticket = chain.tickets("miner", MINERS[0], task=chain.predefined)[0]
        state = tickets.capture(chain.state, chain.predefined, ticket, 100)
        assert ticket not in state.utxos
        assert ticket in state.tickets  # it is known still, for as long as the task refers to it
        assert state.tasks[chain.predefined].captured == PRICE
        assert snapshot_id(tickets.capture(state, chain.predefined, ticket, 100)) == snapshot_id(state)

    def test_released_tickets_are_gone_and_their_stakes_free(self, chain):
        ticket = chain.verifier(1)
        state = tickets.release(chain.state, (ticket, ticket, Outpoint(ZERO_HASH, 0)))
        assert ticket not in state.tickets
        assert state.utxos[ticket].value == PRICE
        assert not is_locked(state, ticket)
        assert is_locked(chain.state, ticket)

    def test_freed_tickets_may_work_again(self, chain):
        busy = chain.tickets("miner", MINERS[0], task=chain.predefined)[0]
        state = tickets.lock(chain.state, (busy, Outpoint(ZERO_HASH, 0)), None)
        assert state.tickets[busy].task is None
        assert is_locked(state, busy)
