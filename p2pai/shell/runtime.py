"""The thin loop between the core and the world: events in, effects out.

Everything runs in one trio thread. `feed` hands an event to the core and carries out what comes back; neither
suspends, so events are strictly sequential, an effect never feeds an event from inside, and the gossip
validator gets its verdict at once. What takes time is put in a queue or a task, whose end is the next event:

* Persist, StoreBlock, StoreSnapshot: a queue; all that wait go to disk at once, then `Persisted` for each in
  the same order.
* Train: a queue, one job at a time. Fetch, Ask: a task each. SetTimer: `Timers`.
* Publish, Join, Leave, TakePart, EndPart, Hangup: a queue, in order, once the network is up.

The queues need no bound of their own but for Publish: each of their entries is an effect of an event whose
source is bounded (the limits of the network, of `asked` and of the core's own windows).

When the core fails an assertion, or the disk fails, nothing is guessed: the node stops, and the journal is
the truth.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import structlog
import trio

from p2pai import effects, events
from p2pai.primitives.errors import InvalidInput, P2paiError, Unavailable
from p2pai.primitives.ids import BlobId, Hash32, PeerId
from p2pai.shell import outlook
from p2pai.shell.backlog import Backlog
from p2pai.shell.blobs import BlobStore
from p2pai.shell.clock import Clock
from p2pai.shell.delivery import deliver
from p2pai.shell.fetches import Fetches
from p2pai.shell.sharing import Sharing
from p2pai.shell.store import Store
from p2pai.shell.timers import Timers
from p2pai.shell.trainer import Trainer
from p2pai.shell.wire import Core, Wire

ASK_S_MAX: Final = 10.0
"""Seconds a remote has to answer our question."""

ASKED_S_MAX: Final = 9.0
"""Seconds the core has to answer a remote's question; less than the remote waits."""

ASKED_COUNT_MAX: Final = 256
"""Remotes' questions that wait for an answer at once."""

PUBLISH_QUEUED_MAX: Final = 4096
"""Messages waiting for the network; beyond it new ones are lost, as gossip may be."""

ANNOUNCED_S_MAX: Final = 5.0
"""Seconds for one publish, join, leave or hangup, so that a stuck one does not hold back the others."""

_log = structlog.get_logger(__name__)


_Announcement = Callable[[Wire], Awaitable[None]]


@dataclass(slots=True)
class _Question:
    """A remote's question on its way through the core."""

    answered: trio.Event = field(default_factory=trio.Event)
    body: bytes = b""


