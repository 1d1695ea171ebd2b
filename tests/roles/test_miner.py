"""Target: a miner chooses what to train, collects verdicts on its blocks, and remembers what it signed."""

import pytest

from p2pai import jobs
from p2pai.chain import schedule
from p2pai.chain.fraud import Judgement
from p2pai.chain.state import Stage
from p2pai.chain.transaction import CollectVerifications, FraudProof
from p2pai.primitives.ids import ZERO_HASH, BlobId
from p2pai.roles.memory import IterationSent, StateKept
from p2pai.roles.session import RETRY_MS
from tests.chain.ledger import MINERS, VERIFIERS, Chain, label
from tests.roles.lone import Lone, iteration
from tests.roles.trained import Group


@pytest.fixture
def chain():
    return Chain()


def miner(chain, account=MINERS[0], **changes):
    return Lone(chain, account, ("miner",), **changes)


PREPARED = jobs.Prepared(1797, 64, 10, 0, ())
OPENED = jobs.Opened(jobs.ModelState(*(BlobId(label(p)) for p in "wro")), 10, 44, ZERO_HASH)


def job(lone, kind):
    """Return where the one open job of a kind stands."""
    (index,) = [i for i, effect in enumerate(lone.jobs) if isinstance(effect.job, kind)]
    return index


def schedule_of(chain, task):
    known = chain.task(task)
    return schedule.make_schedule(known.definition, known.definition_block)


class TestChoosing:
    def test_the_predefined_task_is_trained_when_there_is_no_other(self, chain):
        assert miner(chain).role().session.task_id == chain.predefined

    def test_a_clients_task_comes_first(self, chain):
        lone = miner(chain)
        first = lone.role().session
        task = chain.start()
        for block in chain.blocks:
            lone.connect(block)
        assert lone.role().session.task_id == task
        assert lone.role().session is not first

    def test_when_it_is_over_the_predefined_one_goes_on(self, chain):
        task = chain.start()
        lone = miner(chain)
        chain.end_training(task)
        lone.connect(chain.blocks[-1])
        assert chain.task(task).stage is Stage.EVALUATING
        assert lone.role().session.task_id == chain.predefined

    def test_an_unchanged_task_is_not_begun_again(self, chain):
        lone = miner(chain)
        session = lone.role().session
        for _ in range(3):
            lone.mine()
        assert lone.role().session is session

    def test_who_has_no_ticket_in_a_task_trains_nothing(self, chain):
        assert miner(chain, account=7).role().session is None

    def test_a_reorganisation_that_takes_the_task_away_ends_its_training(self, chain):
        task = chain.start()
        lone = miner(chain)
        assert lone.role().session.task_id == task
        other = Chain(chain.spec)
        while other.height <= chain.height:
            other.mine(miner=MINERS[1])
        for block in other.blocks:
            lone.hear("block", block.encoded)
        assert lone.core.state.tip == other.state.tip
        assert lone.role().session.task_id == chain.predefined

    def test_while_a_clients_data_are_missing_the_predefined_task_is_trained(self, chain):
        task = chain.start()
        lone = miner(chain)
        lone.trained(PREPARED, job(lone, jobs.Prepare))
        for fragment in schedule_of(chain, chain.predefined).training:
            lone.fetched_large(fragment)
        assert lone.fetches, "the client's training data are others"
        lone.trained(OPENED, job(lone, jobs.Open))
        assert lone.role().session.task_id == chain.predefined
        assert any(isinstance(e.job, jobs.Step) for e in lone.jobs)
        for fragment in list(lone.fetches):
            lone.fetched_large(fragment)
        lone.trained(jobs.Failed("they are not what the task says"), job(lone, jobs.Open))
        assert lone.role().session.task_id == chain.predefined, "it must go on, or the chain stands still"
        lone.wait(RETRY_MS)
        lone.trained(OPENED, job(lone, jobs.Open))
        assert lone.role().session.task_id == task

    @pytest.mark.parametrize("is_convicted", [False, True])
    def test_updates_of_one_that_lost_its_stake_for_a_lie_are_not_applied(self, chain, is_convicted):
        lone = miner(chain)
        lone.hear_iteration(iteration(chain, MINERS[1], 0))
        (ticket,) = chain.tickets("miner", MINERS[1], task=chain.predefined)
        if is_convicted:
            block, said = label("false block"), Judgement(1, ticket, label("found"), "message map")
            chain.judged[block] = lone.core.ledger.tree.judged[block] = said
            chain.post(7, FraudProof(block, said.height, ticket, said.found, ()))
            lone.mine()
        assert (ticket in lone.core.state.utxos) is not is_convicted
        lone.trained(PREPARED, job(lone, jobs.Prepare))
        for fragment in list(lone.fetches):
            lone.fetched_large(fragment)
        lone.trained(OPENED, job(lone, jobs.Open))
        assert len(lone.jobs[job(lone, jobs.Step)].job.peers) == (0 if is_convicted else 1)

    def test_what_the_trainer_answers_to_an_ended_session_is_ignored(self, chain):
        task = chain.start()
        lone = miner(chain)
        session = lone.role().session
        for fragment in list(lone.fetches):
            lone.fetched_large(fragment)
        opening = job(lone, jobs.Open)
        chain.end_training(task)
        lone.connect(chain.blocks[-1])
        lone.trained(OPENED, opening)
        assert session is not lone.role().session
        assert not any(isinstance(e.job, jobs.Step) for e in lone.jobs)


