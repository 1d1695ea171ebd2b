"""NodeCore.handle: whatever a remote sends, there is an answer, never an exception, and never an ACCEPT.

What: bytes on every topic, as a question, as an answer - random, and mutations of real messages. How: a node
restored from the journal of a real history, in the middle of the client's training.
"""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from life import life

from p2pai import effects, events
from p2pai.chain.committee import CertifiedSlot
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.spec import dev_account_seed
from p2pai.effects import Judge, Verdict
from p2pai.gossip import sync
from p2pai.gossip.envelope import open_envelope, seal
from p2pai.gossip.topics import NAMES, Topic
from p2pai.node.core import NodeCore
from p2pai.primitives import record
from p2pai.primitives.ids import PeerId, TaskId
from p2pai.primitives.keys import derive_keys
from p2pai.roles.history import ModelAnnouncement
from p2pai.roles.slots import SAID_SIZE_MAX, Said
from testnet.simulator.network import ROLES, name_of

pytestmark = pytest.mark.usefixtures("shared")

SLOWLY = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
REMOTE = PeerId("n9")
STRANGER = b"\7" * 32


def restored(account):
    """A node as it was in the middle of the training, without what only its memory held."""
    spec = life().network.spec
    keys = derive_keys(dev_account_seed(spec.name, account))
    moment = life().training
    disk = moment.disks[name_of(account)].copy()
    core = NodeCore(spec, keys, name_of(account), ROLES[account], disk)
    core.handle(disk.started(), moment.now_ms)
    core.handle(events.TimerFired("begin"), moment.now_ms)
    for asked in core.handle(events.Connected(REMOTE), moment.now_ms):
        core.handle(events.Answered(asked.request, REMOTE, None), moment.now_ms)
    return core


@pytest.fixture(scope="module")
def nodes():
    """One of each kind: client, supervisor, miner, peer."""
    return [restored(account) for account in (0, 1, 4, 7)]


def verdicts(nodes, topic, data):
    now_ms = life().training.now_ms
    for core in nodes:
        reaction = core.handle(events.Received(REMOTE, topic, data), now_ms)
        (judge,) = [effect for effect in reaction if isinstance(effect, Judge)]
        yield judge


def topics():
    spec = life().network.spec
    tasks = (None, life().task, TaskId(bytes(32)))
    return [str(Topic(spec.short_id, task, name)) for task in tasks for name in NAMES]


TOPICS = st.deferred(lambda: st.sampled_from(topics()))


@SLOWLY
@given(topic=TOPICS | st.text(max_size=80), data=st.binary(max_size=300))
def test_any_bytes_on_any_topic_are_never_accepted(nodes, topic, data):
    assert all(judge.verdict is not Verdict.ACCEPT for judge in verdicts(nodes, topic, data))


@SLOWLY
@given(topic=TOPICS, body=st.binary(max_size=300))
def test_any_body_in_a_well_signed_envelope_of_a_stranger_is_never_accepted(nodes, topic, body):
    data = seal(STRANGER, topic, 1, body)
    assert all(judge.verdict is not Verdict.ACCEPT for judge in verdicts(nodes, topic, data))


@SLOWLY
@given(choice=st.data())
def test_real_messages_changed_in_one_place_are_never_accepted(nodes, choice):
    event, body = real_message(choice)
    at = choice.draw(st.integers(0, len(body) - 1))
    changed = bytearray(body)
    changed[at] ^= 1 << choice.draw(st.integers(0, 7))
    data = seal(STRANGER, event.topic, 1, bytes(changed))
    for judge in verdicts(nodes, event.topic, data):
        # A transaction's witness may be changed into another valid encoding only by its owner.
        assert judge.verdict is not Verdict.ACCEPT, judge


@SLOWLY
@given(choice=st.data())
def test_real_messages_cut_doubled_and_mixed_are_never_accepted(nodes, choice):
    event, body = real_message(choice)
    _, other = real_message(choice)
    cut = choice.draw(st.integers(0, len(body) - 1))
    spoilt = choice.draw(st.sampled_from([body[:cut], body + body, body[:cut] + other[cut:], other + b"\0"]))
    if spoilt in (body, other):
        return
    data = seal(STRANGER, event.topic, 1, spoilt)
    assert all(judge.verdict is not Verdict.ACCEPT for judge in verdicts(nodes, event.topic, data))


def real_message(choice):
    kinds = sorted(life().heard)
    assert kinds == ["block", "dkg", "it_res", "message_history", "model", "tx"]
    event = choice.draw(st.sampled_from(life().heard[choice.draw(st.sampled_from(kinds))]))
    return event, open_envelope(event.data, event.topic).body


