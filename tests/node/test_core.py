"""Targets: one verdict for each message, one answer for each question, whatever they hold; nothing is said
before it is durable; a node that starts again is where it was and says again what waits; a question
changes nothing.

NodeCore.handle, event by event (tests/sim/test_hostile.py does the same in the middle of a real history).
"""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from p2pai import effects, events
from p2pai.chain.block import Block
from p2pai.chain.headers import meets_target
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.transaction import Pay, Stake, Transaction, Transfer
from p2pai.effects import Judge, Verdict
from p2pai.gossip import sync
from p2pai.gossip.envelope import Envelope, open_envelope, seal
from p2pai.gossip.limits import GOSSIP_SIZE_MAX
from p2pai.gossip.topics import NAMES, Topic
from p2pai.node.core import ANNOUNCE_MS, ATTEND_MS, ROLES, NodeCore
from p2pai.node.journal import TransactionPosted, read, write
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import PeerId
from testnet.simulator.disk import Disk
from tests.chain.ledger import CLIENT, MINERS, Chain, devnet, flip, key_hash, keys, label, public
from tests.node.parts import (
    REMOTE,
    START_MS,
    STRANGER,
    Driven,
    grown,
    iteration,
    model,
    of,
    payment,
    said,
    slot,
    stored,
)

IGNORE = Judge(Verdict.IGNORE)
OFTEN = settings(deadline=None, max_examples=150)


@pytest.fixture
def node():
    return Driven()


class TestRoles:
    def test_every_role_has_a_name(self):
        core = NodeCore(devnet(), keys(7), PeerId("p"), list(ROLES), Disk())
        assert list(core.roles) == [
            "peer",
            "client",
            "miner",
            "supervisor",
            "verifier",
            "evaluator",
            "auditor",
        ]

    def test_a_role_twice_is_one(self):
        assert list(NodeCore(devnet(), keys(7), PeerId("p"), ["peer", "peer"], Disk()).roles) == ["peer"]

    def test_an_unknown_role_is_refused_with_a_sentence(self):
        roles = f"there is no role 'king'; the roles are {', '.join(ROLES)}"
        with pytest.raises(InvalidInput, match=f"^{roles}$"):
            NodeCore(devnet(), keys(7), PeerId("p"), ["peer", "king"], Disk())


class TestBeginning:
    def test_nothing_is_said_while_the_journal_is_read(self):
        driven = Driven(begin=False)
        assert driven.effects == [effects.SetTimer("begin", 0)]

    def test_then_it_joins_the_chains_topics_and_keeps_up(self):
        driven = Driven(begin=False)
        reaction = driven.fire("begin")
        short = devnet().short_id
        assert [e.topic for e in of(reaction, effects.Join)] == [
            f"/p2pai/{short}/chain/tx/1",
            f"/p2pai/{short}/chain/block/1",
        ]
        assert {e.name for e in of(reaction, effects.SetTimer)} >= {"announce", "sync"}

    def test_a_peer_alone_says_nothing(self, node):
        assert of(node.effects, effects.Publish) == []
        assert of(node.effects, effects.Persist) == []


class TestEnvelopes:
    """What stands around a message decides before the message does."""

    BODY = payment(Chain()).encoded

    @pytest.mark.parametrize(
        "topic", ["", "tx", "/p2pai/zzzzzzzz/chain/tx/1", "/p2pai/00000000/chain/gossip/1"]
    )
    def test_no_topic_of_ours(self, node, topic):
        assert node.receive(topic, b"anything") == Judge(Verdict.REJECT, "not a topic")

    def test_another_version_of_a_topic(self, node):
        topic = node.topic("tx")[:-1] + "2"
        assert node.receive(topic, b"anything") == Judge(Verdict.REJECT, "not a topic")

    def test_another_chain_is_not_our_business(self, node):
        topic = str(Topic("00000000", None, "tx"))
        assert node.receive(topic, seal(keys(STRANGER).spending, topic, 1, self.BODY)) == IGNORE
        assert node.receive(topic, b"garbage") == IGNORE

    def test_a_message_said_again_on_another_topic(self, node):
        data = seal(keys(STRANGER).spending, node.topic("tx"), 1, self.BODY)
        judge = node.receive(node.topic("block"), data)
        assert judge == Judge(Verdict.REJECT, "message belongs to another topic")

    @pytest.mark.parametrize(
        "changes", [{"sequence": 2}, {"body": b"other"}, {"sender": public(8)}, {"signature": b""}], ids=str
    )
    def test_a_signature_that_does_not_hold(self, node, changes):
        topic = node.topic("tx")
        envelope = open_envelope(seal(keys(STRANGER).spending, topic, 1, self.BODY), topic)
        judge = node.receive(topic, record.encode(replace(envelope, **changes)))
        assert judge.verdict is Verdict.REJECT
        assert len(node.core.ledger.mempool) == 0

    def test_one_that_is_too_large(self, node):
        topic = node.topic("tx")
        large = record.encode(Envelope(public(STRANGER), topic, 1, bytes(GOSSIP_SIZE_MAX), b""))
        assert node.receive(topic, large).verdict is Verdict.REJECT

    @pytest.mark.parametrize("name", [name for name in NAMES if name not in ("tx", "block")])
    def test_a_tasks_name_on_the_chains_topics_is_ignored(self, node, name):
        assert node.hear(name, b"anything") == IGNORE


