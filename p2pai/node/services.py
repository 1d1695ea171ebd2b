"""How the core asks for effects and gets its answers: each request remembers what to do next.

Everything here is bookkeeping between `then` functions and effects; no rule of the protocol lives here.
"""

from collections.abc import Callable, Iterator

from p2pai import effects, events
from p2pai.effects import Effect
from p2pai.jobs import Job, Result
from p2pai.node import journal
from p2pai.primitives import blob
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlobId, Hash32, Millis, PeerId, TaskId

Then = Callable[[], None]


class Services:
    """Effects of the current event, and the answers that are awaited."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.remotes: dict[PeerId, None] = {}
        self._effects: list[Effect] = []
        self._sequence = 0
        self._persisted: dict[int, Then] = {}
        self._timers: dict[str, Then] = {}
        self._trained: dict[Hash32, Callable[[Result], None]] = {}
        self._fetched: dict[BlobId, list[Callable[[events.Fetched], None]]] = {}
        self._answered: dict[int, Callable[[bytes | None], None]] = {}

    def emit(self, effect: Effect) -> None:
        """Add an effect to the answer to the current event."""
        self._effects.append(effect)

    def take_effects(self) -> list[Effect]:
        """Return the current event's effects and forget them."""
        taken, self._effects = self._effects, []
        return taken

    def persist(self, record: object, then: Then) -> None:
        """Write a journal record; `then` runs when it is durable."""
        self.emit(effects.Persist(self._awaited(then), journal.write(record)))

    def store_block(self, block: Hash32, height: int, body: bytes, then: Then) -> None:
        """Store a block; `then` runs when it is durable."""
        self.emit(effects.StoreBlock(self._awaited(then), block, height, body))

    def store_snapshot(self, height: int, body: bytes, chain: tuple[Hash32, ...], then: Then) -> None:
        """Store the state after a final block; `then` runs when it is durable."""
        self.emit(effects.StoreSnapshot(self._awaited(then), height, body, chain))

    def _awaited(self, then: Then) -> int:
        token = self._next()
        self._persisted[token] = then
        return token

    def set_timer(self, name: str, delay_ms: Millis, then: Then) -> None:
        """Run `then` after a delay; setting a name again replaces it."""
        self._timers[name] = then
        self.emit(effects.SetTimer(name, delay_ms))

    def train(self, job: Job, then: Callable[[Result], None]) -> None:
        """Give the trainer a job."""
        request = tagged_hash("p2pai/request", self._next().to_bytes(8, "big"))
        self._trained[request] = then
        self.emit(effects.Train(request, job))

    def fetch(
        self,
        wanted: BlobId,
        providers: tuple[PeerId, ...],
        then: Callable[[events.Fetched], None],
        *,
        whole: bool = False,
    ) -> None:
        """Get a blob, its data with it if it is small or wanted whole; who want the same share the fetch."""
        waiting = self._fetched.setdefault(wanted, [])
        waiting.append(then)
        if len(waiting) == 1:
            self.emit(effects.Fetch(wanted, providers, whole))

    def take_part(self, task: TaskId, role: str) -> None:
        """Let others find us as one who does a role's part in a task."""
        self.emit(effects.TakePart(task, role))

    def end_part(self, task: TaskId, role: str) -> None:
        """Undo it."""
        self.emit(effects.EndPart(task, role))

    def ask(self, remote: PeerId, body: bytes, then: Callable[[bytes | None], None]) -> None:
        """Ask one remote; `then` gets None when it does not answer."""
        request = self._next()
        self._answered[request] = then
        self.emit(effects.Ask(request, remote, body))

    def put_blob(self, chunks: tuple[bytes, ...]) -> BlobId:
        """Store a blob that remotes may fetch; return its id."""
        self.emit(effects.PutBlob(chunks, shared=True))
        return blob.blob_id(chunks)

    def discard(self, blob_: BlobId, but_for: tuple[BlobId, ...]) -> None:
        """Remove a blob, but for chunks that other blobs have too."""
        self.emit(effects.Discard(blob_, but_for))

    def share(self, wanted: BlobId) -> None:
        """Let remotes fetch a stored blob."""
        self.emit(effects.Share(wanted))

    def deliver(self, wanted: BlobId, name: str) -> None:
        """Hand a blob to the user as a file."""
        self.emit(effects.Deliver(wanted, name))

    def answer(self, event: events.Event) -> bool:
        """Call what awaits this event; return whether the event was such an answer."""
        match event:
            case events.Persisted(token):
                self._persisted.pop(token)()
            case events.TimerFired(name):
                self._timers.pop(name, _nothing)()
            case events.Trained(request, result):
                self._trained.pop(request)(result)
            case events.Fetched(wanted):
                for then in self._fetched.pop(wanted, []):
                    then(event)
            case events.Answered(request, _, body):
                self._answered.pop(request)(body)
            case events.Connected(remote):
                self.remotes[remote] = None
                return False
            case events.Disconnected(remote):
                self.remotes.pop(remote, None)
            case _:
                return False
        return True

    def awaited(self) -> Iterator[bytes]:
        """Give names of all answers that are awaited, in order, and how many there were ever."""
        yield self._sequence.to_bytes(8, "big")
        for token in self._persisted:
            yield b"write" + token.to_bytes(8, "big")
        for request in self._answered:
            yield b"question" + request.to_bytes(8, "big")
        yield from (b"timer" + name.encode() for name in self._timers)
        yield from (b"job" + request for request in self._trained)
        yield from (b"blob" + wanted for wanted in self._fetched)

    def awaiting(self) -> dict[str, int]:
        """Count the answers that are awaited."""
        return {
            "writes": len(self._persisted),
            "questions": len(self._answered),
            "timers": len(self._timers),
            "jobs": len(self._trained),
            "fetches": len(self._fetched),
        }

    def next_remote(self, turn: int) -> PeerId | None:
        """Return one of the connected remotes, another one each turn."""
        names = sorted(self.remotes)
        return names[turn % len(names)] if names else None

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence


def _nothing() -> None:
    """Do nothing: the timer is of a life before a restart."""
