"""EVERYTHING a node can ask of the world (Send, Publish, Persist, SetTimer, Train, ...)."""

from dataclasses import dataclass
from enum import Enum

from p2pai.jobs import Job
from p2pai.primitives.ids import BlobId, Hash32, Millis, PeerId, TaskId


class Verdict(Enum):
    """What a node thinks of a gossip message; gossipsub's three answers."""

    ACCEPT = "accept"
    IGNORE = "ignore"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Judge:
    """Answer to Received: forward the message, drop it, or drop it because the sender broke a rule."""

    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Publish:
    """Bytes to everyone who follows a topic; may be lost, late, doubled or reordered."""

    topic: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Join:
    """Follow a topic: its messages arrive as Received."""

    topic: str


@dataclass(frozen=True, slots=True)
class Leave:
    """Stop following a topic."""

    topic: str


@dataclass(frozen=True, slots=True)
class TakePart:
    """Let others find this node as one who does a role's part in a task, until EndPart.

    Who follows a task's topics is found under the task without it.
    """

    task: TaskId
    role: str


@dataclass(frozen=True, slots=True)
class EndPart:
    """Undo TakePart; what was told of it ends within two hours."""

    task: TaskId
    role: str


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to one remote; answered by Answered(request), with no body on failure."""

    request: int
    remote: PeerId
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to Asked(request)."""

    request: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Persist:
    """Append a record to the journal; answered by Persisted(token)."""

    token: int
    record: bytes


@dataclass(frozen=True, slots=True)
class StoreBlock:
    """Store a block of whatever branch, in place of any of the same hash; answered by Persisted(token)."""

    token: int
    block_hash: Hash32
    height: int
    body: bytes


@dataclass(frozen=True, slots=True)
class StoreSnapshot:
    """Store the state after a block that is final; answered by Persisted(token).

    Blocks of its height and below that are not on its chain are stored no longer.
    """

    token: int
    height: int
    body: bytes
    chain: tuple[Hash32, ...]
    """Of the blocks that became final since the last one, oldest first; the last one is at `height`."""


Write = Persist | StoreBlock | StoreSnapshot
"""What reaches the disk in the order asked for: after a crash a prefix of it is there."""


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Fire TimerFired(name) after a delay; setting a name again replaces it."""

    name: str
    delay: Millis


@dataclass(frozen=True, slots=True)
class Train:
    """Run a job outside the core, in the order asked; answered by Trained(request)."""

    request: Hash32
    job: Job


@dataclass(frozen=True, slots=True)
class PutBlob:
    """Store a blob under its content id; `shared` lets remotes fetch it."""

    chunks: tuple[bytes, ...]
    shared: bool


@dataclass(frozen=True, slots=True)
class Share:
    """Let remotes fetch a blob that was stored privately (or will be)."""

    blob: BlobId


@dataclass(frozen=True, slots=True)
class Discard:
    """Remove a stored blob; chunks that one of `but_for` has too stay."""

    blob: BlobId
    but_for: tuple[BlobId, ...]


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get a blob from any of `providers`, and share it; answered by Fetched(blob)."""

    blob: BlobId
    providers: tuple[PeerId, ...]
    whole: bool = False
    """Whether Fetched shall hold the data however large the blob is."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Write a stored blob to `models/NAME` in the data directory, for the user."""

    blob: BlobId
    name: str


@dataclass(frozen=True, slots=True)
class Hangup:
    """Close the connection to a remote and refuse it for a while."""

    remote: PeerId
    duration: Millis
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop the node, for a reason that its operator has to deal with: one sentence."""

    reason: str


Effect = (
    Judge
    | Publish
    | Join
    | Leave
    | TakePart
    | EndPart
    | Ask
    | Answer
    | Persist
    | StoreBlock
    | StoreSnapshot
    | SetTimer
    | Train
    | PutBlob
    | Share
    | Discard
    | Fetch
    | Deliver
    | Hangup
    | Halt
)