class Runtime:
    """Runs one core; it is also what the network calls (`Handlers`)."""

    def __init__(
        self, store: Store, blobs: BlobStore, trainer: Trainer, clock: Clock, models_dir: Path
    ) -> None:
        self._store, self._blobs, self._trainer, self._clock = store, blobs, trainer, clock
        self._models_dir = models_dir
        self._core: Core | None = None
        self._network: Wire | None = None
        self._nursery: trio.Nursery | None = None
        self._failure: Exception | None = None
        self._online = trio.Event()
        self._timers = Timers(lambda name: self.feed(events.TimerFired(name)))
        self._fetches = Fetches(blobs)
        self._sharing = Sharing(blobs)
        self._writes = Backlog[effects.Write]()
        self._announcements = Backlog[_Announcement]()
        self._trainings = Backlog[effects.Train]()
        self._requests = count(1)
        self._questions: dict[int, _Question] = {}
        self._carriers = self._bind()

    async def run(
        self,
        core: Core,
        network: Wire,
        task_status: Any = trio.TASK_STATUS_IGNORED,  # noqa: ANN401
    ) -> None:
        """Start the core from what the store has, then feed it until cancelled.

        Raises:
          Exception: what stopped the node: an `AssertionError` of the core, an error of the disk.
        """
        self._core, self._network = core, network
        started = await trio.to_thread.run_sync(self._store.started)
        if self._store.damaged:
            _log.warning("damaged blocks or snapshots are left out", rows=self._store.damaged)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self.feed(started)
            for loop in (self._timers.run, self._persist, self._announce, self._train, self._share):
                nursery.start_soon(loop)
            await nursery.start(network.run)
            self._online.set()
            task_status.started()
        if self._failure is not None:
            raise self._failure

    def feed(self, event: events.Event) -> list[effects.Effect]:
        """Give the core one event and carry out its effects; returns them. Nothing after a failure."""
        assert self._core is not None, "not running"
        if self._failure is not None:
            return []
        try:
            result = self._core.handle(event, self._clock.now_ms())
            for effect in result:
                self._carriers[type(effect)](effect)
        except Exception as error:  # noqa: BLE001  # any of them is ours: it stops the node in `run`
            self._stop(error)
            return []
        return result

    def query(self, method: str, params: dict[str, Any]) -> Any:  # noqa: ANN401
        """Ask the core a question, or the network `node.network`; InvalidInput when it is wrong."""
        assert self._core is not None, "not running"
        if self._failure is not None:
            raise Unavailable("the node is stopping")
        if method == "node.fetches":
            return self._fetches.report()
        if method == outlook.METHOD and self._network is not None:
            return outlook.describe(self._network, params)
        try:
            return self._core.query(method, params)
        except AssertionError as error:
            self._stop(error)
            raise Unavailable("the node is stopping") from error

    def received(self, remote: PeerId, topic: str, data: bytes) -> effects.Verdict:
        """Judge a gossip message; ACCEPT to forward it."""
        result = self.feed(events.Received(remote, topic, data))
        judge = next((effect for effect in result if isinstance(effect, effects.Judge)), None)
        if judge is None:
            return effects.Verdict.IGNORE
        if judge.verdict is effects.Verdict.REJECT:
            _log.info("message rejected", remote=remote, topic=topic, reason=judge.reason)
        return judge.verdict

    async def asked(self, remote: PeerId, body: bytes) -> bytes:
        """Answer a remote's question.

        Raises:
          Unavailable: the core has no answer in time, or too many questions wait.
        """
        if len(self._questions) >= ASKED_COUNT_MAX:
            raise Unavailable("too many questions at once")
        request, question = next(self._requests), _Question()
        self._questions[request] = question
        try:
            self.feed(events.Asked(request, remote, body))
            with trio.move_on_after(ASKED_S_MAX):
                await question.answered.wait()
        finally:
            del self._questions[request]
        if not question.answered.is_set():
            raise Unavailable("no answer in time")
        return question.body

    def connected(self, remote: PeerId) -> None:
        """Note that a remote is there."""
        self.feed(events.Connected(remote))

    def disconnected(self, remote: PeerId) -> None:
        """Note that a remote is gone."""
        self.feed(events.Disconnected(remote))

    def manifest(self, blob: BlobId) -> tuple[Hash32, ...] | None:
        """Return the leaf hashes of a shared blob, else None."""
        return self._blobs.manifest(blob) if self._blobs.is_shared(blob) else None

    def chunk(self, blob: BlobId, index: int) -> bytes | None:
        """Return one chunk of a shared blob, else None."""
        leaves = self.manifest(blob)
        if leaves is None or not 0 <= index < len(leaves):
            return None
        try:
            return self._blobs.chunk(leaves[index])
        except Unavailable:
            return None

    def _stop(self, error: Exception) -> None:
        self._failure = error
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def _bind(self) -> dict[type, Callable[[Any], object]]:
        """How each kind of effect is carried out, at once or by putting it in a queue."""
        return {
            effects.Judge: lambda _: None,
            effects.Publish: self._queue_publish,
            effects.Join: lambda e: self._announcements.put(lambda network: network.join(e.topic)),
            effects.Leave: lambda e: self._announcements.put(lambda network: network.leave(e.topic)),
            effects.TakePart: lambda e: self._announcements.put(lambda n: n.take_part(e.task, e.role)),
            effects.EndPart: lambda e: self._announcements.put(lambda n: n.end_part(e.task, e.role)),
            effects.Hangup: self._queue_hangup,
            effects.Halt: lambda e: self._stop(InvalidInput(e.reason)),
            effects.Ask: lambda e: self._spawn(self._ask, e),
            effects.Answer: self._answer,
            effects.Persist: self._writes.put,
            effects.StoreBlock: self._writes.put,
            effects.StoreSnapshot: self._writes.put,
            effects.SetTimer: lambda e: self._timers.set(e.name, e.delay),
            effects.Train: self._trainings.put,
            effects.PutBlob: self._sharing.put,
            effects.Share: self._sharing.share,
            effects.Discard: self._sharing.discard,
            effects.Fetch: self._begin_fetch,
            effects.Deliver: lambda e: self._spawn(self._deliver, e),
        }

    def _spawn(self, function: Callable[..., Any], *arguments: object) -> None:
        assert self._nursery is not None, "not running"
        self._nursery.start_soon(function, *arguments)

    def _queue_publish(self, effect: effects.Publish) -> None:
        if len(self._announcements) >= PUBLISH_QUEUED_MAX:
            _log.warning("message not published, too many wait", topic=effect.topic)
            return
        self._announcements.put(lambda network: network.publish(effect.topic, effect.data))

    def _queue_hangup(self, effect: effects.Hangup) -> None:
        _log.info("remote hung up", remote=effect.remote, reason=effect.reason)
        self._announcements.put(lambda network: network.hangup(effect.remote, effect.duration / 1000))

    def _answer(self, effect: effects.Answer) -> None:
        # An answer after the deadline has nobody waiting for it.
        question = self._questions.get(effect.request)
        if question is not None:
            question.body = effect.body
            question.answered.set()

    def _begin_fetch(self, effect: effects.Fetch) -> None:
        if self._fetches.begin(effect.blob, effect.providers, whole=effect.whole):
            self._spawn(self._fetch, effect.blob)

    async def _persist(self) -> None:
        while True:
            batch = await self._writes.take_all()
            try:
                await trio.to_thread.run_sync(self._store.write_all, batch)
            except Exception as error:  # noqa: BLE001  # a disk that fails stops the node
                self._stop(error)
                return
            for effect in batch:
                self.feed(events.Persisted(effect.token))

    async def _announce(self) -> None:
        network = await self._reach()
        while True:
            announcement = await self._announcements.take()
            try:
                with trio.move_on_after(ANNOUNCED_S_MAX) as scope:
                    await announcement(network)
            except AssertionError as error:
                self._stop(error)
                return
            except Exception:
                _log.exception("the network failed")
            if scope.cancelled_caught:
                _log.warning("the network took too long")

    async def _train(self) -> None:
        while True:
            effect = await self._trainings.take()
            result = await self._trainer.run(effect.job)
            self.feed(events.Trained(effect.request, result))

    async def _ask(self, effect: effects.Ask) -> None:
        network = await self._reach()
        body: bytes | None = None
        try:
            body = await network.ask(effect.remote, effect.body, ASK_S_MAX)
        except Unavailable as error:
            _log.debug("no answer", remote=effect.remote, reason=str(error))
        self.feed(events.Answered(effect.request, effect.remote, body))

    async def _fetch(self, blob: BlobId) -> None:
        network = await self._reach()
        try:
            fetched = await self._fetches.finish(network, blob)
        except OSError as error:
            self._stop(error)
            return
        self._sharing.make_known(blob)
        self.feed(fetched)

    async def _share(self) -> None:
        await self._sharing.run(await self._reach())

    async def _deliver(self, effect: effects.Deliver) -> None:
        try:
            path = await trio.to_thread.run_sync(
                deliver, self._blobs, effect.blob, self._models_dir, effect.name
            )
            _log.info("model delivered", path=str(path))
        except (P2paiError, OSError) as error:
            _log.error("model not delivered", name=effect.name, reason=str(error))

    async def _reach(self) -> Wire:
        await self._online.wait()
        assert self._network is not None
        return self._network
