"""Target: a supervisor finds what gossip lost, even the last words of a miner that is gone, and no liar in
the exchange makes it do much.

Real cores; the one that asks keeps the record, as a supervisor's does.
"""

import pytest

from p2pai import effects
from p2pai.chain import it_res
from p2pai.gossip import comparing, sync
from p2pai.node.following import COMPARE_TURNS
from p2pai.primitives import record
from p2pai.primitives.hashing import tagged_hash
from p2pai.roles.history import UNRECORDED_MAX
from tests.chain.ledger import MINERS, Chain, sign_message
from tests.node.parts import REMOTE, Driven, iteration, of, slot

KNOWN, LOST = range(3), range(3, 6)


@pytest.fixture(scope="module")
def chain():
    return Chain()


@pytest.fixture
def task(chain):
    return chain.predefined


@pytest.fixture
def messages(chain):
    return [iteration(chain, number) for number in (*KNOWN, *LOST)]


def follower(task, messages, account=0):
    node = Driven(account=account)
    node.core.follow(task, 0)
    node.fire("sync")
    for message in messages:
        node.hear("it_res", message, task=task)
    return node


@pytest.fixture
def supervisor(task, messages):
    node = follower(task, [messages[number] for number in KNOWN])
    node.core.following[task].history.is_whole = True
    node.connect()
    return node


def compared(node, task, turns=COMPARE_TURNS):
    """Let the node look until it compares; return that question."""
    for _ in range(turns):
        for asked in of(node.fire(f"pull:{task.hex()}"), effects.Ask):
            if isinstance(sync.read_question(asked.body), sync.AskUnrecorded):
                return asked
    return None


def ids(messages):
    return {it_res.message_id(message) for message in messages}


def follow_up(reaction):
    (asked,) = of(reaction, effects.Ask)
    return asked


def test_what_one_remote_has_is_named_then_pulled_then_judged(supervisor, task, messages):
    other = follower(task, messages, account=8)
    asked = compared(supervisor, task)
    named = other.ask(asked.body)
    assert set(sync.read_reply(named).ids) == ids(messages[number] for number in LOST)
    wish = follow_up(supervisor.answer(asked, named))
    assert wish.remote == asked.remote
    supervisor.answer(wish, other.ask(wish.body))
    history = supervisor.core.following[task].history
    assert set(history.unrecorded) == ids(messages)
    again = compared(supervisor, task)
    assert of(supervisor.answer(again, other.ask(again.body)), effects.Ask) == []


def test_who_keeps_no_record_compares_nothing(task, messages):
    node = follower(task, messages)
    node.connect()
    assert compared(node, task, 3 * COMPARE_TURNS) is None


def test_what_a_slot_of_ours_holds_is_not_asked_for(supervisor, chain, task, messages):
    other = follower(task, messages, account=8)
    certified = record.encode_tagged(slot(chain, 0, messages[:4]))
    supervisor.hear("message_history", certified, task=task)
    asked = compared(supervisor, task)
    wish = follow_up(supervisor.answer(asked, other.ask(asked.body)))
    assert set(sync.read_question(wish.body).ids) == ids(messages[4:])


def test_a_liars_ids_cost_one_bounded_question(supervisor, task):
    asked = compared(supervisor, task)
    lies = tuple(tagged_hash("p2pai/test", bytes([n, m])) for n in range(8) for m in range(100))
    wish = follow_up(supervisor.answer(asked, sync.Unrecorded(lies)))
    assert sync.read_question(wish.body).ids == lies[: sync.MESSAGES_MAX]
    assert supervisor.answer(wish, sync.Messages(())) == []


def test_a_forged_message_is_not_believed(supervisor, task, messages):
    forged = sign_message(it_res.decode(messages[3]), task, MINERS[1]).encode()
    asked = compared(supervisor, task)
    wish = follow_up(supervisor.answer(asked, sync.Unrecorded(tuple(ids([forged])))))
    supervisor.answer(wish, sync.Messages((forged,)))
    assert set(supervisor.core.following[task].history.messages) == ids(messages[number] for number in KNOWN)


@pytest.mark.parametrize("reply", [None, b"", b"garbage", sync.Messages(()), sync.Unrecorded(())], ids=str)
def test_an_answer_that_is_none_is_put_away(supervisor, task, reply):
    assert supervisor.answer(compared(supervisor, task), reply) == []


@pytest.mark.parametrize(
    "question",
    [(comparing.PLACES, b""), (0, b"123"), (2**60, b"")],
    ids=["place", "piece", "far"],
)
def test_a_malformed_question_gets_nothing(supervisor, task, question):
    assert supervisor.ask(record.encode_tagged(sync.AskUnrecorded(task, *question))) == b""


def test_with_no_room_left_nothing_is_asked(supervisor, task):
    history = supervisor.core.following[task].history
    history.unrecorded.update(
        (tagged_hash("p2pai/test", n.to_bytes(4, "big")), None) for n in range(UNRECORDED_MAX)
    )
    assert compared(supervisor, task) is None


def test_those_who_work_on_the_task_are_asked_in_turn(supervisor, chain, task):
    tickets = chain.state.tickets
    workers = {tickets[t].peer for t in chain.state.tasks[task].miners}
    supervisor.connect(*workers)
    asked = {compared(supervisor, task).remote for _ in range(len(workers) + 3)}
    assert asked == workers
    assert REMOTE not in asked
