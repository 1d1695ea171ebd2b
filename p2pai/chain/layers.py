"""The layers that a task's network may have: their shapes, their weights, and what they cost.

A network is a list of layers, each fed by the one before it; `Add` takes an earlier one's output as well. A
tensor is (batch, *shape); an image has the shape (height, width, channels). What is not listed here can't be
asked for, and what could leave the range of exact arithmetic is refused (see `check_exact`).

Source: PoUW §3.4; PROTOCOL sections 5 and 7; docs/EXACT.md, "Bounds".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import Any, Final

from p2pai.primitives.errors import InvalidTransaction

Shape = tuple[int, ...]
"""Of one sample: (features,) or (height, width, channels)."""

LAYER_COUNT_MAX: Final = 128
UNITS_MAX: Final = 65_536
KERNEL_SIDE_MAX: Final = 16
"""Of a convolution's kernel."""

POOL_SIDE_MAX: Final = 32
STRIDE_MAX: Final = 32
PLACES_MAX: Final = 512
"""Places of all kernels, and lines and columns of all pooling windows: a compiler's work grows with them.

The 13 convolutions of VGG-16 have 117."""

WEIGHT_COUNT_MAX: Final = 1 << 24
"""Weights of a model."""

VALUE_COUNT_MAX: Final = 1 << 26
"""Values of all layers' outputs over a batch: 256 MiB of float32."""

PRODUCT_COUNT_MAX: Final = 1 << 38
"""Multiplications of a batch's forward pass: seconds, not minutes, on two cores."""

PRODUCT_LENGTH_MAX: Final = 1 << 26
"""Products of two 13-bit mantissas that a float64 sum carries exactly: 2^26 * 2^26 = 2^52."""

SUM_LENGTH_MAX: Final = 1 << 28
"""24-bit addends of a sum that float64 carries exactly: 2^52."""

NORM_LENGTH_MAX: Final = 1 << 18
"""Values that are normalised together: squares of 22 bits, so sums stay below 2^62."""


DROPOUT_RATE_Q16_MAX: Final = 63_488
"""31/32, so that what is left grows by 2^5 at most and products of 24 bits stay below 2^53."""


class Padding(Enum):
    """What lies beyond the edge of an image: nothing, or as many zeros as keep the size (at stride 1)."""

    VALID = "valid"
    SAME = "same"


class Function(Enum):
    """An activation function without parameters."""

    RELU = "relu"
    SIGMOID = "sigmoid"
    TANH = "tanh"
    GELU = "gelu"
    SOFTMAX = "softmax"


@dataclass(frozen=True, slots=True)
class Dense:
    """Fully connected: (inputs,) to (units,)."""

    units: int


@dataclass(frozen=True, slots=True)
class Conv:
    """Convolution: (height, width, channels) to (.., .., filters), with a bias per filter."""

    filters: int
    height: int
    width: int
    stride: int
    padding: Padding


@dataclass(frozen=True, slots=True)
class MaxPool:
    """Largest value of each square window; on ties the first, row by row."""

    size: int
    stride: int


@dataclass(frozen=True, slots=True)
class AveragePool:
    """Mean of each square window."""

    size: int
    stride: int


@dataclass(frozen=True, slots=True)
class BatchNorm:
    """Normalise each channel over the batch; running statistics keep `momentum_q16` / 65536 of themselves."""

    momentum_q16: int


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """Normalise each row over its last axis."""


@dataclass(frozen=True, slots=True)
class Dropout:
    """Set values to zero with a probability of `rate_q16` / 65536 while training, and scale the rest up."""

    rate_q16: int


@dataclass(frozen=True, slots=True)
class Flatten:
    """Any shape to (features,), in C order."""


@dataclass(frozen=True, slots=True)
class Activation:
    """A function of each value (of each row, for softmax)."""

    function: Function


@dataclass(frozen=True, slots=True)
class LeakyRelu:
    """x where it is positive, else x * `slope_q16` / 65536."""

    slope_q16: int


@dataclass(frozen=True, slots=True)
class Add:
    """Add the output of an earlier layer, by its number from 0: a residual connection."""

    layer: int


Layer = (
    Dense
    | Conv
    | MaxPool
    | AveragePool
    | BatchNorm
    | LayerNorm
    | Dropout
    | Flatten
    | Activation
    | LeakyRelu
    | Add
)


class Part(Enum):
    """What a tensor of weights is for, which decides how it begins."""

    KERNEL = "kernel"
    BIAS = "bias"
    SCALE = "scale"