class TestCollecting:
    def committed(self, chain, accounts):
        block = chain.mine()
        for account in accounts:
            chain.post(account, chain.commit(block, account))
        chain.mine()
        return block.hash

    def collects(self, lone):
        return [tx.data.block for tx in lone.posted(CollectVerifications)]

    def test_when_all_verifiers_have_committed(self, chain):
        block = self.committed(chain, VERIFIERS)
        lone = miner(chain)
        assert self.collects(lone) == [block]
        lone.hand_over()
        lone.mine()
        lone.wait(5_000)
        assert chain.state.verifications[block].collected
        assert self.collects(lone) == [block], "once"

    def test_all_are_waited_for(self, chain):
        block = self.committed(chain, VERIFIERS[:1])
        lone = miner(chain)
        for _ in range(chain.params.verification_window_blocks):
            assert self.collects(lone) == [], "what is late may still come"
            lone.mine()
        assert block not in chain.state.verifications

    def test_there_is_nothing_to_collect_without_commits(self, chain):
        self.committed(chain, ())
        lone = miner(chain)
        for _ in range(3):
            lone.mine()
        assert self.collects(lone) == []

    def test_anothers_block_is_not_ones_own_to_collect(self, chain):
        self.committed(chain, VERIFIERS)
        lone = miner(chain, MINERS[1])
        lone.mine()
        assert self.collects(lone) == []


class TestMemory:
    def test_each_ticket_in_each_task_is_remembered_apart(self, chain):
        role = miner(chain, account=7).role()
        tasks, tickets = (label("a"), label("b")), chain.tickets("miner", MINERS[0])
        state = jobs.ModelState(*(BlobId(label(p)) for p in "wro"))
        said = {number: iteration(chain, MINERS[0], number) for number in (1, 2)}
        for task in tasks:
            for number in (1, 2):
                role.restore(IterationSent(task, tickets[0], number, said[number]))
        role.restore(StateKept(tasks[1], tickets[0], state, (), 4))
        memories = [role._memory(task, tickets[0]) for task in tasks]
        assert [(m.sent, m.message, m.state, m.slot) for m in memories] == [
            (2, said[2], None, 0),
            (2, said[2], state, 4),
        ]

    def test_records_of_other_roles_are_none_of_its_business(self, chain):
        role = miner(chain, account=7).role()
        role.restore(object())
        assert role._memories == {}

    def test_a_session_begins_where_the_journal_ends(self, chain):
        lone = miner(chain)
        ticket = lone.role().session.ticket
        role = lone.role()
        role.restore(IterationSent(chain.predefined, ticket, 6, iteration(chain, MINERS[0], 6)))
        role._sessions.clear()
        role.tip_changed()
        lone.core.take_effects()
        assert role.session.iteration == 7


@pytest.fixture(scope="module")
def group():
    made = Group()
    made.run(lambda: all(made.blocks.get(a) for a in made.accounts))
    return made


class TestMining:
    def test_training_yields_blocks_that_the_ledger_accepts(self, group):
        for account in group.accounts:
            for block in group.blocks[account]:
                fork = Chain(group.chain.spec)
                fork.connect(block)
                assert block.transactions[0].data.ticket == group.role(account).session.ticket

    def test_nothing_of_their_own_was_refused(self, group):
        assert [node.core.ledger.discarded for node in group.nodes.values()] == [{}] * len(group.nodes)

    def test_its_own_block_is_durable_before_it_is_said(self):
        group = Group(accounts=MINERS[:1])
        node = group.nodes[MINERS[0]]
        group.run(lambda: node.role().session.mining.lucky or node.core.state.height)
        node.hold_disk = True
        before = len(group.blocks.get(MINERS[0], ()))
        for _ in range(4):
            group.step()
        assert len(group.blocks.get(MINERS[0], ())) == before

    def test_each_has_its_place_in_the_task(self, group):
        known = group.chain.task(group.task)
        for account in group.accounts:
            place = group.role(account).session.place
            assert (group.chain.account(place.ticket), place.roster) == (account, known.roster)