class TestWhatWeSay:
    @pytest.fixture
    def saying(self):
        node = Driven(roles=("peer", "verifier"))
        node.core.follow(Chain().predefined)
        for number in range(3):
            node.core.publish("heartbeat", Chain().predefined, b"%d" % number)
        return of(node.fire("announce"), effects.Publish)

    def test_it_is_signed_by_our_key_for_its_topic(self, saying):
        for effect in saying:
            envelope = open_envelope(effect.data, effect.topic)
            assert envelope.sender == public(7)

    def test_no_number_is_used_twice(self, saying):
        numbers = [open_envelope(e.data, e.topic).sequence for e in saying]
        assert len(numbers) == 3
        assert numbers == sorted(set(numbers))

    def test_nor_after_a_restart(self, node):
        task = Chain().predefined
        numbers = []
        for driven in (node, node.restarted()):
            driven.core.publish("heartbeat", task, b"")
            (effect,) = of(driven.fire("announce"), effects.Publish)
            numbers.append(open_envelope(effect.data, effect.topic).sequence)
        assert numbers[0] < numbers[1]


@pytest.fixture(scope="module")
def known():
    """A node that follows a task, and real messages for every topic, by name."""
    chain = grown(2)
    node = Driven()
    node.core.follow(chain.predefined)
    node.connect()
    message = iteration(chain, 0)
    real = {
        "tx": payment(chain).encoded,
        "block": chain.blocks[0].encoded,
        "it_res": message,
        "message_history": record.encode_tagged(slot(chain, 0, [message])),
        "model": record.encode(model(chain)),
    }
    return node, chain, real


def check_one_verdict(node, topic, data):
    """Never an exception, exactly one verdict; nothing but an accepted message changes the node."""
    before = node.core.state.tip, len(node.core.ledger.mempool)
    judge = node.receive(topic, data)
    if judge.verdict is not Verdict.ACCEPT:
        assert (node.core.state.tip, len(node.core.ledger.mempool)) == before
    return judge


def has_another_lucky_nonce(block, data):
    """Return whether these are the bytes of the same block with another nonce that meets the easy target."""
    try:
        changed = Block.decode(data).header
    except InvalidInput:
        return False
    if changed.nonce == block.header.nonce or not meets_target(changed):
        return False
    return replace(changed, nonce=block.header.nonce) == block.header


