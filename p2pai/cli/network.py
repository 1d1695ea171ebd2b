"""The network of a task file: shape of a sample, layers, loss, and how weights begin.

An entry of `layers` is one layer, and an activation after it where it says so:

    - {conv: 6, size: 5, padding: same, activation: relu, name: trunk}
    - {max_pool: 2}
    - flatten
    - {add: trunk}

The key that names the kind holds the layer's main number. A definition counts an activation as a layer of its
own and knows no names, so an entry's place in the file and in the definition may differ; sentences name the
file's.

Source: PoUW §3.4; chain/layers.py.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from p2pai.chain import layers as networks
from p2pai.chain.layers import (
    KERNEL_SIDE_MAX,
    LAYER_COUNT_MAX,
    POOL_SIDE_MAX,
    STRIDE_MAX,
    UNITS_MAX,
    Activation,
    Add,
    AveragePool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Function,
    Layer,
    LayerNorm,
    LeakyRelu,
    MaxPool,
    Padding,
    Shape,
)
from p2pai.chain.training import PPM, Distribution, Fan, Initialiser, Loss
from p2pai.cli import number
from p2pai.cli.section import Section
from p2pai.primitives.errors import InvalidInput, InvalidTransaction

FUNCTIONS: Final = tuple(function.value for function in Function)
LOSSES: Final = tuple(loss.value for loss in Loss)
NAME_LENGTH_MAX: Final = 64
DROPOUT_MAX: Final = "0.96875"
"""31/32; source: chain/layers.DROPOUT_RATE_Q16_MAX."""

BELOW_ONE: Final = "0.99998"

GLOROT_UNIFORM: Final = Initialiser(Distribution.UNIFORM, Fan.AVERAGE, PPM)
INITIALISERS: Final = {
    "glorot_uniform": GLOROT_UNIFORM,
    "glorot_normal": Initialiser(Distribution.NORMAL, Fan.AVERAGE, PPM),
    "he_uniform": Initialiser(Distribution.UNIFORM, Fan.IN, 2 * PPM),
    "he_normal": Initialiser(Distribution.NORMAL, Fan.IN, 2 * PPM),
    "lecun_uniform": Initialiser(Distribution.UNIFORM, Fan.IN, PPM),
    "lecun_normal": Initialiser(Distribution.NORMAL, Fan.IN, PPM),
    "zeros": Initialiser(Distribution.UNIFORM, Fan.ONE, 0),
}
"""Glorot and Bengio 2010; He et al. 2015; LeCun et al. 1998."""


@dataclass(frozen=True, slots=True)
class Network:
    """What a model is."""

    input_shape: Shape
    """() where the data say it."""
    layers: tuple[Layer, ...]
    loss: Loss
    initialiser: Initialiser


@dataclass(slots=True)
class _Stack:
    """The layers read so far."""

    layers: list[Layer] = field(default_factory=list)
    entries: list[int] = field(default_factory=list)
    """For each layer, the entry of the file that it comes from."""
    names: dict[str, int] = field(default_factory=dict)
    """Layers that have a name, by number."""


def read(model: Section) -> Network:
    """Read the section `model`."""
    shape = model.integers("input", 1, UNITS_MAX, 3) if model.has("input") else ()
    stack = _Stack()
    for i, value in enumerate(model.items("layers", LAYER_COUNT_MAX)):
        _read_entry(_entry(value, model.name(f"layers[{i}]")), i, stack)
    loss = Loss(model.text("loss", LOSSES))
    initialiser = _initialiser(model) if model.has("initialiser") else GLOROT_UNIFORM
    model.close()
    check(shape, stack.layers, stack.entries, model.name("layers"))
    return Network(shape, tuple(stack.layers), loss, initialiser)


def check(shape: Shape, layers: list[Layer], entries: list[int], where: str) -> None:
    """Check what can be checked of a network before its data are known.

    Args:
      shape: of a sample; () where the data say it, a list of features then.
      layers: of the definition.
      entries: for each, its place in the file.
      where: what the file calls its list of layers.

    Raises:
      InvalidInput: names the entry at fault.
    """
    try:
        networks.check(shape or (1,), layers)
    except InvalidTransaction as error:
        rule = str(error).removeprefix("task definition: ")
        layer = re.match(r"layer (\d+) \(\w+\): ", rule)
        place = f"{where}[{entries[int(layer[1])]}]" if layer else where
        hint = "; model.input gives the shape of a sample" if "not an image" in rule and not shape else ""
        raise InvalidInput(f"{place}: {rule[layer.end() if layer else 0 :]}{hint}") from error


def _entry(value: object, where: str) -> Section:
    return Section({value: None} if isinstance(value, str) else value, where)


def _read_entry(entry: Section, index: int, stack: _Stack) -> None:
    kinds = entry.find(tuple(_READERS))
    activation = entry.has("activation")
    if len(kinds) + activation == 0 or len(kinds) > 1:
        raise InvalidInput(f"{entry.title} must name one layer: {', '.join(_READERS)} or activation")
    found = [_READERS[kind](entry, kind, stack) for kind in kinds]
    if activation:
        found += _activation(entry)
    stack.layers += found
    stack.entries += [index] * len(found)
    if entry.has("name"):
        _remember(entry, stack)
    entry.close()


def _remember(entry: Section, stack: _Stack) -> None:
    name = entry.text("name", length_max=NAME_LENGTH_MAX)
    if name in stack.names:
        raise InvalidInput(f"{entry.name('name')}: another layer is called {name!r}")
    stack.names[name] = len(stack.layers) - 1


def _activation(entry: Section) -> list[Layer]:
    kind, details = entry.variant("activation", ("none", *FUNCTIONS, "leaky_relu"), ("leaky_relu",))
    if kind == "leaky_relu":
        return [_leaky_relu(details, kind, _Stack())]
    return [] if kind == "none" else [Activation(Function(kind))]


def _dense(entry: Section, kind: str, _: _Stack) -> Layer:
    return Dense(entry.integer(kind, 1, UNITS_MAX))


def _conv(entry: Section, kind: str, _: _Stack) -> Layer:
    sides = entry.integers("size", 1, KERNEL_SIDE_MAX, 2)
    padding = entry.text("padding", ("valid", "same"), default="valid")
    stride = entry.integer("stride", 1, STRIDE_MAX, default=1)
    return Conv(entry.integer(kind, 1, UNITS_MAX), sides[0], sides[-1], stride, Padding(padding))


def _pool(entry: Section, kind: str, _: _Stack) -> Layer:
    size = entry.integer(kind, 1, POOL_SIDE_MAX)
    stride = entry.integer("stride", 1, STRIDE_MAX, default=size)
    return MaxPool(size, stride) if kind == "max_pool" else AveragePool(size, stride)


def _batch_norm(entry: Section, kind: str, _: _Stack) -> Layer:
    return BatchNorm(number.share(entry, kind, BELOW_ONE, default="0.9"))


def _layer_norm(entry: Section, kind: str, _: _Stack) -> Layer:
    entry.nothing(kind)
    return LayerNorm()


def _dropout(entry: Section, kind: str, _: _Stack) -> Layer:
    return Dropout(number.share(entry, kind, DROPOUT_MAX))


def _flatten(entry: Section, kind: str, _: _Stack) -> Layer:
    entry.nothing(kind)
    return Flatten()


def _leaky_relu(entry: Section, kind: str, _: _Stack) -> Layer:
    return LeakyRelu(number.share(entry, kind, BELOW_ONE, default="0.01"))


def _function(entry: Section, kind: str, _: _Stack) -> Layer:
    entry.nothing(kind)
    return Activation(Function(kind))


def _add(entry: Section, kind: str, stack: _Stack) -> Layer:
    name = entry.text(kind, length_max=NAME_LENGTH_MAX)
    if name not in stack.names:
        known = ", ".join(stack.names) or "none has a name"
        raise InvalidInput(f"{entry.name(kind)}: no earlier layer is called {name!r}; known: {known}")
    return Add(stack.names[name])


_READERS: Final[dict[str, Callable[[Section, str, _Stack], Layer]]] = {
    "dense": _dense,
    "conv": _conv,
    "max_pool": _pool,
    "average_pool": _pool,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "dropout": _dropout,
    "flatten": _flatten,
    "add": _add,
    "leaky_relu": _leaky_relu,
    **dict.fromkeys(FUNCTIONS, _function),
}


def _initialiser(model: Section) -> Initialiser:
    distributions = tuple(distribution.value for distribution in Distribution)
    kind, details = model.variant("initialiser", tuple(INITIALISERS), distributions)
    if kind in INITIALISERS:
        return INITIALISERS[kind]
    distribution = Distribution(kind)
    if not isinstance(details.take(kind), dict):
        # A uniform distribution of limit l has variance l^2 / 3.
        divisor = 3 if distribution is Distribution.UNIFORM else 1
        return Initialiser(distribution, Fan.ONE, number.variance(details, kind, divisor))
    scaled = details.section(kind)
    fan = Fan(scaled.text("fan", tuple(fan.value for fan in Fan)))
    variance = number.exact(scaled, "variance", PPM, "0", "16")
    scaled.close()
    return Initialiser(distribution, fan, variance)
