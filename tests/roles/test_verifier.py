"""Target: a verifier replays each block that it was drawn for, commits to its verdict, shows it in time."""

from dataclasses import replace
from functools import cache

import pytest

from p2pai import jobs
from p2pai.chain import it_res, verification
from p2pai.chain.fraud import Judgement
from p2pai.chain.transaction import CollectVerifications, VerifyCommit, VerifyReveal
from p2pai.effects import Persist
from p2pai.jaxtrain.worker import Worker
from p2pai.node import journal
from p2pai.node.judging import RETRY_MS, TRIES_MAX
from p2pai.primitives.ids import PeerId
from p2pai.roles import replaying
from p2pai.roles.proving import commits_closed
from p2pai.roles.replaying import Finding, VerdictReached
from testnet.simulator.host import Blobs
from tests.chain.ledger import MINERS, VERIFIERS, Chain, devnet
from tests.node.parts import stored
from tests.roles.capsules import NO_PEERS, capsule, give_parts, made_up
from tests.roles.lone import EMPTY_MAP, Lone
from tests.roles.trained import Group


class WrongMap(Worker):
    """Says of each iteration that it moved nothing."""

    def run(self, job):
        result = super().run(job)
        return replace(result, message_map=EMPTY_MAP) if isinstance(job, jobs.Step) else result


@cache
def trained(honest):
    """A block that was really mined, and the miner that keeps its capsule."""
    group = Group(workers={} if honest else {MINERS[0]: WrongMap})
    group.block = group.lucky_block()
    return group


def verifier(chain, account=VERIFIERS[0], **changes):
    return Lone(chain, account, ("verifier",), **changes)


def replayer(honest):
    """A verifier with a trainer, that heard of the mined block."""
    blobs = Blobs()
    return verifier(Chain(*_chain_of(honest)), blobs=blobs, worker=Worker(blobs))


def _chain_of(honest):
    chain = trained(honest).chain
    return chain.spec, chain.state, list(chain.blocks)


def serve(node, honest):
    """Give the verifier what the miner keeps."""
    store = trained(honest).nodes[MINERS[0]].blobs
    while node.fetches:
        name = next(iter(node.fetches))
        assert name in store.shared
        node.fetched(name, store.get(name))


def verdict(chain, block, reason=""):
    judgement = Judgement(chain.height, block.work_proof.ticket, chain.precursors[block.hash], reason)
    return VerdictReached(block.hash, judgement)


def with_verdict(chain, reason=""):
    """A verifier that had just come to its verdict on the last block when it was killed."""
    block = chain.blocks[-1]
    reached = verdict(chain, block, reason)
    return verifier(chain, writes=[*stored(chain.blocks), Persist(0, journal.write(reached))])


def opening(node, block, finding):
    """The commitment that the node should have made."""
    (ticket,) = [o for o, _ in node.role().tickets()]
    salt = node.core.identity.salt(b"verdict", block, ticket.encode())
    return VerifyCommit(
        block,
        ticket,
        verification.commitment(ticket, block, finding.precursor, not finding.reason, salt),
    )


