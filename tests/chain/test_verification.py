"""Targets: a verdict counts once, by whom it was drawn, opened as committed; kept back it costs the stake."""

from dataclasses import replace

import pytest

from p2pai.chain import difficulty, draws, transition, verification
from p2pai.chain.transaction import CollectVerifications, Pay
from p2pai.primitives.errors import InvalidProof, InvalidTicket, InvalidTransaction
from p2pai.primitives.ids import ZERO_HASH, Outpoint
from tests.chain.ledger import EASY, MINERS, SUPERVISORS, VERIFIERS, Chain, flip, key_hash, label

WORK = difficulty.work(difficulty.decode_bits(EASY))


@pytest.fixture
def chain():
    return Chain()


@pytest.fixture
def block(chain):
    return chain.mine()


def refuse(chain, tx, reason, error=InvalidTransaction):
    with pytest.raises(error, match=reason):
        transition.apply_transaction(chain.pool, tx, chain.params)


def opened(chain, block):
    return chain.pool.verifications[block.hash]


def collect(chain, block, account=MINERS[0]):
    return chain.post(account, CollectVerifications(block.hash))


class TestDraw:
    def test_a_block_opens_its_verification(self, chain, block):
        found = opened(chain, block)
        assert (found.height, found.task, found.miner) == (1, chain.predefined, key_hash(MINERS[0]))
        assert found.bits == EASY
        assert found.verifiers == tuple(sorted(chain.verifier(a) for a in VERIFIERS))
        assert sorted(found.supervisors) == sorted(key_hash(a) for a in SUPERVISORS)

    def test_supervisors_of_a_paid_task_have_no_share(self, chain):
        task_id = chain.start()
        block = chain.mine(task=task_id)
        assert opened(chain, block).supervisors == ()

    def test_nobody_verifies_an_own_block(self, chain):
        chain.add(chain.buy(MINERS[0], "verifier"))
        chain.mine_until(4)
        own = chain.verifier(MINERS[0])
        assert own not in opened(chain, chain.mine(miner=MINERS[0])).verifiers
        assert own in opened(chain, chain.mine(miner=MINERS[1])).verifiers

    def test_ten_at_most_are_drawn_by_the_blocks_hash(self, chain):
        for account in (0, 7, 8, 9):
            chain.add(chain.buy(account, "verifier", count=4))
        chain.mine_until(4)
        live = chain.state.live_tickets("verifier", 4, 2)
        assert len(live) == 19
        ticket = chain.tickets("miner", MINERS[0], task=chain.predefined)[0]
        drawn = [
            draws.draw_verifiers(chain.state, label("block", i), ticket, 4, chain.params) for i in range(50)
        ]
        assert {len(d) for d in drawn} == {10}
        assert set().union(*drawn) == set(live)
        assert len(set(drawn)) == 50

    def test_immature_tickets_are_not_drawn(self, chain):
        chain.add(chain.buy(7, "verifier"))
        first = chain.mine()
        second = chain.mine()
        third = chain.mine()
        ticket = chain.verifier(7)
        assert [ticket in opened(chain, b).verifiers for b in (first, second, third)] == [False, False, True]


class TestCommit:
    def test_is_recorded(self, chain, block):
        data = chain.commit(block, 1)
        chain.post(1, data)
        chain.mine()
        (sealed,) = opened(chain, block).commits
        assert (sealed.ticket, sealed.commitment) == (data.ticket, data.commitment)

    def test_twice(self, chain, block):
        chain.post(1, chain.commit(block, 1))
        again = chain.fund(1, chain.commit(block, 1, approved=False))
        refuse(chain, again, "the verdict is already committed")

    def test_of_an_unknown_block(self, chain, block):
        data = replace(chain.commit(block, 1), block=label("unknown"))
        refuse(chain, chain.fund(1, data), "the block is not on this chain")

    def test_with_a_ticket_that_was_not_drawn(self, chain):
        chain.add(chain.buy(7, "verifier"))
        block = chain.mine()
        refuse(chain, chain.fund(7, chain.commit(block, 7)), "not drawn to verify this block")

    def test_with_somebody_elses_ticket(self, chain, block):
        refuse(chain, chain.fund(2, chain.commit(block, 1)), "belongs to another key", InvalidTicket)

    def test_with_no_ticket(self, chain, block):
        data = chain.commit(block, 1, ticket=Outpoint(ZERO_HASH, 0))
        refuse(chain, chain.fund(1, data), "no such ticket", InvalidTicket)

    def test_after_the_miner_collected(self, chain, block):
        chain.post(1, chain.commit(block, 1))
        collect(chain, block)
        refuse(chain, chain.fund(2, chain.commit(block, 2)), "the commits of this block are closed")

    def test_is_closed_when_reveals_open(self, chain, block):
        """Whoever sees a verdict and its precursor must not be able to commit to the same."""
        half = chain.params.verification_window_blocks // 2
        chain.post(1, chain.commit(block, 1))
        chain.mine_until(block_height(chain, block) + half - 1)
        chain.post(2, chain.commit(block, 2))
        refuse(chain, chain.fund(1, chain.reveal(block, 1)), "the commits of this block are still open")
        chain.mine()
        chain.post(1, chain.reveal(block, 1))
        refuse(chain, chain.fund(3, chain.commit(block, 3)), "the commits of this block are closed")

    @pytest.mark.parametrize("change", ["ticket", "block", "precursor", "verdict", "salt"])
    def test_hides_and_binds_every_part(self, chain, block, change):
        parts = {
            "ticket": chain.verifier(1),
            "block": block.hash,
            "precursor": label("precursor"),
            "verdict": True,
            "salt": label("salt"),
        }
        one = verification.commitment(*parts.values())
        other = {
            "ticket": chain.verifier(2),
            "block": label("other"),
            "precursor": label("other"),
            "verdict": False,
            "salt": label("other"),
        }
        assert verification.commitment(*{**parts, change: other[change]}.values()) != one


