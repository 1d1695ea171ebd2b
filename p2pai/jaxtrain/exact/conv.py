"""Convolution as a product of matrices that are large enough for a processor to be fast.

A row of the left matrix holds the mantissas that a few neighbouring outputs of one line see, a *tile*; the
right matrix is the kernel once for each output of a tile, moved along by the stride, and zero elsewhere (a
band matrix). Narrow layers thus multiply by some zeros, but read an image a few times, not once for each
place of the kernel, and the product has many columns. With tiles of one output it is im2col.

Zeros change no sum, so the integers are those of docs/EXACT.md, and the bounds of `carrier` hold. The
gradient of the kernel adds up a tile's copies, the gradient of the images what came from all windows; both
are sums of integers of one exponent, below 2^53 (`PRODUCT_LENGTH_MAX` addends of 26 bits).

Source: PROTOCOL section 7; docs/EXACT.md, "Convolution".
"""

from dataclasses import dataclass
from functools import partial
from typing import Final

import jax
import jax.numpy as jnp
from jax import Array, lax

from p2pai.chain.layers import Padding
from p2pai.jaxtrain.exact.carrier import Dimensions, choose, multiply
from p2pai.jaxtrain.exact.dot import keep, round_product
from p2pai.jaxtrain.exact.quantise import mantissas, to_float32
from p2pai.jaxtrain.exact.window import window_count

COLUMNS_WANTED: Final = 128
"""Columns that a product should have; a tile is no larger than it must be for that."""

_SUM_LENGTH_FLOAT32: Final = 1 << 10

_PLAIN: Dimensions = ((1,), (0,))
_LEFT_TRANSPOSED: Dimensions = ((0,), (0,))
_RIGHT_TRANSPOSED: Dimensions = ((1,), (1,))

Margins = tuple[tuple[int, int], tuple[int, int]]
"""Zeros above and below, left and right of an image."""

Residuals = tuple[Array, Array, Array, Array]


