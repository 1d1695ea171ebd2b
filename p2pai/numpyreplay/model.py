"""A model as integers: weights in units of 2^-20, running statistics in units of 2^-24; and its bytes.

Source: docs/EXACT.md, "Numbers that are carried from one iteration to the next" and "Initial state".
"""

from dataclasses import dataclass
from hashlib import shake_256
from math import isqrt, prod
from typing import Final

import numpy as np

from p2pai.chain.layers import Part, Weights, statistics_of, weights_of
from p2pai.chain.task import TaskDefinition
from p2pai.chain.training import Distribution, Fan, Initialiser
from p2pai.numpyreplay.integers import Integers, limit
from p2pai.numpyreplay.normalisation import STATISTIC_BITS, STATISTIC_MAX
from p2pai.numpyreplay.quantise import Floats
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import Hash32

WEIGHT_BITS: Final = 20
WEIGHT_MAX: Final = (1 << 24) - 1
"""Units of 2^-20 either side."""

INT32_MAX: Final = (1 << 31) - 1
_PPM: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Model:
    """Weights and running statistics, flat, in canonical order."""

    weights: Integers
    statistics: Integers

    def encode(self) -> bytes:
        """Return the model's bytes."""
        return to_floats(self.weights).astype("<f4").tobytes() + self.statistics.astype("<i8").tobytes()


def decode(data: bytes, task: TaskDefinition) -> Model:
    """Read a model's bytes.

    Raises:
      InvalidMessage: of another size, or with a number that no model has.
    """
    cut = 4 * task.weight_count
    shapes = statistics_of(task.placed)
    _require(len(data) == cut + 8 * sum(prod(shape) for shape in shapes), "size")
    statistics = np.frombuffer(data[cut:], "<i8").astype(np.int64)
    bounded = (statistics >= -STATISTIC_MAX) & (statistics <= STATISTIC_MAX)
    _require(bool(bounded.all()), "a statistic out of range")
    variances = split(statistics, shapes)[1::2]
    _require(all(bool((variance >= 0).all()) for variance in variances), "a negative variance")
    return Model(_read_weights(data[:cut]), statistics)


def decode_residual(data: bytes, task: TaskDefinition) -> Integers:
    """Read a residual's bytes.

    Raises:
      InvalidMessage: of another size, or with -2^31 in it.
    """
    _require(len(data) == 4 * task.weight_count, "size", "residual")
    residual = np.frombuffer(data, "<i4").astype(np.int64)
    _require(bool((residual >= -INT32_MAX).all()), "a value out of range", "residual")
    return residual


def to_floats(weights: Integers) -> Floats:
    """Return weights in units of 2^-20 as the numbers they are; exact."""
    return np.ldexp(weights.astype(np.float64), -WEIGHT_BITS).astype(np.float32)


def move(weights: Integers, units: Integers) -> Integers:
    """Return the weights less so many units, within their range."""
    return limit(weights - units, WEIGHT_MAX)


def split(flat: Integers, shapes: tuple[tuple[int, ...], ...]) -> tuple[Integers, ...]:
    """Cut a flat array into tensors of the given shapes."""
    ends = np.cumsum([prod(shape) for shape in shapes])
    parts = np.split(flat, ends[:-1]) if shapes else []
    return tuple(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))


def shapes_of(task: TaskDefinition) -> tuple[tuple[int, ...], ...]:
    """Return the shapes of all tensors of weights, in canonical order."""
    return tuple(tensor.shape for tensor in weights_of(task.placed))


def name_of(task: TaskDefinition, index: int) -> str:
    """Name the weight at a flat index, such as "layer0/kernel[3, 5]"."""
    for tensor in weights_of(task.placed):
        count = prod(tensor.shape)
        if index < count:
            place = ", ".join(str(int(i)) for i in np.unravel_index(index, tensor.shape))
            return f"{tensor.name}[{place}]"
        index -= count
    raise AssertionError("no such weight")


def initial(task: TaskDefinition, seed: Hash32) -> Model:
    """Return the model that every miner of a task begins with."""
    tensors = [_initial_tensor(tensor, task.initialiser, seed) for tensor in weights_of(task.placed)]
    statistics = [
        np.full(shape, (i % 2) << STATISTIC_BITS, np.int64)
        for i, shape in enumerate(statistics_of(task.placed))
    ]
    nothing = np.zeros(0, np.int64)
    return Model(np.concatenate([nothing, *tensors]), np.concatenate([nothing, *statistics]))


def _initial_tensor(tensor: Weights, initialiser: Initialiser, seed: Hash32) -> Integers:
    count = prod(tensor.shape)
    if tensor.part is not Part.KERNEL:
        return np.full(count, (tensor.part is Part.SCALE) << WEIGHT_BITS, np.int64)
    stream = shake_256(seed + tensor.layer.to_bytes(4, "little") + b"kernel")
    if initialiser.distribution is Distribution.UNIFORM:
        bound = _spread(6, initialiser, tensor)
        words = np.frombuffer(stream.digest(4 * count), "<u4").astype(np.int64)
        return ((words * (2 * bound + 1)) >> 32) - bound
    words = np.frombuffer(stream.digest(24 * count), "<u2").astype(np.int64)
    z = words.reshape(count, 12).sum(axis=1) - 393210
    return limit((z * _spread(2, initialiser, tensor) + (1 << 15)) >> 16, WEIGHT_MAX)


def _spread(factor: int, initialiser: Initialiser, tensor: Weights) -> int:
    fans = {
        Fan.IN: 2 * tensor.fan_in,
        Fan.OUT: 2 * tensor.fan_out,
        Fan.AVERAGE: tensor.fan_in + tensor.fan_out,
        Fan.ONE: 2,
    }
    return isqrt((factor * initialiser.variance_ppm << 40) // (_PPM * fans[initialiser.fan]))


def _read_weights(data: bytes) -> Integers:
    weights = np.frombuffer(data, "<f4")
    _require(bool(np.isfinite(weights).all()), "a weight that is not a number")
    units = np.ldexp(weights.astype(np.float64), WEIGHT_BITS)
    _require(bool((np.abs(units) <= WEIGHT_MAX).all()), "a weight out of range")
    _require(bool((units == np.rint(units)).all()), "a weight between two units")
    _require(not bool((np.signbit(weights) & (weights == 0)).any()), "a minus zero")
    return units.astype(np.int64)


def _require(holds: bool, what: str, of: str = "model") -> None:  # noqa: FBT001
    if not holds:
        raise InvalidMessage(f"{of}: {what}")
