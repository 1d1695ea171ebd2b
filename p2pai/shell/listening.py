"""A listener run for a command, until it has enough, its time is over, or the user interrupts it."""

import signal
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final

import trio

from p2pai.gossip.libp2p.listener import Listener
from p2pai.gossip.recording import Entry
from p2pai.gossip.sightings import Message, Opened, Sighting
from p2pai.primitives.errors import Unavailable
from p2pai.shell.recorder import now_us

MEET_S_MAX: Final = 20.0
"""Seconds to reach a first node."""

PUBLISH_S_MAX: Final = 10.0
"""Seconds until some remote follows a topic that is published to."""

SETTLE_S: Final = 1.0
"""Seconds from the first remote that follows a topic to publishing, so that there are more."""

LAST_WRITES_S: Final = 0.5
"""Seconds that what was published gets to leave."""

POLL_S: Final = 0.05

Take = Callable[[Entry], bool]
"""Takes what was seen; False when it has enough."""

Choose = Callable[[Sequence[str]], str | None]


@dataclass(slots=True)
class _Hearing:
    """Hands entries on, and ends it all with the first that is enough or that fails."""

    take: Take
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    met: bool = False
    failure: BaseException | None = None

    def see(self, sighting: Sighting) -> None:
        self.met = self.met or isinstance(sighting, Opened)
        if self.scope.cancel_called:
            return
        try:
            if not self.take(Entry(now_us(), sighting)):
                self.scope.cancel()
        except BaseException as error:  # noqa: BLE001
            # An observer must not raise: it stands in the midst of the gossip.
            self.failure = error
            self.scope.cancel()


def hear(
    listener: Listener,
    take: Take,
    seconds: float | None = None,
    tick: Callable[[], None] = lambda: None,
    tick_s: float = 1.0,
) -> None:
    """Listen until `take` has enough, `seconds` are over, or the user interrupts.

    Args:
      listener: not running yet.
      take: gets what is seen.
      seconds: how long, from the first remote on; None: without end.
      tick: called every `tick_s` seconds meanwhile.
      tick_s: seconds between two ticks.

    Raises:
      Unavailable: no node answered.
    """
    hearing = _Hearing(take)
    listener.observers.append(hearing.see)

    async def wait() -> None:
        hearing.scope.deadline = trio.current_time() + (inf if seconds is None else seconds)
        while True:
            await trio.sleep(tick_s)
            tick()

    _run(listener, hearing, wait)


def publish(listener: Listener, choose: Choose, seal: Callable[[str], bytes]) -> tuple[str, int]:
    """Join the network for a moment and publish; return the topic, and to how many remotes it went.

    Args:
      listener: not running yet.
      choose: picks the topic among those that remotes follow; None while it is not among them.
      seal: makes the message for it.

    Raises:
      Unavailable: no node answered, or nobody follows the topic.
      InvalidInput: what `choose` or `seal` refuse.
    """
    hearing = _Hearing(lambda _: True)
    listener.observers.append(hearing.see)
    result: list[tuple[str, int]] = []

    async def publish_one() -> None:
        topic = await _find(listener, choose)
        await trio.sleep(SETTLE_S)
        result.append((topic, await listener.publish(topic, seal(topic))))
        await trio.sleep(LAST_WRITES_S)

    _run(listener, hearing, publish_one)
    if not result:
        raise KeyboardInterrupt
    return result[0]


def play(listener: Listener, messages: Iterable[tuple[int, Message]], speed: float) -> dict[str, list[int]]:
    """Join the network for a moment and publish messages again; return by topic how many, and how many left.

    Args:
      listener: not running yet.
      messages: each with the microseconds after which it is due, in order.
      speed: how much faster than that; infinite: without a pause.

    Raises:
      Unavailable: no node answered.
    """
    hearing = _Hearing(lambda _: True)
    listener.observers.append(hearing.see)
    done: dict[str, list[int]] = {}

    async def publish_all() -> None:
        await trio.sleep(SETTLE_S)
        begin_s = trio.current_time()
        for due_us, message in messages:
            await trio.sleep_until(begin_s + due_us / 1_000_000 / speed)
            counts = done.setdefault(message.topic, [0, 0])
            counts[0] += 1
            counts[1] += await listener.publish(message.topic, message.data) > 0
        await trio.sleep(LAST_WRITES_S)

    _run(listener, hearing, publish_all)
    return done


def _run(listener: Listener, hearing: _Hearing, work: Callable[[], Awaitable[None]]) -> None:
    try:
        trio.run(_work, listener, hearing, work)
    except BaseExceptionGroup as group:
        # Of tasks that fail together one is enough for a sentence.
        raise _first(group) from group
    if hearing.failure is not None:
        raise hearing.failure


async def _work(listener: Listener, hearing: _Hearing, work: Callable[[], Awaitable[None]]) -> None:
    with hearing.scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_at_signal, hearing.scope)
            await nursery.start(listener.run)
            await _meet(hearing)
            await work()
            hearing.scope.cancel()


async def _meet(hearing: _Hearing) -> None:
    with trio.move_on_after(MEET_S_MAX):
        while not hearing.met:  # noqa: ASYNC110
            await trio.sleep(POLL_S)
    if not hearing.met:
        raise Unavailable("no node of this chain answered at the addresses given")


async def _find(listener: Listener, choose: Choose) -> str:
    with trio.move_on_after(PUBLISH_S_MAX):
        while (topic := choose(listener.followed())) is None:  # noqa: ASYNC110
            await trio.sleep(POLL_S)
    if topic is None:
        raise Unavailable("no remote follows that topic")
    return topic


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


async def _end_at_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
            return