class TestReplaying:
    def test_the_parts_of_the_capsule_are_asked_for(self):
        node = replayer(honest=True)
        lucky = replaying.lucky_iteration(trained(honest=True).block)
        assert sorted(node.fetches) == sorted(lucky.parts())

    def test_they_are_asked_from_the_miner_first(self):
        spec = devnet()
        tickets = tuple(
            replace(b, ticket=replace(b.ticket, peer=PeerId(b.ticket.role))) for b in spec.tickets
        )
        node = verifier(made_up(chain=Chain(replace(spec, tickets=tickets))))
        assert list(node.fetches.values()) == [("miner",)] * 5

    def test_an_honest_block_is_approved(self):
        node = replayer(honest=True)
        block = trained(honest=True).block
        serve(node, honest=True)
        finding = node.role().finding(block.hash)
        assert finding.reason == ""
        assert it_res.nonce(finding.precursor) == it_res.decode(block.work_proof.lucky.message).nonce
        (tx,) = node.posted(VerifyCommit)
        assert tx.data == opening(node, block.hash, finding)
        assert node.records(VerdictReached) == [
            VerdictReached(block.hash, Judgement(1, block.work_proof.ticket, finding.precursor, ""))
        ]

    def test_a_dishonest_block_is_not_and_the_reason_is_kept(self):
        node = replayer(honest=False)
        block = trained(honest=False).block
        serve(node, honest=False)
        finding = node.role().finding(block.hash)
        assert finding.reason.startswith("message map at layer")
        (tx,) = node.posted(VerifyCommit)
        assert tx.data == opening(node, block.hash, finding), "it is committed all the same, as not approved"

    def test_who_was_not_drawn_does_nothing(self):
        chain = made_up()
        node = Lone(chain, 7, ("verifier",))
        assert node.fetches == {}

    def test_the_whole_capsule_must_be_there(self):
        chain = made_up()
        node, lucky = verifier(chain), capsule(chain)
        node.fetched(lucky.message.applied, (NO_PEERS,))
        for part in list(node.fetches):
            assert node.jobs == []
            node.fetched_large(part)
        assert len(node.jobs) == 1

    def test_a_part_that_is_nowhere_ends_the_attempt_once(self):
        chain = made_up()
        node, lucky = verifier(chain), capsule(chain)
        parts = list(node.fetches)
        for part in parts:
            node.fetched(part)
        assert list(node.timers).count(f"capsule:{chain.blocks[-1].hash.hex()}") == 1
        node.wait(RETRY_MS)
        give_parts(node, lucky)
        assert len(node.jobs) == 1

    def test_the_trainer_gets_what_the_block_says(self):
        chain = made_up()
        node, lucky = verifier(chain), capsule(chain)
        give_parts(node, lucky)
        (effect,) = node.jobs
        assert effect.job == replaying.replay_job(lucky, NO_PEERS, chain.state)

    def test_a_list_of_peers_that_contradicts_the_block_is_a_finding_without_replay(self):
        chain = made_up(applied=b"junk")
        node = verifier(chain)
        give_parts(node, capsule(chain), b"junk")
        assert node.jobs == []
        finding = node.role().finding(chain.blocks[-1].hash)
        assert finding.reason != ""
        (tx,) = node.posted(VerifyCommit)
        assert tx.data == opening(node, chain.blocks[-1].hash, finding)

    def test_a_capsule_that_is_nowhere_is_asked_for_again_for_a_while(self):
        chain = made_up()
        node, lucky = verifier(chain), capsule(chain)
        for attempt in range(TRIES_MAX):
            assert lucky.message.weights in node.fetches, attempt
            for part in list(node.fetches):
                node.fetched(part)
            node.wait(RETRY_MS)
        assert node.fetches == {}
        node.wait(60_000)
        assert node.fetches == {}, "it is given up"
        assert node.posted(VerifyCommit) == []

    def test_a_trainer_that_fails_is_asked_again_and_is_no_verdict(self):
        chain = made_up()
        node, lucky = verifier(chain), capsule(chain)
        give_parts(node, lucky)
        node.trained(jobs.Failed("killed"))
        assert node.core.judged == {}
        node.wait(RETRY_MS)
        give_parts(node, lucky)
        assert len(node.jobs) == 1

    def test_a_block_that_was_reorganised_away_is_not_replayed(self):
        chain = made_up()
        node = verifier(chain)
        other = Chain(chain.spec)
        for _ in range(2):
            other.mine(miner=MINERS[1], iteration=8)  # of another state, so that its capsule is another
        for part in list(node.fetches):
            node.fetched(part)
        for block in other.blocks:
            node.hear("block", block.encoded)
        assert node.core.state.tip == other.state.tip
        lost = capsule(chain).message.weights
        assert lost not in node.fetches
        node.wait(10 * RETRY_MS)
        assert lost not in node.fetches


