"""Targets: nobody's word counts; a proof waits for our own replay, which no flood repeats; then we act."""

from dataclasses import replace

import pytest

from p2pai import effects, events
from p2pai.chain import transition
from p2pai.chain.fraud import Judgement
from p2pai.chain.transaction import FraudProof, Pay, Transaction
from p2pai.effects import Verdict
from p2pai.gossip import sync
from p2pai.node.accusations import HELD_MAX
from p2pai.node.posted import Posted
from p2pai.primitives import record
from p2pai.primitives.ids import PeerId
from tests.chain.ledger import MINERS, VERIFIERS, Chain, key_hash, label
from tests.roles.capsules import Asking, capsule, false_end, judge, made_up, replay

PRICE = 10**9
LIAR, PROVER = MINERS[0], 8
REMOTE = PeerId("peer9")


class Scene:
    """A chain whose second block is false, the branch without it, and a node on the false one."""

    def __init__(self, roles=("peer",), account=7, approvers=(), after=0):
        self.chain = Chain()
        self.chain.mine()
        self.honest = self.chain.fork()
        made_up(chain=self.chain, miner=LIAR)
        self.false = self.chain.blocks[-1]
        self.lucky = capsule(self.chain)
        self.at_false = self.chain.fork()
        if approvers:
            self.chain.approve(self.false, approvers)
        for _ in range(after + bool(approvers)):
            self.chain.mine(miner=MINERS[1])
        self.node = Asking(self.chain, account, roles)

    def proof(self, account=PROVER, **changes):
        found = false_end(self.lucky)[1]
        data = FraudProof(self.false.hash, 2, self.false.work_proof.ticket, found, ())
        return self.honest.fund(account, replace(data, **changes))

    def hear(self, tx=None):
        return self.node.hear("tx", (tx or self.proof()).encoded)

    def replayed(self, **honest):
        replay(self.node, self.at_false, **honest)

    @property
    def core(self):
        return self.node.core

    @property
    def left(self):
        return self.false.hash not in self.core.ledger.tree


@pytest.fixture
def scene():
    return Scene()


class TestOthers:
    def test_a_proof_waits_for_our_replay_and_then_we_leave_and_pass_it_on(self, scene):
        tx = scene.proof()
        assert scene.hear(tx).verdict is Verdict.IGNORE
        assert scene.node.posted(FraudProof) == []
        assert not scene.left
        scene.replayed()
        assert scene.left
        assert scene.core.state.tip == scene.honest.state.tip
        assert tx.txid in scene.core.ledger.mempool
        assert scene.node.posted(FraudProof) == [tx]

    def test_one_about_an_honest_block_is_dropped_and_refused_from_then_on(self, scene):
        scene.hear()
        scene.replayed(honest=True)
        assert not scene.left
        assert scene.node.posted(FraudProof) == []
        judged = scene.hear()
        assert (judged.verdict, judged.reason) == (
            Verdict.REJECT,
            "the block that the proof accuses gives what its miner recorded",
        )
        assert scene.node.fetches == {}

    def test_a_block_that_we_judged_before_needs_no_replay(self, scene):
        judge(scene.node, scene.false.hash)
        scene.replayed()
        assert scene.hear().verdict is Verdict.ACCEPT
        assert scene.left
        assert scene.node.jobs == []

    def test_a_proof_that_does_not_hold_makes_us_leave_nothing(self, scene):
        judge(scene.node, scene.false.hash)
        scene.replayed()
        assert scene.hear(scene.proof(found=label("guess"))).verdict is Verdict.IGNORE
        assert not scene.left

    def test_one_that_pays_too_little_convinces_others_too(self, scene):
        judge(scene.node, scene.false.hash)
        scene.replayed()
        tx, state = scene.proof(), scene.honest.state
        _, fee = transition.apply_transaction(state, tx, scene.honest.params, judged=scene.core.judged)
        outputs = (*tx.outputs, Pay(fee, key_hash(PROVER)))
        free = scene.honest.sign(replace(tx, outputs=outputs, witnesses=()), PROVER)
        assert scene.hear(free).verdict is Verdict.ACCEPT
        assert scene.left
        assert len(scene.core.ledger.mempool) == 0
        assert scene.hear(free).verdict is Verdict.IGNORE, "once is enough"

    def test_a_flood_costs_one_replay_and_little_room(self, scene):
        for i in range(3 * HELD_MAX):
            scene.hear(scene.proof(found=label(i)))
        scene.hear()
        assert len(scene.core.accusations.held) == HELD_MAX
        scene.replayed()
        assert scene.node.jobs == []
        assert scene.left, "the one that is right was among them"

    def test_a_proof_in_a_block_waits_too(self, scene):
        tx = scene.proof()
        scene.honest.judged[scene.false.hash] = Judgement(2, tx.data.ticket, tx.data.found, "metric loss")
        scene.honest.add(tx)
        block = scene.honest.mine(miner=MINERS[1])
        assert scene.node.hear("block", block.encoded).verdict is Verdict.IGNORE
        assert scene.core.accusations.waiting == {scene.false.hash: None}
        scene.replayed()
        assert scene.core.accusations.waiting == {}
        assert scene.node.hear("block", block.encoded).verdict is Verdict.ACCEPT
        assert scene.left
        assert scene.core.state.tip == block.hash

    def test_a_block_that_proves_false_what_it_builds_on_is_refused_and_nothing_else(self, scene):
        judge(scene.node, scene.false.hash)
        scene.replayed()
        chain = scene.at_false
        chain.judged.update(scene.core.judged)
        chain.post(PROVER, scene.proof().data)
        heard = scene.node.hear("block", chain.mine(miner=MINERS[1]).encoded)
        assert (heard.verdict, heard.reason) == (
            Verdict.REJECT,
            "the block proves false what it builds on",
        )
        assert scene.core.state.tip == scene.chain.state.tip

    def test_what_builds_on_a_false_block_is_ignored_not_held_against_its_sender(self, scene):
        scene.hear()
        scene.replayed()
        late = scene.chain.mine(miner=MINERS[1])
        assert scene.node.hear("block", late.encoded).verdict is Verdict.IGNORE
        assert scene.node.hear("block", scene.false.encoded).verdict is Verdict.IGNORE

    def test_a_restart_before_the_proof_is_on_the_chain_needs_no_second_replay(self, scene):
        tx = scene.proof()
        scene.hear(tx)
        scene.replayed()
        scene.node = scene.node.again()
        assert scene.hear(tx).verdict is Verdict.ACCEPT
        assert scene.left
        assert scene.node.fetches == {}

    def test_a_restart_after_it_leads_to_the_same_tip(self, scene):
        tx = scene.proof()
        scene.hear(tx)
        scene.replayed()
        scene.honest.judged.update(scene.core.judged)
        scene.honest.add(tx)
        block = scene.honest.mine(miner=MINERS[1])
        scene.node.connect(block)
        again = scene.node.again()
        assert again.core.state.tip == block.hash
        assert scene.false.hash not in again.core.ledger.tree