def block_height(chain, block):
    return opened(chain, block).height


class TestCollect:
    def test_closes_the_commits(self, chain, block):
        chain.post(1, chain.commit(block, 1))
        collect(chain, block)
        chain.mine()
        assert opened(chain, block).collected

    def test_by_another_miner(self, chain, block):
        chain.post(1, chain.commit(block, 1))
        tx = chain.fund(MINERS[1], CollectVerifications(block.hash))
        refuse(chain, tx, "only the block's miner collects")

    def test_nothing(self, chain, block):
        refuse(chain, chain.fund(MINERS[0], CollectVerifications(block.hash)), "there is nothing to collect")

    def test_twice(self, chain, block):
        chain.post(1, chain.commit(block, 1))
        collect(chain, block)
        again = chain.fund(MINERS[0], CollectVerifications(block.hash))
        refuse(chain, again, "there is nothing to collect")

    def test_of_an_unknown_block(self, chain, block):
        tx = chain.fund(MINERS[0], CollectVerifications(label("unknown")))
        refuse(chain, tx, "the block is not on this chain")


class TestReveal:
    @pytest.fixture
    def committed(self, chain, block):
        for account in VERIFIERS:
            chain.post(account, chain.commit(block, account))
        return block

    def test_of_an_approval_gives_the_block_its_weight(self, chain, committed):
        collect(chain, committed)
        for count, account in enumerate(VERIFIERS, start=1):
            chain.post(account, chain.reveal(committed, account))
            assert opened(chain, committed).approvals == count
            assert chain.pool.weight == WORK * count // 3
        chain.mine()
        assert chain.state.weight == WORK

    def test_of_a_rejection_gives_none(self, chain, block):
        chain.post(1, chain.commit(block, 1, approved=False))
        collect(chain, block)
        chain.post(1, chain.reveal(block, 1, approved=False))
        chain.mine()
        assert (opened(chain, block).approvals, chain.state.weight) == (0, 0)
        assert len(opened(chain, block).reveals) == 1

    def test_of_a_rejection_may_show_any_precursor(self, chain, block):
        other = label("what I got")
        chain.post(1, chain.commit(block, 1, approved=False, precursor=other))
        collect(chain, block)
        chain.post(1, chain.reveal(block, 1, approved=False, precursor=other))

    def test_while_commits_are_open(self, chain, committed):
        refuse(chain, chain.fund(1, chain.reveal(committed, 1)), "the commits of this block are still open")

    def test_without_collecting_after_half_the_window(self, chain, committed):
        chain.mine()
        chain.mine()
        chain.post(1, chain.reveal(committed, 1))
        chain.mine()
        assert opened(chain, committed).approvals == 1

    def test_twice(self, chain, committed):
        collect(chain, committed)
        chain.post(1, chain.reveal(committed, 1))
        again = chain.fund(1, chain.reveal(committed, 1))
        refuse(chain, again, "the verdict is already revealed")

    def test_without_a_commitment(self, chain, block):
        chain.post(1, chain.commit(block, 1))
        collect(chain, block)
        refuse(chain, chain.fund(2, chain.reveal(block, 2)), "not the one committed")

    @pytest.mark.parametrize(
        "changes",
        [{"approved": False}, {"salt": label("other")}, {"precursor": label("other")}],
        ids=lambda c: next(iter(c)),
    )
    def test_of_something_else_than_committed(self, chain, committed, changes):
        collect(chain, committed)
        data = replace(chain.reveal(committed, 1), **changes)
        refuse(chain, chain.fund(1, data), "the verdict is not the one committed")

    def test_of_an_approval_without_the_precursor(self, chain, block):
        guess = label("guess")
        chain.post(1, chain.commit(block, 1, precursor=guess))
        collect(chain, block)
        data = chain.reveal(block, 1, precursor=guess)
        refuse(chain, chain.fund(1, data), "the precursor does not give the block's nonce", InvalidProof)

    def test_of_an_approval_with_a_precursor_one_bit_off(self, chain, block):
        near = flip(chain.precursors[block.hash])
        chain.post(1, chain.commit(block, 1, precursor=near))
        collect(chain, block)
        data = chain.reveal(block, 1, precursor=near)
        refuse(chain, chain.fund(1, data), "the precursor does not give the block's nonce", InvalidProof)

    def test_with_somebody_elses_ticket(self, chain, committed):
        collect(chain, committed)
        refuse(chain, chain.fund(2, chain.reveal(committed, 1)), "belongs to another key", InvalidTicket)

    def test_of_another_verifiers_commitment(self, chain, block):
        stolen = chain.commit(block, 1)
        chain.post(1, stolen)
        chain.post(2, replace(stolen, ticket=chain.verifier(2)))
        collect(chain, block)
        copied = replace(chain.reveal(block, 1), ticket=chain.verifier(2))
        refuse(chain, chain.fund(2, copied), "the verdict is not the one committed")

    def test_in_the_last_block_of_the_window_and_no_later(self, chain, committed):
        collect(chain, committed)
        chain.mine_until(1 + chain.params.verification_window_blocks - 1)
        late = chain.fork()
        chain.post(1, chain.reveal(committed, 1))
        block = chain.mine()
        assert sum(o.value for o in block.transactions[0].outputs) > 5_000_000_000
        late.mine()
        refuse(late, late.fund(1, chain.reveal(committed, 1)), "its window is over")


