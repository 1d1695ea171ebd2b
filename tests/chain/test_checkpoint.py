"""Targets: when a block is voted on, whose votes count, what two votes cost, and that no draw is stuck."""

from dataclasses import replace

import pytest

from p2pai.chain import draws, votes
from p2pai.chain.checkpoint import ROUND_BLOCKS
from p2pai.chain.coins import is_locked
from p2pai.chain.params import DATA_SIZE_MAX, check_params
from p2pai.chain.snapshot import decode, encode, snapshot_id
from p2pai.chain.state import Candidate, Checkpoint, Stage, Vote, Voting
from p2pai.chain.transaction import Pay
from p2pai.chain.votes import VoteEquivocation
from p2pai.primitives import ecdsa, record
from p2pai.primitives.errors import InvalidInput, InvalidProof, InvalidTicket
from p2pai.primitives.ids import ZERO_HASH, Outpoint
from tests.chain.ledger import CLIENT, MINERS, Chain, devnet, key_hash, keys, label, public
from tests.chain.voters import EVERY, OPENS, SNAPSHOT, WINDOW, Voters, busy, opened, quick


@pytest.fixture
def chain():
    return opened().fork()


class TestWhen:
    def test_genesis_is_the_first_checkpoint(self):
        state = Chain(quick()).state
        assert state.checkpoint == Checkpoint(0, state.tip, ZERO_HASH)
        assert (state.candidate, state.voting) == (Candidate(0, state.tip), None)

    def test_a_candidate_waits_until_its_approvals_are_settled(self):
        chain = Voters(quick())
        chain.grow(OPENS - 1)
        candidate = Candidate(EVERY, chain.blocks[EVERY - 1].hash)
        assert (chain.state.candidate, chain.state.voting) == (candidate, None)
        assert chain.state.approvals == (3 * (EVERY - 1), 3 * (EVERY - 1))
        chain.grow(OPENS)
        assert (chain.voting.height, chain.voting.block) == (EVERY, candidate.block)
        assert chain.state.approvals == (0, 0)

    def test_the_hash_of_a_later_block_draws(self, chain):
        drawn = draws.draw_validators(chain.state, chain.blocks[-1].hash, OPENS, chain.params)
        assert chain.voting == Voting(EVERY, chain.blocks[EVERY - 1].hash, drawn)
        assert len(drawn) == chain.params.validators
        owners = [chain.state.tickets[t].owner for t in drawn]
        assert len(dict.fromkeys(owners)) == len(drawn)

    def test_others_are_drawn_until_the_votes_are_reached(self, chain):
        first = chain.voting.validators
        chain.cast(first[0])
        chain.grow(OPENS + ROUND_BLOCKS - 1)
        assert (chain.voting.validators, len(chain.voting.votes)) == (first, 1)
        chain.grow(OPENS + ROUND_BLOCKS)
        again = draws.draw_validators(chain.state, chain.blocks[-1].hash, chain.height, chain.params)
        assert chain.voting == Voting(EVERY, chain.blocks[EVERY - 1].hash, again)
        assert chain.state.checkpoint.height == 0

    def test_the_next_candidate_takes_its_place(self, chain):
        """A checkpoint that was never reached stops nothing."""
        chain.grow(OPENS + EVERY - 1)
        assert chain.voting.height == EVERY
        chain.grow(OPENS + EVERY)
        assert chain.voting.height == 2 * EVERY
        for ticket in chain.voting.validators[:3]:
            chain.cast(ticket)
        chain.mine()
        assert chain.state.checkpoint == Checkpoint(2 * EVERY, chain.blocks[2 * EVERY - 1].hash, SNAPSHOT)

    def test_a_reached_one_holds_no_stakes_beyond_the_next(self, chain):
        """Also where the next candidate lacks approvals."""
        validators = chain.voting.validators
        for ticket in validators[:3]:
            chain.cast(ticket)
        chain.grow(OPENS + EVERY - 1, approvers=())
        assert chain.voting.validators == validators
        chain.grow(OPENS + EVERY, approvers=())
        assert chain.voting is None

    def test_nobody_is_drawn_once_it_is_reached(self, chain):
        for ticket in chain.voting.validators[:3]:
            chain.cast(ticket)
        chain.grow(OPENS + ROUND_BLOCKS)
        assert len(chain.voting.votes) == 3

    @pytest.mark.parametrize(("approvers", "votes_on"), [((1, 2), True), ((1,), False), ((), False)])
    def test_most_verifiers_must_be_on_the_chain(self, approvers, votes_on):
        chain = Voters(quick())
        chain.grow(1)
        chain.grow(OPENS, approvers)
        assert (chain.voting is not None) == votes_on

    def test_a_chain_without_verifiers_has_no_checkpoints(self):
        spec = quick()
        others = tuple(b for b in spec.tickets if b.ticket.role != "verifier")
        chain = Voters(replace(spec, tickets=others))
        chain.grow(OPENS, approvers=())
        assert chain.voting is None

    def test_a_window_may_be_as_long_as_the_interval(self):
        spec = devnet()
        params = replace(spec.params, checkpoint_blocks=WINDOW)
        check_params(params)
        chain = Voters(replace(spec, params=params))
        chain.grow(2 * WINDOW)
        assert (chain.voting.height, chain.state.candidate.height) == (WINDOW, 2 * WINDOW)
        with pytest.raises(InvalidInput, match="come before their blocks are verified"):
            check_params(replace(params, checkpoint_blocks=WINDOW - 1))


