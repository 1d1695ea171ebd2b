"""What a client asks for: the task definition.

People write it as YAML (see cli/definition.py); on chain it is this record in canonical CBOR, integers only:
a learning rate is in millionths, tau is a negative power of two.

Source: PoUW §3.4; PROTOCOL section 5.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Final

from p2pai.chain import layers as networks
from p2pai.chain import training
from p2pai.chain.layers import Layer, Placed, Shape
from p2pai.chain.training import (
    FULL_REPLICAS,
    Assignment,
    EarlyStopping,
    FullReplicas,
    Holdout,
    Initialiser,
    KFold,
    Loss,
    Numerics,
    Optimiser,
    Redundancy,
    Schedule,
    Target,
    Tau,
    Validation,
)
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidTransaction
from p2pai.primitives.ids import BlobId, PeerId

DEFINITION_SIZE_MAX: Final = 16 * 1024
"""Bytes of a definition on chain. Source: PROTOCOL section 3."""

FRAGMENT_COUNT_MIN: Final = 10
"""Fragments of a dataset, at least. Source: PoUW §3.4."""

FRAGMENT_COUNT_MAX: Final = 256
SAMPLES_MAX: Final = 2**32 - 1
"""Samples of a dataset, so that a score fits five bytes on chain."""

ITERATIONS_MAX: Final = 2**32 - 1
"""Iterations of a miner: the iteration is four bytes in IT_RES."""

BATCH_SIZE_MAX: Final = 4096
CLASS_COUNT_MAX: Final = 1000
TARGET_COUNT_MAX: Final = 255
"""Numbers that a regression predicts for each sample."""

MANTISSA_BITS: Final = (7, 13)
"""Bits of a product's operands: 13 cost no accuracy; 7 need a single float32 or bfloat16 product."""

MAP_DENSE_WEIGHTS_MAX: Final = 250_000
"""Weights of a model whose largest message map, a bitmap of 2 bits a weight, still fits an IT_RES."""

MAP_ELEMENTS_MAX: Final = 15_000
"""Elements of a message map of a larger model: 60 kB."""

FORMAT_LENGTH_MAX: Final = 16
PEER_ID_LENGTH_MAX: Final = 64
EPOCHS_MAX: Final = 65_535
"""The epoch is two bytes in IT_RES. Source: PoUW Table 1."""

HASHED_TURNS_MAX: Final = 1 << 18
"""Epochs times mini-batches (or miners, where there are more) of a task with consistent hashing: every node
has to deal out all of them, in about a second, before it knows in which epoch an iteration is."""

BATCH_BYTES_MAX: Final = 1 << 20
"""A mini-batch is one chunk of a blob, at most 1 MiB."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """The client's data, by content id; fragments are consecutive and equal but for the last."""

    format: str
    samples: int
    features: int
    classes: int
    """Classes of the labels; 0 where labels are numbers (regression)."""
    targets: int
    """Numbers of a sample's label; 0 where labels are classes."""
    batch_size: int
    training_percent: int
    """Share of the fragments revealed for training; the rest is the hidden test data."""
    fragments: tuple[BlobId, ...]
    shards: BlobId | None = None
    """With Reed-Solomon: a blob with one chunk for each fragment, the content ids of its shards in a row."""


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