class TestUnknown:
    """A node that never saw the false branch."""

    @pytest.fixture
    def stranger(self):
        scene = Scene()
        scene.node = Asking(scene.honest, 7, ("peer",))
        scene.node.give(events.Connected(REMOTE))
        return scene

    def answer(self, scene, *blocks):
        """Answer the newest question for blocks; return which it was for."""
        asked = [e for e in scene.node.asked if wanted(e)]
        question = asked[-1]
        body = record.encode_tagged(sync.Blocks(tuple(b.encoded for b in blocks)))
        scene.node.give(events.Answered(question.request, REMOTE, body))
        return wanted(question)

    def test_asks_for_the_block_and_replays_it(self, stranger):
        stranger.hear()
        assert self.answer(stranger, stranger.false) == (stranger.false.hash,)
        assert not stranger.left
        tx = stranger.proof()
        assert stranger.hear(tx).verdict is Verdict.IGNORE
        stranger.replayed()
        assert stranger.left
        assert stranger.core.state.tip == stranger.honest.state.tip

    def test_asks_for_what_the_block_builds_on_too(self, stranger):
        chain = stranger.at_false
        made_up(chain=chain, miner=LIAR, iteration=8)
        top, ticket = chain.blocks[-1], chain.blocks[-1].work_proof.ticket
        stranger.hear(stranger.proof(block=top.hash, height=3, ticket=ticket))
        assert self.answer(stranger, top) == (top.hash,)
        assert self.answer(stranger, stranger.false) == (stranger.false.hash,)
        assert top.hash in stranger.core.ledger.tree
        assert stranger.node.fetches != {}

    def test_takes_no_other_block(self, stranger):
        stranger.hear()
        self.answer(stranger, stranger.chain.blocks[0])
        assert stranger.left
        assert stranger.node.fetches == {}

    def test_asks_one_question_at_a_time(self, stranger):
        for i in range(5):
            stranger.hear(stranger.proof(block=label(i)))
        assert len([e for e in stranger.node.asked if wanted(e)]) == 1

    def test_gets_the_false_block_from_one_that_has_left_it(self):
        scene = Scene()
        scene.hear()
        scene.replayed()
        question = record.encode_tagged(sync.AskBodies((scene.false.hash,)))
        reaction = scene.node.give(events.Asked(5, REMOTE, question))
        (answer,) = [e for e in reaction if isinstance(e, effects.Answer)]
        assert sync.read_blocks(answer.body) == (scene.false.encoded,)