class TestGarbage:
    """On every topic, as a question, as an answer."""

    def topics(self, node, chain):
        tasks = (None, chain.predefined, label("unknown"))
        return [node.topic(name, task) for name in NAMES for task in tasks]

    @OFTEN
    @given(data=st.binary(max_size=200), choice=st.data())
    def test_bytes_are_never_accepted(self, known, data, choice):
        node, chain, _ = known
        topic = choice.draw(st.sampled_from(self.topics(node, chain)))
        assert check_one_verdict(node, topic, data).verdict is not Verdict.ACCEPT

    @OFTEN
    @given(body=st.binary(max_size=200), choice=st.data())
    def test_nor_are_they_in_a_sound_envelope(self, known, body, choice):
        node, chain, _ = known
        topic = choice.draw(st.sampled_from(self.topics(node, chain)))
        data = seal(keys(STRANGER).spending, topic, 1, body)
        assert check_one_verdict(node, topic, data).verdict is not Verdict.ACCEPT

    @OFTEN
    @given(choice=st.data())
    def test_real_messages_with_a_changed_bit_are_never_accepted(self, known, choice):
        node, chain, real = known
        name = choice.draw(st.sampled_from(sorted(real)))
        body = flip(real[name], choice.draw(st.integers(0, 8 * len(real[name]) - 1)))
        assume(name != "block" or not has_another_lucky_nonce(chain.blocks[0], body))
        topic = node.topic(name, None if name in ("tx", "block") else chain.predefined)
        data = seal(keys(STRANGER).spending, topic, 1, body)
        assert check_one_verdict(node, topic, data).verdict is not Verdict.ACCEPT

    @OFTEN
    @given(choice=st.data())
    def test_one_kind_of_message_on_the_topic_of_another_is_never_accepted(self, known, choice):
        node, chain, real = known
        name, other = choice.draw(st.permutations(sorted(real)))[:2]
        topic = node.topic(other, None if other in ("tx", "block") else chain.predefined)
        data = seal(keys(STRANGER).spending, topic, 1, real[name])
        assert check_one_verdict(node, topic, data).verdict is not Verdict.ACCEPT

    def test_the_real_messages_are_accepted(self, known):
        """So the refusals above are not for want of anything else."""
        _, chain, real = known
        node = Driven()
        node.core.follow(chain.predefined)
        for name, body in real.items():
            task = None if name in ("tx", "block") else chain.predefined
            assert node.hear(name, body, task=task).verdict is Verdict.ACCEPT, name

    QUESTIONS = (
        sync.AskHeaders((label("tip"),)),
        sync.AskBodies((label("block"),)),
        sync.AskSlots(Chain().predefined, 0),
        sync.AskSlots(Chain().predefined, 2**64 - 1),
        sync.AskMessages(Chain().predefined, (label("message"),)),
        sync.AskUnrecorded(Chain().predefined, 3, b"abcdefgh"),
    )

    @pytest.mark.parametrize(
        "body", [b"", b"garbage", bytes(2 << 20), record.encode_tagged(sync.Blocks(()))], ids=len
    )
    def test_no_question_gets_an_empty_answer(self, known, body):
        assert known[0].ask(body) == b""

    @OFTEN
    @given(choice=st.data())
    def test_a_changed_question_gets_one_answer(self, known, choice):
        node, _, _ = known
        real = record.encode_tagged(choice.draw(st.sampled_from(self.QUESTIONS)))
        body = flip(real, choice.draw(st.integers(0, 8 * len(real) - 1)))
        answer = node.ask(choice.draw(st.sampled_from([real, body, body[:-1], body + b"\0"])))
        assert answer == b"" or sync.read_reply(answer) is not None

    @OFTEN
    @given(choice=st.data())
    def test_a_changed_answer_changes_nothing_that_does_not_prove_itself(self, known, choice):
        node, chain, real = known
        replies = (
            sync.Blocks((real["block"],)),
            sync.Headers(Block.decode(real["block"]).header.encode()),
            sync.Messages((real["it_res"],)),
            sync.Slots((slot(chain, 0, [real["it_res"]]),)),
        )
        data = record.encode_tagged(choice.draw(st.sampled_from(replies)))
        changed = flip(data, choice.draw(st.integers(0, 8 * len(data) - 1)))
        body = choice.draw(st.sampled_from([changed, data[:-1], data + b"\0"]) | st.binary(max_size=100))
        history = node.core.following[chain.predefined].history
        before = node.core.state.tip, len(history.messages), dict(history.slots)
        node.give(events.Disconnected(REMOTE))  # what it was asked is forgotten
        asked = of(node.connect() + node.fire(f"pull:{chain.predefined.hex()}"), effects.Ask)
        assert asked
        for question in asked:
            node.answer(question, body)
        assert (node.core.state.tip, len(history.messages), history.slots) == before


