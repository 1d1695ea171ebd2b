"""What a client asks for: the task definition.

People write it as YAML (see cli/definition.py); on chain it is this record in canonical CBOR, integers only:
a learning rate is in millionths, tau is a negative power of two.

Source: PoUW §3.4; PROTOCOL section 5.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from p2pai.primitives import record
from p2pai.primitives.errors import InvalidTransaction
from p2pai.primitives.ids import BlobId, PeerId

DEFINITION_SIZE_MAX: Final = 16 * 1024
"""Bytes of a definition on chain. Source: PROTOCOL section 3."""

FRAGMENT_COUNT_MIN: Final = 10
"""Fragments of a dataset, at least. Source: PoUW §3.4."""

FRAGMENT_COUNT_MAX: Final = 256
LAYER_COUNT_MAX: Final = 32
WEIGHT_COUNT_MAX: Final = 250_000
"""Weights of a model: its largest message map, a bitmap of 2 bits a weight, still fits an IT_RES."""

UNITS_MAX: Final = 65_536
SAMPLES_MAX: Final = 2**32 - 1
"""Samples of a dataset, so that a score fits five bytes on chain."""

ITERATIONS_MAX: Final = 2**32 - 1
"""Iterations of a miner: the iteration is four bytes in IT_RES."""

FORMAT_LENGTH_MAX: Final = 16
PEER_ID_LENGTH_MAX: Final = 64
EPOCHS_MAX: Final = 65_535
"""The epoch is two bytes in IT_RES. Source: PoUW Table 1."""

BATCH_BYTES_MAX: Final = 1 << 20
"""A mini-batch is one chunk of a blob, at most 1 MiB."""

PPM: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Dense:
    """A fully connected layer: `units` outputs, then an activation ("relu", or "none" for the last)."""

    units: int
    activation: str


@dataclass(frozen=True, slots=True)
class Sgd:
    """Plain stochastic gradient descent."""

    learning_rate_ppm: int


@dataclass(frozen=True, slots=True)
class Dataset:
    """The client's data, by content id; fragments are consecutive and equal but for the last."""

    format: str
    samples: int
    features: int
    classes: int
    batch_size: int
    training_percent: int
    """Share of the fragments revealed for training; the rest is the hidden test data."""
    validation_percent: int
    """Share of the revealed mini-batches set apart for validation (holdout, the last ones)."""
    fragments: tuple[BlobId, ...]


@dataclass(frozen=True, slots=True)
class Reward:
    """Reward scheme R: per cent of the fee for each kind of participant; sums to 100."""

    miners: int
    supervisors: int
    evaluators: int