class TestVotes:
    def test_enough_of_them_make_a_checkpoint(self, chain):
        for ticket in chain.voting.validators[:2]:
            chain.cast(ticket)
        chain.mine()
        assert chain.state.checkpoint.height == 0
        chain.cast(chain.voting.validators[3])
        chain.mine()
        assert chain.state.checkpoint == Checkpoint(EVERY, chain.blocks[EVERY - 1].hash, SNAPSHOT)
        chain.check_supply()

    def test_the_snapshot_of_the_block_can_be_certified(self, chain):
        true = snapshot_id(chain.state_at(EVERY))
        for ticket in chain.voting.validators[:3]:
            chain.cast(ticket, snapshot=true)
        chain.mine()
        assert chain.state.checkpoint.snapshot == true

    def test_only_those_for_one_snapshot_count_together(self, chain):
        for ticket in chain.voting.validators[:2]:
            chain.cast(ticket)
        chain.cast(chain.voting.validators[2], snapshot=label("another"))
        chain.mine()
        assert chain.state.checkpoint.height == 0
        assert [v.snapshot for v in chain.voting.votes] == [SNAPSHOT, SNAPSHOT, label("another")]
        chain.cast(chain.voting.validators[3])
        chain.mine()
        assert chain.state.checkpoint.snapshot == SNAPSHOT

    def test_a_worker_votes_while_it_works(self, chain):
        worker = busy(chain)[0]
        chain.cast(worker)
        assert chain.voting.votes == (Vote(worker, SNAPSHOT),)

    @pytest.mark.parametrize("height", [0, EVERY - 1, 2 * EVERY])
    def test_of_another_height(self, chain, height):
        ticket = chain.voting.validators[0]
        vote = chain.vote(ticket, height=height)
        chain.refuse(chain.account(ticket), vote, f"height {height} is not voted on")

    def test_before_anything_is_voted_on(self):
        chain = Voters(quick())
        ticket = chain.tickets("miner", MINERS[0])[0]
        vote = votes.cast(keys(MINERS[0]).spending, chain.state.chain, ticket, EVERY, label("b"), SNAPSHOT)
        chain.refuse(MINERS[0], vote, "is not voted on")

    def test_for_another_block(self, chain):
        ticket = chain.voting.validators[0]
        vote = chain.vote(ticket, block=label("fork"))
        chain.refuse(chain.account(ticket), vote, "a block of another chain")

    def test_of_who_is_not_drawn(self, chain):
        owners = [chain.account(t) for t in chain.voting.validators]
        ticket = next(t for t in sorted(chain.state.tickets) if chain.account(t) not in owners)
        chain.refuse(chain.account(ticket), chain.vote(ticket), "is not drawn")

    def test_of_another_ticket_of_an_owner_who_is_drawn(self, chain):
        owners = [chain.account(t) for t in chain.voting.validators]
        others = (t for t in sorted(chain.state.tickets) if t not in chain.voting.validators)
        ticket = next(t for t in others if chain.account(t) in owners)
        chain.refuse(chain.account(ticket), chain.vote(ticket), "is not drawn")

    def test_twice(self, chain):
        ticket = chain.voting.validators[0]
        chain.cast(ticket)
        for snapshot in (SNAPSHOT, label("another")):
            vote = chain.vote(ticket, snapshot=snapshot)
            chain.refuse(chain.account(ticket), vote, "has voted already")

    def test_when_the_checkpoint_is_made(self, chain):
        for ticket in chain.voting.validators[:3]:
            chain.cast(ticket)
        ticket = chain.voting.validators[3]
        chain.refuse(chain.account(ticket), chain.vote(ticket), "made already")

    def test_posted_by_somebody_else(self, chain):
        chain.refuse(7, chain.vote(chain.voting.validators[0]), "belongs to another key", InvalidTicket)

    def test_of_no_ticket(self, chain):
        vote = replace(chain.vote(chain.voting.validators[0]), ticket=Outpoint(label("none"), 0))
        chain.refuse(7, vote, "no such ticket", InvalidTicket)

    @pytest.mark.parametrize(
        "changes",
        [{"snapshot": label("another")}, {"signature": bytes(70)}, {"signature": b""}],
        ids=["another snapshot", "zeros", "nothing"],
    )
    def test_not_signed_as_it_is(self, chain, changes):
        ticket = chain.voting.validators[0]
        vote = replace(chain.vote(ticket), **changes)
        chain.refuse(chain.account(ticket), vote, "signature", InvalidProof)

    def test_of_another_network(self, chain):
        ticket = chain.voting.validators[0]
        own, voting = keys(chain.account(ticket)).spending, chain.voting
        vote = votes.cast(own, label("another chain"), ticket, voting.height, voting.block, SNAPSHOT)
        chain.refuse(chain.account(ticket), vote, "signature does not match", InvalidProof)

    def test_a_stake_stays_locked_until_others_are_drawn(self, chain):
        """Or who votes twice could be gone with its stake before anybody tells."""
        ticket = chain.voting.validators[0]
        assert is_locked(chain.state, ticket)
        gone = replace(chain.state, tickets=chain.state.tickets.delete(ticket))
        assert is_locked(gone, ticket)
        later = replace(gone, voting=replace(chain.voting, validators=()))
        assert not is_locked(later, ticket)