class TestSettlement:
    def test_pays_and_forgets(self, chain, block):
        chain.approve(block)
        chain.mine_until(4)
        before = chain.state
        chain.mine()
        assert block.hash in before.verifications
        assert block.hash not in chain.state.verifications
        assert (before.pending.get(1), chain.state.pending.get(1)) == (block.hash, None)
        assert chain.state.weight == before.weight
        chain.check_supply()

    @pytest.mark.parametrize("revealed", [0, 1, 2, 3])
    def test_slashes_verdicts_kept_back(self, chain, block, revealed):
        for account in VERIFIERS:
            chain.post(account, chain.commit(block, account))
        collect(chain, block)
        for account in VERIFIERS[:revealed]:
            chain.post(account, chain.reveal(block, account))
        stakes = {a: chain.verifier(a) for a in VERIFIERS}
        chain.mine_until(5)
        price = chain.params.ticket_price_atoms
        values = [chain.state.utxos[stakes[a]].value for a in VERIFIERS]
        assert values == [price] * revealed + [price * 9 // 10] * (3 - revealed)
        assert chain.state.burned == (3 - revealed) * price // 10
        chain.check_supply()

    def test_does_not_slash_who_never_committed(self, chain, block):
        chain.mine_until(5)
        assert chain.state.burned == 0

    def test_slashes_once(self, chain, block):
        chain.post(1, chain.commit(block, 1))
        chain.mine_until(20)
        assert chain.state.burned == chain.params.ticket_price_atoms // 10
        chain.check_supply()

    def test_pays_what_the_coinbase_must_have(self, chain, block):
        chain.approve(block, VERIFIERS[:2])
        chain.mine_until(4)
        state, pays = verification.settle(chain.state, 5, chain.params)
        assert sum(p.value for p in pays) == 10_000_000_000
        assert state.issued == chain.state.issued + 10_000_000_000
        assert Pay(8_000_000_000, key_hash(MINERS[0])) in pays

    def test_has_nothing_to_do_at_first(self, chain):
        assert verification.settle(chain.state, 1, chain.params) == (chain.state, ())


def test_the_weight_of_a_block_is_its_approved_work(chain, block):
    found = opened(chain, block)
    assert verification.approved_work(replace(found, verifiers=())) == 0
    assert verification.approved_work(found) == 0
    hard = replace(found, bits=0x1D00FFFF)
    chain.approve(block)
    approved = replace(hard, reveals=opened(chain, block).reveals)
    assert verification.approved_work(approved) == 0x100010001