class TestDurability:
    """I13: what promises something leaves the node only after its record is durable."""

    @staticmethod
    def pay(node, value=1_000):
        tx = node.core.post(Transfer(), (Pay(value, key_hash(STRANGER)),))
        return tx, node.fire("sync")

    def test_a_transaction_is_announced_when_it_is_written(self, node):
        tx, reaction = self.pay(node)
        (persist,) = of(reaction, effects.Persist)
        assert read(persist.record) == TransactionPosted(tx.encoded)
        assert said(reaction, "tx") == []
        assert said(node.persist(), "tx") == [tx.encoded]

    def test_not_even_the_next_announcement_says_it_before(self, node):
        tx, _ = self.pay(node)
        assert said(node.fire("sync"), "tx") == []
        node.persist()
        assert said(node.fire("announce"), "tx") == [tx.encoded]

    def test_the_regular_announcement_does_not_say_it_before_either(self, node):
        self.pay(node)
        assert said(node.fire("announce"), "tx") == []

    def test_several_are_announced_in_their_order(self, node):
        txs = [self.pay(node, value)[0] for value in (1, 2, 3)]
        assert said(node.persist(), "tx") == [tx.encoded for tx in txs]

    def test_what_the_ledger_refuses_is_neither_written_nor_said(self, node):
        stake = Stake(1, key_hash(7))  # no ticket costs so little
        assert node.core.post(Chain().buy(7).data, (stake,)) is None
        reaction = node.fire("sync")
        assert of(reaction, effects.Persist) + of(reaction, effects.Publish) == []

    def test_it_is_said_again_until_a_block_has_it(self, node):
        tx, _ = self.pay(node)
        node.persist()
        assert node.timers["announce"] == ANNOUNCE_MS
        for _ in range(3):
            assert said(node.fire("announce"), "tx") == [tx.encoded]
        chain = Chain()
        chain.add(tx)
        chain.mine()
        node.hear_chain(chain)
        for _ in range(3):
            assert said(node.fire("announce"), "tx") == []

    def test_a_reorganisation_makes_it_wait_again(self, node):
        tx, _ = self.pay(node)
        node.persist()
        light, heavy = Chain(), grown(2, miner=MINERS[1])
        light.add(tx)
        light.mine()
        node.hear_chain(light)
        node.hear_chain(heavy)
        assert node.core.ledger.mempool.transactions() == (tx,)
        assert said(node.fire("announce"), "tx") == [tx.encoded]


class TestRestart:
    @pytest.fixture
    def lived(self):
        """A node that has seen a fork, and has two payments of its own: one on the chain, one waiting."""
        node = Driven(roles=("client",), account=CLIENT)
        first = TestDurability.pay(node, 111)[0]
        second = TestDurability.pay(node, 222)[0]
        node.persist()
        chain, fork = Chain(), grown(1, miner=MINERS[1])
        chain.add(first)
        chain.mine()
        chain.mine()
        node.hear_chain(fork)
        node.hear_chain(chain)
        return node, second

    def test_the_state_is_the_same(self, lived):
        node, _ = lived
        again = node.restarted(roles=("client",))
        assert snapshot_id(again.core.state) == snapshot_id(node.core.state)
        assert again.core.state.height == 2
        status, before = again.core.query("node.status", {}), node.core.query("node.status", {})
        assert status == {**before, "remotes": 0}

    def test_what_waits_is_said_again_and_what_is_done_is_not(self, lived):
        node, waiting = lived
        again = node.restarted(roles=("client",))
        assert said(again.effects, "tx") == [waiting.encoded]
        assert again.core.ledger.mempool.transactions() == (waiting,)
        assert snapshot_id(again.core.pool) == snapshot_id(node.core.pool)

    def test_it_writes_nothing_that_is_written_already(self, lived):
        node, _ = lived
        assert node.restarted(roles=("client",)).pending == {}

    def test_every_journal_that_a_crash_can_leave_is_a_life_to_go_on_from(self, lived):
        node, _ = lived
        heights = []
        for count in range(len(node.writes) + 1):
            again = node.restarted(count, roles=("client",))
            heights.append(again.core.state.height)
            again.hear_chain(self.chain_of(node))
            assert again.tip == node.tip
        assert sorted(heights) == heights
        assert (heights[0], heights[-1]) == (0, 2)

    @staticmethod
    def chain_of(node):
        chain = Chain()
        tree = node.core.ledger.tree
        for height in range(1, node.core.state.height + 1):
            chain.connect(tree.at_height(height).block)
        return chain

    def test_a_restart_of_a_restart(self, lived):
        node, _ = lived
        twice = node.restarted(roles=("client",)).restarted(roles=("client",))
        assert snapshot_id(twice.core.state) == snapshot_id(node.core.state)
        assert twice.writes == node.writes

    def test_what_was_not_durable_was_never_said(self, node):
        """So that losing it breaks no promise."""
        tx, _ = TestDurability.pay(node)
        again = node.restarted()
        assert said(again.effects, "tx") == []
        assert said(node.effects, "tx") == []
        assert tx.txid not in again.core.ledger.mempool

    def test_the_disk_holds_the_blocks_and_the_payments(self, lived):
        node, _ = lived
        assert [type(effect) for effect in node.writes] == [effects.Persist] * 2 + [effects.StoreBlock] * 3
        assert [type(read(data)) for data in node.disk.journal] == [TransactionPosted] * 2

    def test_a_transaction_that_makes_no_sense_any_more_is_dropped(self):
        chain = Chain()
        spent = payment(chain, payer=7, value=1)
        chain.add(payment(chain, payer=7, value=2))
        chain.mine()
        writes = [*stored(chain.blocks), effects.Persist(0, write(TransactionPosted(spent.encoded)))]
        again = Driven(7, writes=writes)
        assert len(again.core.ledger.mempool) == 0
        assert said(again.effects, "tx") == []
        assert said(again.fire("announce"), "tx") == []