class TestCommitting:
    def test_nothing_is_committed_before_it_is_noted(self):
        chain = made_up()
        node, lucky = verifier(chain), capsule(chain)
        node.hold_disk = True
        give_parts(node, lucky)
        m = lucky.message
        end = it_res.EndState(m.weights, m.residual, m.optimiser, m.nonce)
        node.trained(jobs.Replayed(end, m.nonce, "metric loss: recorded 0, replayed 1"))
        node.wait(10_000)
        assert node.posted(VerifyCommit) == []
        node.hold_disk = False
        node.write()
        (tx,) = node.posted(VerifyCommit)
        finding = Finding(it_res.precursor(end, m.message_map), "metric loss: recorded 0, replayed 1")
        assert tx.data == opening(node, chain.blocks[-1].hash, finding)

    @pytest.mark.parametrize("reason", ["", "metric loss"])
    def test_a_restart_commits_to_the_same_verdict_with_the_same_salt(self, reason):
        chain = made_up()
        commits = [with_verdict(chain, reason).posted(VerifyCommit)[0].data for _ in range(2)]
        assert commits[0] == commits[1]
        other = with_verdict(chain, "" if reason else "metric loss").posted(VerifyCommit)[0].data
        assert other.commitment != commits[0].commitment

    def test_it_commits_once(self):
        node = with_verdict(made_up())
        node.wait(20_000)
        node.hand_over()
        node.mine()
        node.wait(20_000)
        assert len(node.posted(VerifyCommit)) == 1

    def test_each_verifier_commits_to_something_else(self):
        chain = made_up()
        reached = journal.write(verdict(chain, chain.blocks[-1]))
        writes = [*stored(chain.blocks), Persist(0, reached)]
        nodes = [verifier(chain, account, writes=writes) for account in VERIFIERS]
        commitments = [node.posted(VerifyCommit)[0].data.commitment for node in nodes]
        assert len(dict.fromkeys(commitments)) == len(VERIFIERS)


class TestRevealing:
    def committed(self, reason=""):
        """A verifier whose commit is on the chain, and the block."""
        chain = made_up()
        node, block = with_verdict(chain, reason), chain.blocks[-1]
        node.hand_over()
        node.mine()
        return node, block.hash

    def test_a_verdict_is_not_shown_while_others_may_commit(self):
        node, block = self.committed()
        assert not commits_closed(node.core, block)
        node.wait(20_000)
        assert node.posted(VerifyReveal) == []

    def test_it_is_shown_when_the_miner_has_collected(self):
        node, block = self.committed()
        node.chain.post(MINERS[0], CollectVerifications(block))
        node.mine()
        (tx,) = node.posted(VerifyReveal)
        assert (tx.data.block, tx.data.approved) == (block, True)
        node.hand_over()
        assert node.chain.pool.verifications[block].approvals == 1

    def test_a_collection_that_only_waits_closes_nothing(self):
        node, block = self.committed()
        tx = node.chain.fund(MINERS[0], CollectVerifications(block))
        node.hear("tx", tx.encoded)
        node.wait(1_000)
        assert node.core.pool.verifications[block].collected
        assert node.posted(VerifyReveal) == [], "a reorganisation could open the commits again"

    def test_it_is_shown_when_half_the_window_is_over(self):
        node, block = self.committed()
        window = node.chain.params.verification_window_blocks
        opened = node.chain.state.verifications[block].height
        while node.chain.height + 1 <= opened + window // 2:
            assert node.posted(VerifyReveal) == []
            node.mine()
        assert len(node.posted(VerifyReveal)) == 1
        node.hand_over()
        assert len(node.chain.pool.verifications[block].reveals) == 1

    @pytest.mark.parametrize("reason", ["", "metric loss"])
    def test_a_restart_between_commit_and_reveal_changes_nothing(self, reason):
        node, block = self.committed(reason)
        again = node.again()
        assert again.jobs == []
        again.chain.post(MINERS[0], CollectVerifications(block))
        again.mine()
        again.hand_over()
        (revealed,) = again.chain.pool.verifications[block].reveals
        assert revealed.approved == (reason == "")

    def test_it_is_shown_once(self):
        node, block = self.committed()
        node.chain.post(MINERS[0], CollectVerifications(block))
        node.mine()
        node.hand_over()
        node.mine()
        node.wait(20_000)
        assert len(node.posted(VerifyReveal)) == 1

    def test_who_committed_elsewhere_and_forgot_reveals_nothing(self):
        node, block = self.committed()
        again = node.again(writes=node.writes_without(VerdictReached))
        again.chain.post(MINERS[0], CollectVerifications(block))
        again.mine()
        assert again.posted(VerifyReveal) == []

    def test_when_the_window_is_over_nothing_more_is_said(self):
        node, block = self.committed()
        assert not commits_closed(node.core, block)
        while block in node.chain.state.verifications:
            node.chain.mine()
        assert not commits_closed(node.core, block)
        late = Lone(node.chain, VERIFIERS[0], ("verifier",))
        assert all(tx.data.block != block for tx in late.posted(VerifyReveal))