@dataclass(frozen=True, slots=True)
class Group:
    """How many of each role a task wants."""

    miners: int
    supervisors: int
    evaluators: int


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """A training task, complete."""

    name: str
    layers: tuple[Dense, ...]
    loss: str
    optimiser: Sgd
    tau_bits: int
    """tau = 2^-tau_bits, in units of a weight."""
    epochs: int
    """Passes over the training data by the whole group; 0 trains for ever (predefined tasks)."""
    metrics: tuple[str, ...]
    dataset: Dataset
    group: Group
    reward: Reward
    preferences: tuple[int, ...]
    """What the task asks of a ticket, one weight per trait (see vrf/selection.py)."""
    client: PeerId
    """Who serves the data."""
    expected_blocks: int
    """Blocks that training may take before the fee returns to the client."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return record.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> "TaskDefinition":
        """Read a definition; see `check` for its rules."""
        return record.decode(cls, data, size_max=DEFINITION_SIZE_MAX)

    @property
    def training_fragment_count(self) -> int:
        """Fragments revealed for training."""
        data = self.dataset
        return len(data.fragments) * data.training_percent // 100

    @property
    def weight_count(self) -> int:
        """Weights and biases of the model."""
        widths = (self.dataset.features, *(layer.units for layer in self.layers))
        return sum((m + 1) * n for m, n in pairwise(widths))

    def batches_in_fragment(self, fragment: int) -> int:
        """Mini-batches of the fragment at a position of `dataset.fragments`."""
        return -(-self._samples_in_fragment(fragment) // self.dataset.batch_size)

    def samples_in_batch(self, fragment: int, batch: int) -> int:
        """Return the samples of a mini-batch, by its fragment's position and its index there."""
        size = self.dataset.batch_size
        return min(size, self._samples_in_fragment(fragment) - batch * size)

    def _samples_in_fragment(self, fragment: int) -> int:
        data = self.dataset
        per_fragment = -(-data.samples // len(data.fragments))
        return min(per_fragment, data.samples - fragment * per_fragment)


def check(task: TaskDefinition) -> None:
    """Check a definition's own rules.

    Raises:
      InvalidTransaction: the first rule that it breaks.
    """
    _require(1 <= len(task.name) <= 64, "name has 1 to 64 characters")
    _check_model(task)
    _check_dataset(task.dataset)
    _check_length(task)
    _require(6 <= task.tau_bits <= 18, "tau is between 2^-18 and 2^-6")
    _require(1 <= task.optimiser.learning_rate_ppm <= 100 * PPM, "learning rate is above 0, at most 100")
    _require(len(task.client) <= PEER_ID_LENGTH_MAX, "the client's peer id is too long")
    _require(task.metrics == ("loss", "accuracy"), "metrics are loss, accuracy")
    shares = task.reward
    _require(shares.miners + shares.supervisors + shares.evaluators == 100, "rewards sum to 100 %")
    _require(2 <= task.group.miners <= 256, "2 to 256 miners")
    _require(task.group.supervisors >= 3, "at least 3 supervisors")
    _require(task.group.supervisors <= max(3, _isqrt(task.group.miners)), "too many supervisors")
    _require(3 <= task.group.evaluators <= 32, "3 to 32 evaluators")
    _require(1 <= task.expected_blocks <= 100_000, "expected_blocks is 1 to 100,000")


def _check_model(task: TaskDefinition) -> None:
    _require(1 <= len(task.layers) <= LAYER_COUNT_MAX, f"1 to {LAYER_COUNT_MAX} layers")
    _require(all(1 <= layer.units <= UNITS_MAX for layer in task.layers), "layer size out of range")
    _require(all(x.activation == "relu" for x in task.layers[:-1]), "hidden layers use relu")
    _require(task.layers[-1].activation == "none", "the last layer has no activation of its own")
    _require(task.layers[-1].units == task.dataset.classes, "the last layer has one unit per class")
    _require(task.loss == "softmax_cross_entropy", "loss is softmax_cross_entropy")
    _require(1 <= task.dataset.features <= UNITS_MAX, "number of features out of range")
    _require(task.weight_count <= WEIGHT_COUNT_MAX, f"at most {WEIGHT_COUNT_MAX} weights")


def _check_dataset(data: Dataset) -> None:
    count = len(data.fragments)
    _require(FRAGMENT_COUNT_MIN <= count <= FRAGMENT_COUNT_MAX, "10 to 256 fragments")
    _require(len(dict.fromkeys(data.fragments)) == count, "two fragments are equal")
    _require(1 <= len(data.format) <= FORMAT_LENGTH_MAX, "format has 1 to 16 characters")
    _require(data.samples <= SAMPLES_MAX, f"at most {SAMPLES_MAX} samples")
    _require(2 <= data.classes <= 1000, "2 to 1000 classes")
    _require(1 <= data.batch_size <= 4096, "batch size is 1 to 4096")
    _require(data.batch_size * (data.features * 4 + 8) <= BATCH_BYTES_MAX, "a batch is at most 1 MiB")
    per_fragment = -(-data.samples // count)
    _require(data.samples > per_fragment * (count - 1), "every fragment holds samples")
    _require(1 <= data.training_percent < 100, "training share is 1 to 99 %")
    _require(count * data.training_percent // 100 >= 1, "no fragment is left for training")
    _require(0 <= data.validation_percent < 100, "validation share is 0 to 99 %")


def _check_length(task: TaskDefinition) -> None:
    _require(0 <= task.epochs <= EPOCHS_MAX, f"epochs is at most {EPOCHS_MAX}")
    batches = sum(task.batches_in_fragment(i) for i in range(len(task.dataset.fragments)))
    _require(batches * task.epochs <= ITERATIONS_MAX, f"at most {ITERATIONS_MAX} iterations")


def _isqrt(n: int) -> int:
    root = 0
    while (root + 1) ** 2 <= n:
        root += 1
    return root


def _require(holds: bool, rule: str) -> None:  # noqa: FBT001
    if not holds:
        raise InvalidTransaction(f"task definition: {rule}")