def wanted(ask):
    question = sync.read_question(ask.body)
    return question.blocks if isinstance(question, sync.AskBodies) else None


class TestOwn:
    def test_an_auditor_proves_it_with_the_approvals_of_the_chain_and_takes_its_share(self):
        scene = Scene(("auditor",), 7, approvers=VERIFIERS, after=2)
        scene.replayed()
        assert scene.left
        (tx,) = scene.node.posted(FraudProof)
        assert len(tx.data.approvals) == 3
        gained = sum(o.value for o in tx.outputs) - sum(scene.honest.pool.utxos[i].value for i in tx.inputs)
        assert 2 * PRICE - 5_000 < gained < 2 * PRICE
        assert all(o.key_hash == key_hash(7) for o in tx.outputs)
        scene.honest.judged.update(scene.core.judged)
        scene.honest.add(tx)

    def test_and_with_those_that_wait(self):
        scene = Scene(("auditor",), 7)
        scene.chain.approve(scene.false, VERIFIERS[:2])
        for tx in scene.chain.queue:
            scene.hear(tx)
        scene.chain.queue.clear()
        scene.chain.pool = scene.chain.state
        scene.replayed()
        scene.node.wait(1_000)
        assert scene.node.posted(FraudProof) == [], "who committed may show a verdict still"
        scene.core.accuse(scene.false.hash)
        proof = next(
            iter(t for t in scene.core.ledger.mempool.transactions() if isinstance(t.data, FraudProof))
        )
        assert len(proof.data.approvals) == 2

    def test_whoever_committed_is_waited_for_until_the_window_ends(self):
        scene = Scene(("auditor",), 7)
        scene.chain.post(1, scene.chain.commit(scene.false, 1))
        scene.node.mine(miner=MINERS[1])
        scene.replayed()
        window, opened = scene.chain.params.verification_window_blocks, 2
        while scene.chain.height + 1 < opened + window - 1:
            assert not scene.left
            scene.node.mine(miner=MINERS[1])
        assert scene.left
        assert len(scene.node.posted(FraudProof)) == 1

    def test_who_has_shown_a_verdict_is_not_waited_for(self):
        scene = Scene(("auditor",), 7, approvers=VERIFIERS)
        assert scene.core.pool.verifications[scene.false.hash].approvals == 3
        scene.replayed()
        assert scene.left

    def test_without_a_coin_it_stays(self):
        scene = Scene(("auditor",), 7, approvers=VERIFIERS)
        utxos = scene.core.state.utxos
        for outpoint in scene.core.accounts.confirmed(scene.core.accounts.get(0), scene.core.state):
            utxos = utxos.delete(outpoint)
        poor = replace(scene.core.state, utxos=utxos)
        scene.core.ledger.mempool.rebase(poor)
        scene.replayed()
        assert not scene.left
        assert scene.node.posted(FraudProof) == []

    def test_it_is_proven_once(self):
        scene = Scene(("auditor",), 7, approvers=VERIFIERS)
        scene.replayed()
        for _ in range(3):
            scene.core.attend()
        assert len(scene.node.posted(FraudProof)) == 1

    def test_somebody_elses_proof_is_enough(self):
        """Or all auditors would fight for the share."""
        scene = Scene(("auditor",), 7)
        scene.chain.post(1, scene.chain.commit(scene.false, 1))
        scene.node.mine(miner=MINERS[1])
        scene.replayed()
        assert not scene.left
        assert scene.hear().verdict is Verdict.ACCEPT
        assert scene.left
        scene.core.attend()
        assert scene.node.posted(FraudProof) == []
        assert len(scene.core.ledger.mempool) == 1

    def test_a_proof_that_a_reorganisation_lost_is_made_anew(self):
        scene = Scene(("auditor",), 7, approvers=VERIFIERS)
        scene.replayed()
        (tx,) = scene.node.posted(FraudProof)
        scene.core.ledger.mempool.rebase(scene.core.state)
        scene.core._posted = Posted()
        scene.core.ledger.mempool = type(scene.core.ledger.mempool)(
            scene.core.state, scene.core.params, scene.core.judged
        )
        scene.core.attend()
        assert any(isinstance(t.data, FraudProof) for t in scene.core.ledger.mempool.transactions())
        assert tx.data.block == scene.false.hash

    def test_it_is_said_again_after_a_restart(self):
        scene = Scene(("auditor",), 7, approvers=VERIFIERS)
        scene.replayed()
        (tx,) = scene.node.posted(FraudProof)
        scene.node = scene.node.again()
        scene.node.wait(20_000)
        assert scene.left
        assert [t.txid for t in scene.node.posted(FraudProof)] == [tx.txid]
        assert isinstance(scene.core.ledger.mempool.get(tx.txid), Transaction)