@dataclass(frozen=True)
class TaskDefinition:
    """A training task, complete."""

    name: str
    numerics: Numerics
    mantissa_bits: int
    """Of the operands of products, one of `MANTISSA_BITS`; native numerics do not use it."""
    input_shape: Shape
    """Of a sample: (features,) or (height, width, channels); its product is `dataset.features`. In a draft it
    may be (): as the data say."""
    layers: tuple[Layer, ...]
    initialiser: Initialiser
    loss: Loss
    optimiser: Optimiser
    schedule: Schedule
    tau: Tau
    epochs: int
    """Passes over the training data by the whole group, at most; 0 trains for ever (predefined tasks)."""
    stopping: EarlyStopping | Target | None
    """When a miner stops before the last epoch."""
    validation: Validation
    metrics: tuple[str, ...]
    """Reported with each iteration; the first decides which model is the best."""
    dataset: Dataset
    group: Group
    reward: Reward
    preferences: tuple[int, ...]
    """What the task asks of a ticket, one weight per trait (see vrf/selection.py)."""
    client: PeerId
    """Who serves the data."""
    expected_blocks: int
    """Blocks that training may take before the fee returns to the client."""
    assignment: Assignment = Assignment.INTERLEAVED
    redundancy: Redundancy = FULL_REPLICAS

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return record.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> "TaskDefinition":
        """Read a definition; see `check` for its rules."""
        return record.decode(cls, data, size_max=DEFINITION_SIZE_MAX)

    def with_data(
        self,
        samples: int,
        features: int,
        classes: int,
        targets: int,
        fragments: tuple[BlobId, ...],
        shards: BlobId | None = None,
    ) -> "TaskDefinition":
        """Return a draft, whose data are not known yet, completed with what cutting the data gave."""
        found = replace(
            self.dataset,
            samples=samples,
            features=features,
            classes=classes,
            targets=targets,
            fragments=fragments,
            shards=shards,
        )
        return replace(self, dataset=found, input_shape=self.input_shape or (features,))

    @property
    def training_fragment_count(self) -> int:
        """Fragments revealed for training."""
        data = self.dataset
        return len(data.fragments) * data.training_percent // 100

    @cached_property
    def placed(self) -> tuple[Placed, ...]:
        """The layers in their places."""
        return networks.place(self.input_shape, self.layers)

    @cached_property
    def weight_count(self) -> int:
        """Weights of the model, biases and scales included."""
        return sum(prod(tensor.shape) for tensor in networks.weights_of(self.placed))

    @property
    def map_elements_max(self) -> int:
        """Elements that a message map may have."""
        count = self.weight_count
        return count if count <= MAP_DENSE_WEIGHTS_MAX else MAP_ELEMENTS_MAX

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
    _check_validation(task)
    _check_length(task)
    _require(task.tau.bits in training.TAU_BITS, "tau is between 2^-18 and 2^-6")
    _require(task.tau.density_ppm <= training.PPM // 4, "the density of message maps is at most 0.25")
    training.check_optimiser(task.optimiser, task.schedule)
    _require(len(task.client) <= PEER_ID_LENGTH_MAX, "the client's peer id is too long")
    _check_group(task)
    _check_redundancy(task)
    _require(1 <= task.expected_blocks <= 100_000, "expected_blocks is 1 to 100,000")


def _check_model(task: TaskDefinition) -> None:
    _require(task.mantissa_bits in MANTISSA_BITS, "mantissas have 7 or 13 bits")
    networks.check(task.input_shape, task.layers)
    _require(1 <= task.dataset.batch_size <= BATCH_SIZE_MAX, f"batch size is 1 to {BATCH_SIZE_MAX}")
    networks.check_exact(task.input_shape, task.layers, task.dataset.batch_size)
    _require(
        prod(task.input_shape) == task.dataset.features, "the input's shape holds all features of a sample"
    )
    _require(task.initialiser.variance_ppm <= 16 * training.PPM, "an initialiser's variance is at most 16")
    training.check_metrics(task.metrics, task.loss)
    _check_output(task)


def _check_output(task: TaskDefinition) -> None:
    output, data = task.placed[-1].output, task.dataset
    if not task.loss.is_classification:
        _require(output == (data.targets,), "the network has one output for each number of a label")
        _require(data.classes == 0, "labels are classes, the loss wants numbers")
        return
    _require(2 <= data.classes <= CLASS_COUNT_MAX, f"2 to {CLASS_COUNT_MAX} classes")
    _require(data.targets == 0, "labels are numbers, the loss wants classes")
    if task.loss is Loss.BINARY_CROSS_ENTROPY:
        _require(data.classes == 2 and output == (1,), "binary cross-entropy has two classes and one output")  # noqa: PLR2004
    else:
        _require(output == (data.classes,), "the network has one output for each class")


def _check_dataset(data: Dataset) -> None:
    count = len(data.fragments)
    _require(FRAGMENT_COUNT_MIN <= count <= FRAGMENT_COUNT_MAX, "10 to 256 fragments")
    _require(len(dict.fromkeys(data.fragments)) == count, "two fragments are equal")
    _require(1 <= len(data.format) <= FORMAT_LENGTH_MAX, "format has 1 to 16 characters")
    _require(data.samples <= SAMPLES_MAX, f"at most {SAMPLES_MAX} samples")
    _require(data.targets <= TARGET_COUNT_MAX, f"at most {TARGET_COUNT_MAX} numbers in a label")
    size = data.batch_size * 4 * (data.features + max(data.targets, 1)) + 64
    _require(size <= BATCH_BYTES_MAX, "a batch is at most 1 MiB")
    per_fragment = -(-data.samples // count)
    _require(data.samples > per_fragment * (count - 1), "every fragment holds samples")
    _require(1 <= data.training_percent < 100, "training share is 1 to 99 %")
    _require(count * data.training_percent // 100 >= 1, "no fragment is left for training")


def _check_validation(task: TaskDefinition) -> None:
    validation, stopping = task.validation, task.stopping
    if isinstance(validation, Holdout):
        _require(0 <= validation.percent < 100, "validation share is 0 to 99 %")
    if isinstance(validation, KFold):
        _require(validation.folds in training.FOLDS, "2 to 20 folds")
    if stopping is None:
        return
    _require(stopping.metric in task.metrics, "the metric that stops training is one of the task's metrics")
    validated = not isinstance(validation, Holdout) or validation.percent > 0
    _require(validated, "a criterion to stop needs validation data")
    if isinstance(stopping, EarlyStopping):
        _require(1 <= stopping.patience <= training.PATIENCE_MAX, "patience is 1 to 1000 epochs")


def _check_group(task: TaskDefinition) -> None:
    shares, group = task.reward, task.group
    _require(shares.miners + shares.supervisors + shares.evaluators == 100, "rewards sum to 100 %")
    _require(2 <= group.miners <= 256, "2 to 256 miners")
    _require(group.supervisors >= 3, "at least 3 supervisors")
    _require(group.supervisors <= max(3, _isqrt(group.miners)), "too many supervisors")
    _require(3 <= group.evaluators <= 32, "3 to 32 evaluators")


def _check_redundancy(task: TaskDefinition) -> None:
    scheme, supervisors = task.redundancy, task.group.supervisors
    if isinstance(scheme, FullReplicas):
        _require(task.dataset.shards is None, "full replicas have no shards")
        return
    _require(task.dataset.shards is not None, "the content id of the list of shards is missing")
    _require(scheme.data >= 1 and scheme.parity >= 1, "Reed-Solomon has at least 1 data and 1 parity shard")
    _require(scheme.shards <= supervisors, "Reed-Solomon has at most as many shards as supervisors")
    _require(
        supervisors <= 3 * scheme.data <= 2 * supervisors,
        "the data shards are from a third to two thirds of the supervisors",
    )


def _check_length(task: TaskDefinition) -> None:
    _require(0 <= task.epochs <= EPOCHS_MAX, f"epochs is at most {EPOCHS_MAX}")
    batches = sum(task.batches_in_fragment(i) for i in range(len(task.dataset.fragments)))
    _require(batches * task.epochs <= ITERATIONS_MAX, f"at most {ITERATIONS_MAX} iterations")
    if task.assignment is Assignment.CONSISTENT_HASHING:
        _require(task.epochs > 0, "consistent hashing needs a number of epochs")
        turns = max(batches, task.group.miners) * task.epochs
        _require(turns <= HASHED_TURNS_MAX, f"consistent hashing has at most {HASHED_TURNS_MAX} turns")


def _isqrt(n: int) -> int:
    root = 0
    while (root + 1) ** 2 <= n:
        root += 1
    return root


def _require(holds: bool, rule: str) -> None:  # noqa: FBT001
    if not holds:
        raise InvalidTransaction(f"task definition: {rule}")