@SLOWLY
@given(choice=st.data())
def test_a_real_envelope_changed_anywhere_or_moved_is_never_accepted(nodes, choice):
    kinds = sorted(life().heard)
    event = choice.draw(st.sampled_from(life().heard[choice.draw(st.sampled_from(kinds))]))
    at = choice.draw(st.integers(0, len(event.data) - 1))
    changed = bytearray(event.data)
    changed[at] ^= 1 << choice.draw(st.integers(0, 7))
    assert all(j.verdict is not Verdict.ACCEPT for j in verdicts(nodes, event.topic, bytes(changed)))
    topic = choice.draw(st.sampled_from([t for t in topics() if t != event.topic]))
    assert all(j.verdict is not Verdict.ACCEPT for j in verdicts(nodes, topic, event.data))


@SLOWLY
@given(choice=st.data())
def test_any_question_gets_one_answer(nodes, choice):
    real = choice.draw(st.sampled_from(life().asked))
    at = choice.draw(st.integers(0, len(real) - 1))
    body = choice.draw(st.sampled_from([real, real[:at], real + b"\0", real[:at] + b"\xff" + real[at + 1 :]]))
    body = choice.draw(st.binary(max_size=100) | st.just(body))
    for core in nodes:
        reaction = core.handle(events.Asked(5, REMOTE, body), life().training.now_ms)
        (answer,) = [effect for effect in reaction if isinstance(effect, effects.Answer)]
        assert answer.request == 5


@SLOWLY
@given(choice=st.data())
def test_any_answer_is_survived_and_changes_nothing(nodes, choice):
    real = choice.draw(st.sampled_from(life().answered))
    at = choice.draw(st.integers(0, len(real) - 1))
    changed = bytearray(real)
    changed[at] ^= 1 << choice.draw(st.integers(0, 7))
    body = choice.draw(st.sampled_from([bytes(changed), real[:at], b"", None]) | st.binary(max_size=100))
    now_ms = life().training.now_ms
    for core in nodes:
        tip = core.state.tip
        asked = [e for e in core.handle(events.TimerFired("sync"), now_ms) if isinstance(e, effects.Ask)]
        pulls = [f"pull:{task.hex()}" for task in core.following]
        for name in pulls:
            asked += [e for e in core.handle(events.TimerFired(name), now_ms) if isinstance(e, effects.Ask)]
        for question in asked:
            core.handle(events.Answered(question.request, REMOTE, body), now_ms)
        assert core.state.tip == tip


def test_messages_of_another_chain_are_not_for_us(nodes):
    data = seal(STRANGER, str(Topic("00000000", None, "tx")), 1, b"")
    assert {j.verdict for j in verdicts(nodes, str(Topic("00000000", None, "tx")), data)} == {Verdict.IGNORE}


def test_answers_of_a_remote_that_names_slots_far_ahead_do_not_blind_us(nodes):
    """A slot whose certificate does not hold must not move the record on."""
    core = nodes[2]
    followed = core.following[life().task]
    real = next(
        said
        for event in life().heard["message_history"]
        if life().task.hex() in event.topic and isinstance(said := said_of(event), CertifiedSlot)
    )
    far = replace(real, statement=replace(real.statement, slot=1 << 40, epoch=1 << 34))
    before = followed.history.next_slot
    followed._take_slots(record.encode_tagged(sync.Slots((far,))))
    assert followed.history.next_slot == before


def said_of(event):
    body = open_envelope(event.data, event.topic).body
    return record.decode_tagged(Said, body, size_max=SAID_SIZE_MAX)


def test_a_model_of_an_iteration_beyond_all_bounds_is_refused(nodes):
    event = life().heard["model"][0]
    body = open_envelope(event.data, event.topic).body
    real = record.decode(ModelAnnouncement, body, size_max=SAID_SIZE_MAX)
    data = seal(STRANGER, event.topic, 1, record.encode(replace(real, iteration=1 << 40)))
    judges = [j for j in verdicts(nodes, event.topic, data) if j.verdict is Verdict.REJECT]
    assert judges
    assert {j.reason for j in judges} == {"no task has that many iterations"}


def test_the_real_messages_themselves_are_understood():
    """So that the refusals above are not for want of understanding."""
    nodes = [restored(account) for account in (0, 1, 4, 7)]
    accepted = {}
    for name in ("model", "it_res", "message_history", "tx", "block"):  # blocks last: they end the task
        for event in life().heard[name]:
            judges = list(verdicts(nodes, event.topic, event.data))
            accepted[name] = accepted.get(name, 0) + sum(j.verdict is Verdict.ACCEPT for j in judges)
            assert not [j.reason for j in judges if j.verdict is Verdict.REJECT], name
    assert all(accepted.values()), accepted


def test_equal_disks_give_equal_states():
    first, second = restored(4), restored(4)
    assert first.state.height > 0
    assert snapshot_id(first.state) == snapshot_id(second.state)
