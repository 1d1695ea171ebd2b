"""What the runtime needs of the network and of the core, as protocols."""

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from p2pai.effects import Effect
from p2pai.events import Event
from p2pai.gossip.reachability import Outlook
from p2pai.primitives.ids import BlobId, Hash32, Millis, PeerId, TaskId


class Core(Protocol):
    """The heart of a node: no I/O, one event at a time."""

    def handle(self, event: Event, now_ms: Millis) -> list[Effect]:
        """Take one event, return what to do."""

    def query(self, method: str, params: dict[str, Any]) -> Any:  # noqa: ANN401
        """Answer a question in JSON's types; InvalidInput for an unknown method or wrong parameters."""


class Shelf(Protocol):
    """Where a blob's chunks go."""

    async def begin(self, leaves: tuple[Hash32, ...]) -> Collection[Hash32]:
        """Take the checked manifest; return those of its leaves whose chunks are here."""

    def put(self, leaf: Hash32, chunk: bytes) -> None:
        """Take a checked chunk, each once."""

    def report(self, missing: int, sources: int) -> None:
        """Learn how many different chunks are missing, and from how many remotes they come."""


class Wire(Protocol):
    """The network, as `gossip/libp2p/network.py` offers it."""

    @property
    def peer_id(self) -> PeerId:
        """Our own id."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Full multiaddrs under which others reach us."""

    def remotes(self) -> tuple[PeerId, ...]:
        """Return who can be asked now."""

    def company(self) -> dict[str, Any]:
        """Return how many remotes dialled us, were dialled, and are known, and whether we are alone."""

    def outlook(self) -> Outlook:
        """Return what remotes say of us."""

    async def run(self, task_status: Any) -> None:  # noqa: ANN401
        """Serve until cancelled; tells `task_status` (trio's) when it does."""

    async def join(self, topic: str) -> None:
        """Follow a topic."""

    async def leave(self, topic: str) -> None:
        """Stop following it."""

    async def take_part(self, task: TaskId, role: str) -> None:
        """Let others find us as one who does a role's part in a task."""

    async def end_part(self, task: TaskId, role: str) -> None:
        """Undo it."""

    async def publish(self, topic: str, data: bytes) -> None:
        """Send to everyone who follows a topic; never raises."""

    async def ask(self, remote: PeerId, body: bytes, timeout_s: float) -> bytes:
        """Ask one remote; Unavailable when it does not answer."""

    async def fetch(self, blob: BlobId, providers: Sequence[PeerId], shelf: Shelf) -> tuple[Hash32, ...]:
        """Get what is missing of a blob; Unavailable when nobody has it."""

    def provide(self, blob: BlobId) -> None:
        """Tell who looks for a large blob that we have it, again and again."""

    def withdraw(self, blob: BlobId) -> None:
        """Stop telling so."""

    async def hangup(self, remote: PeerId, seconds: float) -> None:
        """Close the connection and refuse it for a while."""