@dataclass(frozen=True, slots=True)
class Weights:
    """One tensor of weights; its name is "layer<index>/<part>"."""

    layer: int
    part: Part
    shape: Shape
    fan_in: int
    """Inputs of one output, of kernels; else 0."""
    fan_out: int

    @property
    def name(self) -> str:
        """Such as "layer0/kernel"."""
        return f"layer{self.layer}/{self.part.value}"


@dataclass(frozen=True, slots=True)
class Placed:
    """A layer in its place."""

    index: int
    layer: Layer
    input: Shape
    output: Shape

    @property
    def weights(self) -> tuple[Weights, ...]:
        """Its tensors of weights in canonical order."""
        return _weights_of(self)

    @property
    def channels(self) -> int:
        """Length of the last axis of its input."""
        return self.input[-1]

    @property
    def product_length(self) -> int:
        """Products that are summed to one output, or 0."""
        layer = self.layer
        if isinstance(layer, Conv):
            return layer.height * layer.width * self.channels
        return self.channels if isinstance(layer, Dense) else 0


def place(shape: Shape, layers: Sequence[Layer]) -> tuple[Placed, ...]:
    """Work out the shapes of a network fed with samples of `shape`.

    Raises:
      InvalidTransaction: a layer that does not fit its input; names the layer.
    """
    placed: list[Placed] = []
    for index, layer in enumerate(layers):
        output = _output_of(index, layer, shape, placed)
        placed.append(Placed(index, layer, shape, output))
        shape = output
    return tuple(placed)


def weights_of(placed: Sequence[Placed]) -> tuple[Weights, ...]:
    """Return all tensors of weights in canonical order."""
    return tuple(tensor for layer in placed for tensor in layer.weights)


def statistics_of(placed: Sequence[Placed]) -> tuple[Shape, ...]:
    """Return the shapes of all running statistics: mean, then variance, of each batch normalisation."""
    return tuple(
        (layer.channels,) for layer in placed if isinstance(layer.layer, BatchNorm) for _ in range(2)
    )


def check(shape: Shape, layers: Sequence[Layer]) -> None:
    """Check a network's own rules: numbers in range, and shapes that fit.

    Raises:
      InvalidTransaction: the first rule that it breaks.
    """
    _require(1 <= len(layers) <= LAYER_COUNT_MAX, f"1 to {LAYER_COUNT_MAX} layers")
    _require(len(shape) in (1, 3), "a sample is (features,) or (height, width, channels)")
    _require(all(1 <= n <= UNITS_MAX for n in shape), "size of a sample out of range")
    for index, layer in enumerate(layers):
        rule = _RULES.get(type(layer))
        _require(rule is None or rule(layer), f"{title(index, layer)}: a number is out of range")
    _check_sources(layers)
    places = sum(_places(layer) for layer in layers)
    _require(places <= PLACES_MAX, f"kernels and windows of {places:,} places in all, at most {PLACES_MAX}")
    count = sum(prod(tensor.shape) for tensor in weights_of(place(shape, layers)))
    _require(count <= WEIGHT_COUNT_MAX, f"{count:,} weights, at most {WEIGHT_COUNT_MAX:,}")


def check_exact(shape: Shape, layers: Sequence[Layer], batch_size: int) -> None:
    """Check that no value of a batch can leave the range of exact arithmetic, or of a machine's memory.

    Raises:
      InvalidTransaction: the first bound that it breaks, and by how much.
    """
    placed = place(shape, layers)
    for layer in placed:
        rows = batch_size * prod(layer.output[:-1])
        _bound(layer, "sums products", layer.product_length, PRODUCT_LENGTH_MAX)
        if layer.product_length:
            _bound(layer, "sums products for a weight's gradient", rows, PRODUCT_LENGTH_MAX)
            _bound(layer, "sums a bias's gradients", rows, SUM_LENGTH_MAX)
        if isinstance(layer.layer, BatchNorm | LayerNorm):
            _bound(layer, "sums a scale's gradients", rows, NORM_LENGTH_MAX)
        if isinstance(layer.layer, BatchNorm):
            _bound(layer, "normalises values", rows, NORM_LENGTH_MAX)
    values = batch_size * sum(prod(layer.output) for layer in placed)
    _require(values <= VALUE_COUNT_MAX, f"{values:,} values in a batch, at most {VALUE_COUNT_MAX:,}")
    products = batch_size * product_count(placed)
    _require(
        products <= PRODUCT_COUNT_MAX, f"{products:,} products in a batch, at most {PRODUCT_COUNT_MAX:,}"
    )


def product_count(placed: Sequence[Placed]) -> int:
    """Return the multiplications of one sample's forward pass in dense layers and convolutions."""
    return sum(layer.product_length * prod(layer.output) for layer in placed)


