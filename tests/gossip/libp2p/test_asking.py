"""Questions, answers, deadlines and limits."""

import pytest
import trio
from gossip_lab import Node, Start, meet, until

from p2pai.gossip.limits import QUESTION_SIZE_MAX, QUESTIONS_IN_FLIGHT_MAX
from p2pai.primitives.errors import Unavailable


async def start_pair(start: Start) -> tuple[Node, Node]:
    asker = await start("a")
    other = await start("b", asker)
    await meet(asker, other)
    return asker, other


@pytest.mark.trio
async def test_both_ways_and_many_at_once(start: Start) -> None:
    a, b = await start_pair(start)
    answers: dict[bytes, bytes] = {}

    async def ask(node: Node, other: Node, body: bytes) -> None:
        answers[body] = await node.network.ask(other.network.peer_id, body, 10)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(ask, a, b, b"question of a %d" % number)
                nursery.start_soon(ask, b, a, b"question of b %d" % number)
    assert len(answers) == 200
    assert all(answer == body[::-1] for body, answer in answers.items())


@pytest.mark.trio
async def test_largest_question_and_answer(start: Start) -> None:
    a, b = await start_pair(start)
    with trio.fail_after(10):
        question = bytes(range(256)) * (QUESTION_SIZE_MAX // 256)
        assert await a.network.ask(b.network.peer_id, question, 10) == question[::-1]
        assert await a.network.ask(b.network.peer_id, b"large", 10) == bytes(2 << 20)
        assert await a.network.ask(b.network.peer_id, b"", 10) == b""


@pytest.mark.trio
async def test_a_slow_answer_times_out_and_holds_up_nobody(start: Start, nursery: trio.Nursery) -> None:
    a, b = await start_pair(start)

    async def ask_slow() -> None:
        with pytest.raises(Unavailable, match="in time"):
            await a.network.ask(b.network.peer_id, b"slow", 1.0)

    nursery.start_soon(ask_slow)
    await until(lambda: b.seen.working)
    began = trio.current_time()
    assert await a.network.ask(b.network.peer_id, b"abc", 5) == b"cba"
    assert trio.current_time() - began < 0.9
    # The answering side gives up too, so that its work doesn't pile up.
    await until(lambda: not b.seen.working, 3)
    assert await a.network.ask(b.network.peer_id, b"abc", 5) == b"cba"


@pytest.mark.trio
async def test_no_answer_to_give(start: Start) -> None:
    a, b = await start_pair(start)
    with trio.fail_after(5), pytest.raises(Unavailable, match="no answer"):
        await a.network.ask(b.network.peer_id, b"nothing", 60)


@pytest.mark.trio
async def test_questions_in_flight_are_bounded(start: Start, nursery: trio.Nursery) -> None:
    a, b = await start_pair(start)
    asker = a.network._links.askers[b.network._host.get_id()]
    # An asker without its own limit meets the answerer's.
    asker._slots = trio.Semaphore(1000)
    busy = 0

    async def ask_slow() -> None:
        nonlocal busy
        try:
            await a.network.ask(b.network.peer_id, b"slow", 1.5)
        except Unavailable as error:
            busy += "busy" in str(error)

    for _ in range(QUESTIONS_IN_FLIGHT_MAX + 10):
        nursery.start_soon(ask_slow)
    await until(lambda: busy == 10)
    assert b.seen.working == QUESTIONS_IN_FLIGHT_MAX


@pytest.mark.trio
async def test_the_end_of_a_remote_ends_its_questions(start: Start, nursery: trio.Nursery) -> None:
    a, b = await start_pair(start)
    ended = trio.Event()

    async def ask_slow() -> None:
        with pytest.raises(Unavailable, match="connection ended"):
            await a.network.ask(b.network.peer_id, b"slow", 60)
        ended.set()

    nursery.start_soon(ask_slow)
    await until(lambda: b.seen.working)
    await b.stop()
    with trio.fail_after(5):
        await ended.wait()
    with pytest.raises(Unavailable, match=r"not connected|connection ended"):
        await a.network.ask(b.network.peer_id, b"abc", 5)


@pytest.mark.trio
async def test_cancelled_questions_harm_no_other(start: Start) -> None:
    # Were the asker's own task to write, cancelling it would tear a frame and the connection with it.
    a, b = await start_pair(start)
    large = bytes(QUESTION_SIZE_MAX)
    for number in range(40):
        with trio.move_on_after(number / 2000):
            await a.network.ask(b.network.peer_id, large, 5)
    assert await a.network.ask(b.network.peer_id, b"abc", 5) == b"cba"
    assert a.seen.gone == b.seen.gone == []
