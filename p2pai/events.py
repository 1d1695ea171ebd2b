"""EVERYTHING that can happen to a node (Received, TimerFired, Persisted, Trained, ...)."""

from dataclasses import dataclass

from p2pai.jobs import Result
from p2pai.primitives.ids import BlobId, Hash32, PeerId


@dataclass(frozen=True, slots=True)
class Started:
    """The node came up; everything that survived is handed to it."""

    journal: tuple[bytes, ...]
    """Every record, oldest first."""
    snapshot: bytes | None = None
    """Body of the newest sound one."""
    blocks: tuple[bytes, ...] = ()
    """Bodies of the blocks above it, of whatever branch, in order of arrival."""


@dataclass(frozen=True, slots=True)
class Received:
    """Bytes from a remote on a topic; nothing about them is checked yet; answered by Judge."""

    remote: PeerId
    topic: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Connected:
    """A remote speaks our protocol and can be asked."""

    remote: PeerId


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The last connection to a remote is gone."""

    remote: PeerId


@dataclass(frozen=True, slots=True)
class Asked:
    """A remote's question; answered by Answer(request), at once or later."""

    request: int
    remote: PeerId
    body: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """A remote's answer to Ask(request); `body` is None when it failed or took too long."""

    request: int
    remote: PeerId
    body: bytes | None


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer asked for with SetTimer is due."""

    name: str


@dataclass(frozen=True, slots=True)
class Persisted:
    """What a Persist, StoreBlock or StoreSnapshot wrote is on disk and will survive a crash."""

    token: int


@dataclass(frozen=True, slots=True)
class Trained:
    """The trainer finished; jobs.Failed tells why there is no result."""

    request: Hash32
    result: Result


@dataclass(frozen=True, slots=True)
class Fetched:
    """A Fetch ended: the blob is in the store (`chunks` its leaf hashes), or nobody had it."""

    blob: BlobId
    chunks: tuple[Hash32, ...] | None
    data: bytes | None
    """The whole blob when it is no larger than 256 KiB, or was asked for whole; else None."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """The local user asked for something; `method` and `params` as in the RPC."""

    method: str
    params: bytes


Event = (
    Started
    | Received
    | Connected
    | Disconnected
    | Asked
    | Answered
    | TimerFired
    | Persisted
    | Trained
    | Fetched
    | Submitted
)
