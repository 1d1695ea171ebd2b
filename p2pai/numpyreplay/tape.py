"""What a layer leaves behind for the way back."""

from collections.abc import Callable
from typing import NamedTuple

from p2pai.numpyreplay.integers import Integers
from p2pai.numpyreplay.quantise import Floats

Tensors = tuple[Floats, ...]
"""Weights of a layer, in canonical order: kernel and bias, or scale and bias."""

Gradients = tuple[Floats, ...]
"""Of each of them."""

Pull = Callable[[Floats], tuple[Floats, Gradients]]
"""From the gradient of a layer's output to those of its input and its weights."""


class Layered(NamedTuple):
    """A layer's output over a batch, and how gradients go back through it."""

    output: Floats
    pull: Pull
    statistics: tuple[Integers, ...] = ()
    """Running mean and variance after this batch, of a batch normalisation."""
