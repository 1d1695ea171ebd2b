"""A model of sixteen whole numbers that learns as PoUW's miners do, in microseconds.

    target = hash of the dataset's fragments              goal of a batch = target + noise of batch and place
    residual' = residual + (goal - weights) / 2^6         an element +-1 of the map where it exceeds tau
    weights' = weights + tau * own elements + their taus * peers' elements + grain

Every number depends on all that a real iteration depends on: state, mini-batch, peers' maps, tau, epoch and
iteration; `seen`, in the optimiser's place, is a hash over all of it, and the grain is its noise in the last
two bits, so that no two iterations give one model. Whoever recomputes an iteration from its capsule finds
every lie that the real trainer's replay finds. Models come closer to the target with the iterations that
happened, and no two of them score alike but by chance.

Numbers are in units of 2^-20. The toy's weights are the first of the model that the task defines; a peer's
element of any other weight moves one of these.

Source: PoUW Algorithm 1; jaxtrain/step.py, whose place it takes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from operator import add
from struct import Struct, pack, unpack
from typing import Final

from p2pai.chain import message_map
from p2pai.chain.it_res import EndState, witness
from p2pai.chain.task import TaskDefinition
from p2pai.chain.training import SCORE_MAX, SMALLER_IS_BETTER, TAU_BITS
from p2pai.jobs import ModelState, PeerUpdate, Position
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import HASH_SIZE, BlobId, Hash32
from p2pai.primitives.merkle import leaf_hash

WEIGHTS_MAX: Final = 16
"""As many as a hash has numbers of 16 bits."""

UNIT_BITS: Final = 20
RATE_BITS: Final = 6
"""A step goes 2^-6 of the way."""

RESIDUAL_TAUS_MAX: Final = 2
"""What is left of a gradient is at most so many taus, so that a small tau is slow and not unstable."""

UNITS_MAX: Final = (1 << 31) - 1
ACCURACY_SLOPE: Final = 3
"""An accuracy is 1 less three times the mean distance from the goal: about 0.2 to begin with."""

TASKS_KEPT: Final = 64
MAPS_KEPT: Final = 4096
BATCHES_KEPT: Final = 4096

_INITIAL_BITS: Final = 2
_TARGET_BITS: Final = 4
_NOISE_BITS: Final = 1
"""Left shifts of a signed number of 16 bits: weights begin within 1/8, a target is within 1/2, noise 1/16."""

_GRAIN_MASK: Final = 3
_UP: Final = 1 << 31
_INDEX_MASK: Final = _UP - 1
_NUMBERS: Final = Struct("<16H")
_PLACE: Final = Struct("<III")

Numbers = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class State:
    """What one iteration hands to the next, as bytes."""

    weights: bytes
    residual: bytes
    seen: bytes
    """A hash of everything that led here; stored in the place of the optimiser's state."""

    @property
    def ids(self) -> ModelState:
        """Content ids."""
        return ModelState(_id(self.weights), _id(self.residual), _id(self.seen))

    @property
    def end(self) -> EndState:
        """What an iteration that ended here has to show."""
        return EndState(_id(self.weights), _id(self.residual), _id(self.seen), witness(self.residual))