def title(index: int, layer: Layer) -> str:
    """Name a layer for a person, such as "layer 3 (Conv)"."""
    return f"layer {index} ({type(layer).__name__})"


_RULES: Final[dict[type, Callable[[Any], bool]]] = {
    Dense: lambda x: 1 <= x.units <= UNITS_MAX,
    Conv: lambda x: (
        1 <= x.filters <= UNITS_MAX
        and 1 <= x.height <= KERNEL_SIDE_MAX
        and 1 <= x.width <= KERNEL_SIDE_MAX
        and 1 <= x.stride <= STRIDE_MAX
    ),
    MaxPool: lambda x: 1 <= x.size <= POOL_SIDE_MAX and 1 <= x.stride <= STRIDE_MAX,
    AveragePool: lambda x: 1 <= x.size <= POOL_SIDE_MAX and 1 <= x.stride <= STRIDE_MAX,
    BatchNorm: lambda x: x.momentum_q16 < 1 << 16,
    Dropout: lambda x: x.rate_q16 <= DROPOUT_RATE_Q16_MAX,
    LeakyRelu: lambda x: x.slope_q16 < 1 << 16,
}


def _places(layer: Layer) -> int:
    if isinstance(layer, Conv):
        return layer.height * layer.width
    return 2 * layer.size if isinstance(layer, MaxPool | AveragePool) else 0


def _check_sources(layers: Sequence[Layer]) -> None:
    sources = [(i, layer.layer) for i, layer in enumerate(layers) if isinstance(layer, Add)]
    for index, source in sources:
        name = title(index, layers[index])
        _require(source < index - 1, f"{name}: it adds the output of a layer before the previous one")
    used = [source for _, source in sources]
    _require(len(dict.fromkeys(used)) == len(used), "a layer's output is added at most once")


def _output_of(index: int, layer: Layer, shape: Shape, before: Sequence[Placed]) -> Shape:
    name = title(index, layer)
    if isinstance(layer, Dense):
        _require(len(shape) == 1, f"{name}: its input is an image; put Flatten before it")
        return (layer.units,)
    if isinstance(layer, Flatten):
        return (prod(shape),)
    if isinstance(layer, Conv | MaxPool | AveragePool):
        _require(len(shape) == 3, f"{name}: its input is not an image (height, width, channels)")  # noqa: PLR2004
        return _window_shape(name, layer, shape)
    if isinstance(layer, Add):
        _require(layer.layer < len(before), f"{name}: there is no such earlier layer")
        _require(before[layer.layer].output == shape, f"{name}: the two shapes differ")
    return shape


def _window_shape(name: str, layer: Conv | MaxPool | AveragePool, shape: Shape) -> Shape:
    height, width = (layer.height, layer.width) if isinstance(layer, Conv) else (layer.size, layer.size)
    channels = layer.filters if isinstance(layer, Conv) else shape[2]
    if isinstance(layer, Conv) and layer.padding is Padding.SAME:
        return (-(-shape[0] // layer.stride), -(-shape[1] // layer.stride), channels)
    _require(shape[0] >= height and shape[1] >= width, f"{name}: the window is larger than the image")
    return ((shape[0] - height) // layer.stride + 1, (shape[1] - width) // layer.stride + 1, channels)


def _weights_of(placed: Placed) -> tuple[Weights, ...]:
    index, layer, channels = placed.index, placed.layer, placed.channels
    if isinstance(layer, Dense):
        kernel = Weights(index, Part.KERNEL, (channels, layer.units), channels, layer.units)
        return (kernel, Weights(index, Part.BIAS, (layer.units,), 0, 0))
    if isinstance(layer, Conv):
        area = layer.height * layer.width
        shape = (layer.height, layer.width, channels, layer.filters)
        kernel = Weights(index, Part.KERNEL, shape, area * channels, area * layer.filters)
        return (kernel, Weights(index, Part.BIAS, (layer.filters,), 0, 0))
    if isinstance(layer, BatchNorm | LayerNorm):
        parts = (Part.SCALE, Part.BIAS)
        return tuple(Weights(index, part, (channels,), 0, 0) for part in parts)
    return ()


def _bound(placed: Placed, what: str, found: int, most: int) -> None:
    name = title(placed.index, placed.layer)
    _require(found <= most, f"{name} {what}: {found:,}, and exact arithmetic carries {most:,}")


def _require(holds: bool, rule: str) -> None:  # noqa: FBT001
    if not holds:
        raise InvalidTransaction(f"task definition: {rule}")
