"""The outbox keeps order, joins bursts, and is bounded in bytes."""

import pytest
import trio
import trio.testing

from p2pai.gossip.libp2p.outbox import BURST_SIZE, CONTROL_SIZE_MAX, DATA_SIZE_MAX, Outbox


@pytest.mark.trio
async def test_bursts_keep_order() -> None:
    outbox = Outbox()
    for number in range(100):
        assert outbox.push(b"%03d" % number)
    with trio.fail_after(1):
        assert await outbox.pop() == b"".join(b"%03d" % number for number in range(100))


@pytest.mark.trio
async def test_bursts_are_no_longer_than_needed() -> None:
    outbox = Outbox()
    for _ in range(3):
        outbox.push(bytes(BURST_SIZE - 1))
    outbox.push(bytes(3 * BURST_SIZE))
    sizes = []
    with trio.fail_after(1):
        for _ in range(4):
            sizes.append(len(await outbox.pop() or b""))  # noqa: PERF401
    assert sizes == [BURST_SIZE - 1] * 3 + [3 * BURST_SIZE]


@pytest.mark.trio
async def test_size_is_bounded_and_control_goes_further() -> None:
    outbox = Outbox()
    frame = bytes(1 << 20)
    assert all(outbox.push(frame) for _ in range(DATA_SIZE_MAX // len(frame)))
    assert not outbox.push(b".")
    assert outbox.push(bytes(CONTROL_SIZE_MAX - DATA_SIZE_MAX), control=True)
    assert not outbox.push(b".", control=True)
    assert outbox.dropped == 2
    with trio.fail_after(1):
        for _ in range(5):
            await outbox.pop()
    assert outbox.push(b".")


@pytest.mark.trio
async def test_closing_ends_the_consumer(nursery: trio.Nursery) -> None:
    outbox = Outbox()
    ended = trio.Event()

    async def consume() -> None:
        assert await outbox.pop() is None
        ended.set()

    nursery.start_soon(consume)
    await trio.testing.wait_all_tasks_blocked()
    outbox.close()
    with trio.fail_after(1):
        await ended.wait()
    assert not outbox.push(b".", control=True)