@dataclass(frozen=True, slots=True)
class Distance:
    """Of a model from the goals of some batches; distances of disjoint batches add up."""

    units: int = 0
    numbers: int = 0

    def __add__(self, other: "Distance") -> "Distance":
        return Distance(self.units + other.units, self.numbers + other.numbers)

    def quality(self, metric: str) -> int:
        """Return the score by a metric: 32 bits, more is better."""
        whole = self.numbers << UNIT_BITS
        if not whole:
            return 0
        if metric in SMALLER_IS_BETTER:
            return SCORE_MAX * whole // (whole + self.units)
        return SCORE_MAX * max(0, whole - ACCURACY_SLOPE * self.units) // whole

    def bits(self, metrics: Sequence[str]) -> tuple[int, ...]:
        """Return metrics as bit patterns of float32."""
        mean = self.units / (self.numbers << UNIT_BITS)
        accuracy = max(0.0, 1 - ACCURACY_SLOPE * mean)
        return tuple(_float32(mean if metric in SMALLER_IS_BETTER else accuracy) for metric in metrics)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an iteration gave."""

    after: State
    message_map: bytes
    distance: Distance
    """Of the weights that it started from."""


class Toy:
    """The model of one task."""

    def __init__(self, task: TaskDefinition) -> None:
        """Find its size and its target."""
        self.weight_count = task.weight_count
        self.size = min(WEIGHTS_MAX, self.weight_count)
        self._packed = Struct(f"<{self.size}i")
        self._target = _spread(tagged_hash("p2pai/toy-target", *task.dataset.fragments), _TARGET_BITS)

    def initial(self, seed: Hash32) -> State:
        """Return what training begins with; the seed is the task id."""
        weights = _spread(tagged_hash("p2pai/toy-weights", seed), _INITIAL_BITS)[: self.size]
        seen = tagged_hash("p2pai/toy-seen", seed)
        return State(self._packed.pack(*weights), bytes(self._packed.size), seen)

    def read(self, weights: bytes, residual: bytes, seen: bytes) -> State:
        """Take a state from elsewhere.

        Raises:
          InvalidMessage: a part has another size.
        """
        self.check_model(weights)
        _require_size(residual, self._packed.size, "residual")
        _require_size(seen, HASH_SIZE, "optimiser state")
        return State(weights, residual, seen)

    def check_model(self, weights: bytes) -> None:
        """Raise InvalidMessage unless these are weights."""
        _require_size(weights, self._packed.size, "model")

    def step(
        self, before: State, leaf: Hash32, seed: Hash32, position: Position, peers: Sequence[PeerUpdate]
    ) -> Outcome:
        """Run one iteration.

        Args:
          before: what it starts from.
          leaf: leaf hash of the mini-batch.
          seed: the task id.
          position: of the miner.
          peers: updates to apply.

        Raises:
          InvalidMessage: a peer's map is malformed, or a tau is out of range.
        """
        tau, moves = _tau(position.tau_bits), self._moves(peers)
        place = _PLACE.pack(position.epoch, position.iteration, position.tau_bits)
        weights, residual = self._packed.unpack(before.weights), self._packed.unpack(before.residual)
        goal = self._goal(sha256(seed + place + leaf).digest())
        left = [r + (g - w >> RATE_BITS) for r, g, w in zip(residual, goal, weights, strict=False)]
        elements = [(i, 1 if units > 0 else -1) for i, units in enumerate(left) if abs(units) > tau]
        for i, sign in elements:
            left[i] = max(-RESIDUAL_TAUS_MAX * tau, min(left[i] - sign * tau, RESIDUAL_TAUS_MAX * tau))
            moves[i] += sign * tau
        applied = (part for peer in peers for part in (bytes([peer.tau_bits]), peer.message_map))
        seen = tagged_hash("p2pai/toy-seen", before.seen, seed, place, leaf, *applied)
        after = State(self._packed.pack(*self._move(weights, moves, seen)), self._packed.pack(*left), seen)
        return Outcome(after, write_map(elements, self.weight_count), self._distance(weights, goal))

    def score(self, weights: bytes, chunks: Sequence[bytes]) -> Distance:
        """Return how far a model is from the goals of mini-batches, of which each counts the same."""
        numbers = self._packed.unpack(weights)
        return sum((self._distance(numbers, self._goal(leaf_of(c))) for c in chunks), start=Distance())

    def _moves(self, peers: Sequence[PeerUpdate]) -> list[int]:
        moves = [0] * self.size
        for peer in peers:
            tau = _tau(peer.tau_bits)
            for index, sign in read_map(peer.message_map, self.weight_count):
                moves[index % self.size] += sign * tau
        return moves

    def _move(self, weights: Numbers, moves: Sequence[int], seen: Hash32) -> Numbers:
        grain = (n & _GRAIN_MASK for n in _NUMBERS.unpack(seen))
        moved = (sum(parts) for parts in zip(weights, moves, grain, strict=False))
        return tuple(max(-UNITS_MAX, min(w, UNITS_MAX)) for w in moved)

    def _goal(self, digest: bytes) -> Numbers:
        return tuple(map(add, self._target, _spread(digest, _NOISE_BITS)))

    def _distance(self, weights: Numbers, goal: Numbers) -> Distance:
        return Distance(sum(abs(w - g) for w, g in zip(weights, goal, strict=False)), self.size)


@lru_cache(TASKS_KEPT)
def toy_of(task: TaskDefinition) -> Toy:
    """Return the model of a task."""
    return Toy(task)


@lru_cache(BATCHES_KEPT)
def leaf_of(chunk: bytes) -> Hash32:
    """Return the leaf hash of a mini-batch, which trains and scores many models."""
    return leaf_hash(chunk)


@lru_cache(MAPS_KEPT)
def read_map(data: bytes, weight_count: int) -> tuple[tuple[int, int], ...]:
    """Return the elements of a message map: index of the weight, 1 or -1.

    Raises:
      InvalidMessage: not the one encoding of a map over `weight_count` weights.
    """
    message_map.check(data, weight_count)
    start = 1
    while data[start] & 0x80:
        start += 1
    payload = data[start + 1 :]
    if data[0] == message_map.LIST:
        words = unpack(f">{len(payload) // 4}I", payload)
        return tuple((word & _INDEX_MASK, 1 if word & _UP else -1) for word in words)
    bits = int.from_bytes(payload, "little")
    codes = ((i, bits >> 2 * i & 3) for i in range(weight_count))
    return tuple((i, 1 if code == 1 else -1) for i, code in codes if code)


def write_map(elements: Sequence[tuple[int, int]], weight_count: int) -> bytes:
    """Return the wire form of a map of at most 127 elements, ascending by index."""
    count = len(elements)
    if count * message_map.DENSITY_INVERSE <= weight_count:
        words = (index | (_UP if sign > 0 else 0) for index, sign in elements)
        return bytes([message_map.LIST, count]) + pack(f">{count}I", *words)
    bits = sum((sign & 3) << 2 * index for index, sign in elements)
    return bytes([message_map.BITMAP, count]) + bits.to_bytes(-(-weight_count // 4), "little")


def _spread(digest: bytes, shift: int) -> Numbers:
    return tuple(n - (1 << 15) << shift for n in _NUMBERS.unpack(digest))


def _tau(bits: int) -> int:
    if bits not in TAU_BITS:
        raise InvalidMessage("tau is out of range")
    return 1 << UNIT_BITS - bits


def _id(part: bytes) -> BlobId:
    return BlobId(leaf_hash(part))  # a part is one chunk


def _require_size(part: bytes, size: int, what: str) -> None:
    if len(part) != size:
        raise InvalidMessage(f"{what}: {len(part)} bytes, expected {size}")


def _float32(value: float) -> int:
    bits: int = unpack("<I", pack("<f", value))[0]
    return bits
