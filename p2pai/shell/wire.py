"""What the runtime needs of the network and of the core, as protocols."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from p2pai.effects import Effect
from p2pai.events import Event
from p2pai.primitives.ids import BlobId, Hash32, Millis, PeerId


class Core(Protocol):
    """The heart of a node: no I/O, one event at a time."""

    def handle(self, event: Event, now_ms: Millis) -> list[Effect]:
        """Take one event, return what to do."""

    def query(self, method: str, params: dict[str, Any]) -> Any:  # noqa: ANN401
        """Answer a question in JSON's types; InvalidInput for an unknown method or wrong parameters."""


class Wire(Protocol):
    """The network, as `gossip/libp2p/network.py` offers it."""

    @property
    def peer_id(self) -> PeerId:
        """Our own id."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Full multiaddrs under which others reach us."""

    async def run(self, task_status: Any) -> None:  # noqa: ANN401
        """Serve until cancelled; tells `task_status` (trio's) when it does."""

    async def join(self, topic: str) -> None:
        """Follow a topic."""

    async def leave(self, topic: str) -> None:
        """Stop following it."""

    async def publish(self, topic: str, data: bytes) -> None:
        """Send to everyone who follows a topic; never raises."""

    async def ask(self, remote: PeerId, body: bytes, timeout_s: float) -> bytes:
        """Ask one remote; Unavailable when it does not answer."""

    async def fetch(
        self, blob: BlobId, providers: Sequence[PeerId], sink: Callable[[Hash32, bytes], None]
    ) -> tuple[Hash32, ...]:
        """Get a blob chunk by chunk; Unavailable when nobody has it."""

    async def hangup(self, remote: PeerId, seconds: float) -> None:
        """Close the connection and refuse it for a while."""