class TestEquivocation:
    def evidence(self, chain, ticket, **changes) -> VoteEquivocation:
        one = chain.vote(ticket)
        other = chain.vote(ticket, **(changes or {"block": label("fork")}))
        return votes.evidence(public(chain.account(ticket)), one, other)

    @pytest.mark.parametrize("changes", [{"block": label("fork")}, {"snapshot": label("another")}])
    def test_costs_all_of_the_stake(self, chain, changes):
        ticket = chain.voting.validators[0]
        stake, burned = chain.state.utxos[ticket].value, chain.state.burned
        chain.post(7, self.evidence(chain, ticket, **changes))
        chain.mine()
        assert ticket not in chain.state.utxos
        assert chain.state.burned == burned + stake
        chain.check_supply()

    def test_whoever_did_it_is_drawn_no_more(self, chain):
        ticket = chain.voting.validators[0]
        evidence = self.evidence(chain, ticket)
        drawn = [draws.draw_validators(chain.state, label(i), chain.height, chain.params) for i in range(30)]
        assert any(ticket in some for some in drawn)
        chain.post(7, evidence)
        chain.mine()
        drawn = [draws.draw_validators(chain.state, label(i), chain.height, chain.params) for i in range(30)]
        assert not any(ticket in some for some in drawn)

    def test_is_punished_once(self, chain):
        ticket = chain.voting.validators[0]
        chain.post(7, self.evidence(chain, ticket))
        again = self.evidence(chain, ticket, block=label("a third"))
        chain.refuse(8, again, "has no stake")
        chain.mine()
        chain.refuse(8, again, "has no stake")

    def test_a_worker_of_a_task_is_not_paid(self, chain):
        task_id = chain.start()
        ticket = chain.task(task_id).miners[0]
        account = chain.account(ticket)
        one, other = (
            votes.cast(keys(account).spending, chain.state.chain, ticket, EVERY, label(block), SNAPSHOT)
            for block in "ab"
        )
        chain.post(7, votes.evidence(public(account), one, other))
        assert chain.task(task_id).expelled == (ticket,)
        assert chain.task(task_id).stage is Stage.TRAINING
        chain.mine()
        chain.end_training(task_id)
        chain.evaluate(task_id)
        charge = chain.add(chain.charge(task_id))
        assert key_hash(account) not in [o.key_hash for o in charge.outputs]
        chain.mine()
        assert ticket not in chain.state.tickets
        chain.check_supply()

    def test_an_applicant_does_not_take_part(self, chain):
        task_id = chain.submit()
        chain.add(chain.join(task_id, "miner", MINERS[0]))
        (join,) = chain.task(task_id).joins
        chain.post(7, self.evidence(chain, join.ticket))
        assert chain.task(task_id).joins == ()
        chain.mine()
        assert not chain.state.tickets[join.ticket].is_live(chain.height + 1, 0)
        with pytest.raises(InvalidTicket, match="has lost its stake"):
            chain.add(chain.join(task_id, "miner", MINERS[0]))

    def test_finds_a_stake_whose_ticket_is_gone(self, chain):
        ticket = chain.voting.validators[0]
        evidence = self.evidence(chain, ticket)
        chain.state = chain.pool = replace(chain.state, tickets=chain.state.tickets.delete(ticket))
        chain.post(7, evidence)
        assert ticket not in chain.pool.utxos

    def test_the_votes_must_contradict(self, chain):
        ticket = chain.voting.validators[0]
        for changes in ({"height": 2 * EVERY, "block": label("x")}, {"snapshot": SNAPSHOT}):
            chain.refuse(7, self.evidence(chain, ticket, **changes), "not two for one height")
        other = chain.voting.validators[1]
        key = public(chain.account(ticket))
        two = votes.evidence(key, chain.vote(ticket), chain.vote(other, block=label("fork")))
        chain.refuse(7, two, "not two for one height")

    def test_has_one_form(self, chain):
        evidence = self.evidence(chain, chain.voting.validators[0])
        swapped = replace(evidence, first=evidence.second, second=evidence.first)
        chain.refuse(7, swapped, "the lower one first")

    def test_of_another_owner(self, chain):
        first, second = chain.voting.validators[:2]
        evidence = replace(self.evidence(chain, first), key=public(chain.account(second)))
        chain.refuse(7, evidence, "or another owner")

    def test_money_is_no_stake(self, chain):
        coin = next(o for o, output in sorted(chain.pool.utxos.items()) if isinstance(output, Pay))
        own = keys(next(a for a in range(10) if key_hash(a) == chain.pool.utxos[coin].key_hash))
        cast = [votes.cast(own.spending, chain.state.chain, coin, 8, label(i), SNAPSHOT) for i in (1, 2)]
        chain.refuse(7, votes.evidence(ecdsa.public_key(own.spending), *cast), "has no stake")

    def test_a_task_s_fee_is_no_ticket_s_stake(self, chain):
        """Else a client burns what its workers wait for, and their stakes are never released."""
        task_id = chain.start()
        stake, client = chain.task(task_id).stake, keys(CLIENT).spending
        cast = [votes.cast(client, chain.state.chain, stake, EVERY, label(i), SNAPSHOT) for i in (1, 2)]
        chain.refuse(7, votes.evidence(public(CLIENT), *cast), "a task's fee")

    @pytest.mark.parametrize("which", ["first", "second"])
    def test_both_must_be_signed(self, chain, which):
        evidence = self.evidence(chain, chain.voting.validators[0])
        vote = getattr(evidence, which)
        forged = replace(evidence, **{which: replace(vote, signature=bytes(70))})
        chain.refuse(7, forged, "signature", InvalidProof)

    def test_fits_into_a_transaction(self, chain):
        evidence = self.evidence(chain, chain.voting.validators[0])
        longest = {
            name: replace(getattr(evidence, name), signature=bytes(71)) for name in ("first", "second")
        }
        assert len(record.encode_tagged(replace(evidence, **longest))) <= DATA_SIZE_MAX


class TestSnapshot:
    def test_keeps_all_of_it(self, chain):
        chain.cast(chain.voting.validators[0])
        chain.mine()
        assert decode(encode(chain.state)) == chain.state

    @pytest.mark.parametrize(
        "changes",
        [
            {"checkpoint": Checkpoint(1, label("b"), SNAPSHOT)},
            {"candidate": Candidate(9, label("b"))},
            {"approvals": (1, 3)},
            {"voting": None},
            {"voting": Voting(8, label("b"))},
        ],
    )
    def test_the_digest_covers_it(self, chain, changes):
        assert snapshot_id(replace(chain.state, **changes)) != snapshot_id(chain.state)
