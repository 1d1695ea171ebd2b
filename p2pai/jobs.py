"""What the core asks of the trainer, and what it gets back: bytes in, bytes out.

A job names blobs by content id; the trainer process reads and writes them in the node's blob store. Every
number in a result that consensus depends on is an integer; metrics are bit patterns of float32.

Jobs of one session run in the order they were asked.

Source: PoUW Algorithm 1; PROTOCOL section 7.
"""

from dataclasses import dataclass

from p2pai.chain.it_res import EndState
from p2pai.chain.training import FULL_REPLICAS, Redundancy
from p2pai.primitives.ids import BlobId, Hash32

MessageMap = bytes
"""A message map in wire form (see jaxtrain/message_map.py); opaque to the core."""


@dataclass(frozen=True, slots=True)
class PeerUpdate:
    """A peer's message map, and the tau it was made with: 2^-tau_bits."""

    tau_bits: int
    message_map: MessageMap


@dataclass(frozen=True, slots=True)
class Position:
    """Where a miner stands in its course: all that an iteration depends on besides state, data and peers."""

    epoch: int
    """From 1."""
    iteration: int
    """Of this miner in this task, from 0."""
    tau_bits: int
    """tau = 2^-tau_bits in this epoch."""


@dataclass(frozen=True, slots=True)
class ModelState:
    """All that training carries from one iteration to the next, by content id."""

    weights: BlobId
    """Of the model: weights, then running statistics."""
    residual: BlobId
    optimiser: BlobId


@dataclass(frozen=True, slots=True)
class Prepare:
    """Cut a data file into fragments of mini-batches and store them, not shared."""

    path: str
    format: str
    regression: bool
    """Whether labels are numbers, not classes."""
    batch_size: int
    fragment_count: int
    redundancy: Redundancy = FULL_REPLICAS
    """With Reed-Solomon, make each fragment's shards and the list of them too."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The client's dataset as the task definition describes it."""

    samples: int
    features: int
    classes: int
    """0 where labels are numbers."""
    targets: int
    """Numbers of a label; 0 where labels are classes."""
    fragments: tuple[BlobId, ...]
    shards: BlobId | None = None
    """The list of shards, where there are any."""


@dataclass(frozen=True, slots=True)
class Restore:
    """Rebuild a fragment from as many of its shards as it takes; they, and the list of shards, are stored."""

    task: bytes
    fragment: BlobId


@dataclass(frozen=True, slots=True)
class Restored:
    """The fragment is stored; or its shards are those of the list and no fragment of the task: a lie."""

    fragment: BlobId
    fault: str
    """Empty when the fragment is there."""


@dataclass(frozen=True, slots=True)
class Inspect:
    """Look whether fragments, which are stored, hold what the task's definition says."""

    task: bytes
    fragments: tuple[BlobId, ...]


@dataclass(frozen=True, slots=True)
class Inspected:
    """The first fragment that does not, and why; None when all do."""

    fragment: BlobId | None
    reason: str


@dataclass(frozen=True, slots=True)
class Open:
    """Begin a training session, or resume one from `state`; replaces a session of the same name."""

    session: str
    task: bytes
    seed: Hash32
    fragments: tuple[BlobId, ...]
    """The revealed fragments in training order; their chunks are the mini-batches."""
    state: ModelState | None


@dataclass(frozen=True, slots=True)
class Opened:
    """The session is ready; `state` is stored."""

    state: ModelState
    weight_count: int
    batch_count: int
    """Mini-batches of the revealed fragments."""
    platform: Hash32
    """Fingerprint of this machine where the task's numerics are native; else zero."""


@dataclass(frozen=True, slots=True)
class Step:
    """One iteration of Algorithm 1 (lines 2 to 19)."""

    session: str
    position: Position
    batch: int
    """Index of the mini-batch among the session's batches."""
    peers: tuple[PeerUpdate, ...]


@dataclass(frozen=True, slots=True)
class Begin:
    """Start on a step whose `Step` follows: the device computes while another is brought to its end."""

    step: Step


@dataclass(frozen=True, slots=True)
class Begun:
    """It is under way."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """What an iteration gave."""

    before: ModelState
    """Content ids of the state it started from (not stored)."""
    after: EndState
    """What it ended with (not stored)."""
    batch: Hash32
    batch_kib: int
    message_map: MessageMap
    metrics: tuple[int, ...]
    """Bit patterns of float32, in the order of the task's metrics."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Store the state after the last step that was answered, shared, to resume from or to deliver."""

    session: str


@dataclass(frozen=True, slots=True)
class Kept:
    """The state is stored."""

    state: ModelState
    witness: Hash32

    @property
    def end(self) -> EndState:
        """The state as what an iteration ended with."""
        return EndState(self.state.weights, self.state.residual, self.state.optimiser, self.witness)


@dataclass(frozen=True, slots=True)
class KeepCapsule:
    """Store what replaying a recent step needs (state before it, its batch), shared."""

    session: str
    before: ModelState
    """What the step started from; a step that moves no weight ends with the weights that it began with."""
    batch: Hash32


@dataclass(frozen=True, slots=True)
class CapsuleKept:
    """The capsule is stored."""

    before: ModelState
    batch: Hash32


@dataclass(frozen=True, slots=True)
class Validate:
    """Score the model after the last step that was answered on mini-batches set apart, in evaluation mode."""

    session: str
    batches: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Validated:
    """Metrics over those batches together, as bit patterns of float32 (none without batches)."""

    metrics: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Replay:
    """Recompute one iteration from its capsule and compare; needs no session."""

    task: bytes
    seed: Hash32
    """The task id."""
    position: Position
    before: ModelState
    batch: Hash32
    peers: tuple[PeerUpdate, ...]
    message_map: MessageMap
    metrics: tuple[int, ...]
    samples: int
    """Samples that the mini-batch must have, by the task's definition."""
    platform: Hash32
    """Fingerprint of the machine that recorded an iteration in native numerics; zeros for exact ones."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay found; `difference` is empty when every recorded value came out again."""

    after: EndState
    start_witness: Hash32
    """Witness of the residual that the iteration started from."""
    difference: str


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Score models (weights by content id) on whole fragments, exactly."""

    task: bytes
    models: tuple[BlobId, ...]
    fragments: tuple[BlobId, ...]


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Score of each model in the order asked, 32 bits, more is better; 0 for a malformed model."""

    scores: tuple[int, ...]
    samples: int


@dataclass(frozen=True, slots=True)
class Export:
    """Turn stored weights into a safetensors file, stored as a blob."""

    task: bytes
    weights: BlobId


@dataclass(frozen=True, slots=True)
class Exported:
    """The file's content id."""

    file: BlobId


@dataclass(frozen=True, slots=True)
class Failed:
    """No result; `reason` is one sentence for a person."""

    reason: str


Job = (
    Prepare
    | Restore
    | Inspect
    | Open
    | Begin
    | Step
    | Keep
    | KeepCapsule
    | Validate
    | Replay
    | Evaluate
    | Export
)
Result = (
    Prepared
    | Restored
    | Inspected
    | Opened
    | Begun
    | Stepped
    | Kept
    | CapsuleKept
    | Validated
    | Replayed
    | Evaluated
    | Exported
    | Failed
)