@dataclass(frozen=True)
class Geometry:
    """Where everything lies."""

    image: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: int
    margins: Margins

    @classmethod
    def of(cls, image: tuple[int, ...], kernel: tuple[int, ...], stride: int, padding: Padding) -> "Geometry":
        """Lay out images (batch, height, width, channels) and a kernel (height, width, channels, filters)."""
        return cls(image, kernel, stride, _margins(image, kernel, stride, padding))

    @property
    def height(self) -> int:
        """Lines of the output."""
        return window_count(self.image[1] + sum(self.margins[0]), self.kernel[0], self.stride)

    @property
    def width(self) -> int:
        """Outputs in a line."""
        return window_count(self.image[2] + sum(self.margins[1]), self.kernel[1], self.stride)

    @property
    def tiles(self) -> int:
        """Tiles in a line."""
        least = min(self.width, -(-COLUMNS_WANTED // self.kernel[3]))
        return -(-self.width // least)

    @property
    def tile(self) -> int:
        """Outputs in a tile."""
        return -(-self.width // self.tiles)

    @property
    def step(self) -> int:
        """Columns of the image from one tile to the next."""
        return self.tile * self.stride

    @property
    def span(self) -> int:
        """Columns of the image that a tile sees."""
        return (self.tile - 1) * self.stride + self.kernel[1]

    @property
    def parts(self) -> int:
        """Steps that a span reaches over."""
        return -(-self.span // self.step)

    @property
    def columns(self) -> int:
        """Columns of an image, with the zeros beside it, that all parts of all tiles cover."""
        return (self.tiles + self.parts - 1) * self.step


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def conv(x: Array, w: Array, stride: int, padding: Padding, bits: int) -> Array:
    """Convolve images with a kernel.

    Args:
      x: float32 (batch, height, width, channels).
      w: float32 (height, width, channels, filters).
      stride: in both directions.
      padding: what lies beyond the edge.
      bits: of the operands' mantissas.

    Returns:
      float32 (batch, out height, out width, filters).
    """
    return _forward(x, w, stride, padding, bits)[0]


def _forward(x: Array, w: Array, stride: int, padding: Padding, bits: int) -> tuple[Array, Residuals]:
    place = Geometry.of(x.shape, w.shape, stride, padding)
    x_int, x_exponent = mantissas(x, bits)
    w_int, w_exponent = mantissas(w, bits)
    saved = (keep(x_int, bits), x_exponent, keep(w_int, bits), w_exponent)
    rows, band = _rows(saved[0], place), _band(saved[2], place)
    y = round_product(rows, band, _PLAIN, x_exponent + w_exponent, bits)
    shape = (x.shape[0], place.height, place.tiles * place.tile, w.shape[3])
    return y.reshape(shape)[:, :, : place.width], saved


def _backward(stride: int, padding: Padding, bits: int, saved: Residuals, dy: Array) -> tuple[Array, Array]:
    x_int, x_exponent, w_int, w_exponent = saved
    place = Geometry.of(x_int.shape, w_int.shape, stride, padding)
    d_int, d_exponent = mantissas(dy, bits)
    rows, band, d = _rows(x_int, place), _band(w_int, place), _tiles(keep(d_int, bits), place)
    carrier = choose(rows.size * d.shape[1], jax.default_backend(), bits)
    dw = _fold(multiply(rows, d, _LEFT_TRANSPOSED, carrier, bits), place)
    spread = multiply(d, band, _RIGHT_TRANSPOSED, carrier, bits)
    dx = _gather(spread, place)
    return to_float32(dx, d_exponent + w_exponent), to_float32(dw, x_exponent + d_exponent)


conv.defvjp(_forward, _backward)


def _rows(m: Array, place: Geometry) -> Array:
    """Return what each tile sees: (batch * height * tiles, kernel height * span * channels)."""
    batch, _, width, channels = m.shape
    left = place.margins[1][0]
    beside = (left, place.columns - left - width, 0)
    padded = lax.pad(m, jnp.zeros((), m.dtype), ((0, 0, 0), (*place.margins[0], 0), beside, (0, 0, 0)))
    seen = []
    for ky in range(place.kernel[0]):
        stop = ky + (place.height - 1) * place.stride + 1
        lines = padded[:, ky : stop : place.stride]
        for part in range(place.parts):
            first = part * place.step
            block = lines[:, :, first : first + place.tiles * place.step]
            block = block.reshape(batch, place.height, place.tiles, place.step * channels)
            seen.append(block[..., : (place.span - first) * channels])
    return jnp.concatenate(seen, axis=-1).reshape(batch * place.height * place.tiles, -1)


def _band(w: Array, place: Geometry) -> Array:
    """Return the kernel for each output of a tile: (kernel height * span * channels, tile * filters)."""
    zero, room = jnp.zeros((), w.dtype), place.span - place.kernel[1]
    starts = range(0, place.step, place.stride)
    moved = [lax.pad(w, zero, ((0, 0, 0), (at, room - at, 0), (0, 0, 0), (0, 0, 0))) for at in starts]
    return jnp.stack(moved, axis=3).reshape(-1, place.tile * place.kernel[3])


def _fold(band: Array, place: Geometry) -> Array:
    """Add up the gradients of a kernel's copies in a band, as float64."""
    height, width, channels, filters = place.kernel
    copies = band.astype(jnp.float64).reshape(height, place.span, channels, place.tile, filters)
    starts = range(0, place.step, place.stride)
    parts = [copies[:, at : at + width, :, t] for t, at in enumerate(starts)]
    return sum(parts[1:], start=parts[0])


def _tiles(d: Array, place: Geometry) -> Array:
    """Cut gradients of the outputs into tiles: (batch * height * tiles, tile * filters)."""
    beyond = place.tiles * place.tile - place.width
    padded = lax.pad(d, jnp.zeros((), d.dtype), ((0, 0, 0), (0, 0, 0), (0, beyond, 0), (0, 0, 0)))
    return padded.reshape(-1, place.tile * d.shape[3])


def _gather(spread: Array, place: Geometry) -> Array:
    """Add up, for each value of the images, what came from the tiles that saw it (exact integers)."""
    _, image_height, image_width, channels = place.image
    lines, kernel_height = image_height + sum(place.margins[0]), place.kernel[0]
    padded = _spread_out(spread, place, lines)
    total = jnp.zeros((), padded.dtype)
    for ky in range(kernel_height):
        top = kernel_height - 1 - ky
        for part in range(place.parts):
            first, columns = place.parts - 1 - part, part * place.step * channels
            tiles = slice(first, first + place.tiles + place.parts - 1)
            seen = padded[:, top : top + lines, tiles, ky, columns : columns + place.step * channels]
            total = total + seen
    images = total.reshape(-1, lines, place.columns, channels)
    (top, bottom), (left, _) = place.margins
    cut = ((0, 0, 0), (-top, -bottom, 0), (-left, image_width + left - place.columns, 0), (0, 0, 0))
    return lax.pad(images, jnp.zeros((), images.dtype), cut)


def _spread_out(spread: Array, place: Geometry, lines: int) -> Array:
    """Put zeros around and between lines, around tiles and after spans, so that `_gather` only has to slice.

    A float32 carries the sums if no value of an image meets more than 2^10 products of 14 bits.
    """
    height, _, channels, filters = place.kernel
    if place.kernel[0] * place.kernel[1] * filters > _SUM_LENGTH_FLOAT32:
        spread = spread.astype(jnp.float64)
    shape = (-1, place.height, place.tiles, height, place.span * channels)
    below = lines - (place.height - 1) * place.stride - 1
    spaces = (
        (0, 0, 0),
        (height - 1, below, place.stride - 1),
        (place.parts - 1, place.parts - 1, 0),
        (0, 0, 0),
        (0, (place.parts * place.step - place.span) * channels, 0),
    )
    return lax.pad(spread.reshape(shape), jnp.zeros((), spread.dtype), spaces)


def _margins(image: tuple[int, ...], kernel: tuple[int, ...], stride: int, padding: Padding) -> Margins:
    if padding is Padding.VALID:
        return ((0, 0), (0, 0))
    wanted = [
        max((-(-n // stride) - 1) * stride + k - n, 0) for n, k in zip(image[1:3], kernel[:2], strict=True)
    ]
    (top, left) = (n // 2 for n in wanted)
    return ((top, wanted[0] - top), (left, wanted[1] - left))