class TestAttention:
    """Roles look at the ledger once after a burst of transactions, at once after a block."""

    @pytest.fixture
    def verifier(self):
        return Driven(1, roles=("verifier",))

    def test_many_transactions_one_look(self, verifier):
        verifier.effects.clear()
        chain = Chain()
        for _ in range(3):
            verifier.hear("tx", chain.add(payment(chain)).encoded)
        timers = [e for e in of(verifier.effects, effects.SetTimer) if e.name == "attend"]
        assert timers == [effects.SetTimer("attend", ATTEND_MS)]
        verifier.fire("attend")
        verifier.hear("tx", chain.add(payment(chain)).encoded)
        assert "attend" in verifier.timers

    def test_a_refused_transaction_is_nothing_to_look_at(self, verifier):
        verifier.hear("tx", replace(payment(Chain()), version=2).encoded)
        assert "attend" not in verifier.timers

    def test_a_new_tip_is_looked_at_at_once(self, verifier):
        """The verifier that a block has drawn fetches its capsule."""
        chain = grown(1)
        verifier.effects.clear()
        verifier.hear("block", chain.blocks[0].encoded)
        ticket = chain.tickets("verifier", 1)[0]
        assert ticket in chain.state.verifications[chain.blocks[0].hash].verifiers
        assert len(of(verifier.effects, effects.Fetch)) >= 4

    def test_a_block_of_a_lighter_branch_is_not(self, verifier):
        chain, other = grown(2), grown(1, miner=MINERS[1])
        verifier.hear_chain(chain)
        verifier.effects.clear()
        verifier.hear("block", other.blocks[0].encoded)
        assert of(verifier.effects, effects.Fetch) == []


def test_remotes_come_and_go(node):
    node.connect(PeerId("a"), PeerId("b"))
    node.give(events.Disconnected(PeerId("a")))
    assert node.core.query("node.status", {})["remotes"] == 1


def test_a_transaction_that_needs_no_signature_is_announced_as_it_is(node):
    chain = Chain()
    task = chain.start()
    chain.end_training(task)
    chain.evaluate(task)
    chain.mine()
    node.hear_chain(chain)
    charge = chain.charge(task)
    node.core.post_unsigned(charge)
    assert said(node.persist() + node.fire("sync") + node.persist(), "tx") == [charge.encoded]
    assert Transaction.decode(charge.encoded).witnesses == ()


def test_one_history_one_course(node):
    """The same events give the same effects, byte for byte."""
    other = Driven()
    chain = grown(2)
    for driven in (node, other):
        driven.connect(REMOTE)
        driven.hear_chain(chain)
        TestDurability.pay(driven)
        driven.persist()
    assert node.effects == other.effects
    assert node.now_ms == other.now_ms > START_MS
