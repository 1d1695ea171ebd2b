"""Convolution as a product: each row of a matrix holds the mantissas that one output sees.

Source: PROTOCOL section 7; docs/EXACT.md, "Convolution".
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from p2pai.chain.layers import Padding
from p2pai.jaxtrain.exact.carrier import Dimensions, choose, multiply
from p2pai.jaxtrain.exact.dot import narrow, round_product, weight_gradient
from p2pai.jaxtrain.exact.quantise import mantissas, to_float32
from p2pai.jaxtrain.exact.window import put_back, see, window_count

_PLAIN: Dimensions = ((1,), (0,))
_RIGHT_TRANSPOSED: Dimensions = ((1,), (1,))

Margins = tuple[tuple[int, int], tuple[int, int]]
"""Zeros above and below, left and right of an image."""

Residuals = tuple[Array, Array, Array, Array]


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
    x_int, x_exponent = mantissas(x, bits)
    w_int, w_exponent = mantissas(w, bits)
    patches = _patches(x_int, w.shape[:2], stride, _margins(x.shape, w.shape, stride, padding))
    kernel = w_int.reshape(-1, w.shape[3])
    rows = patches.reshape(-1, kernel.shape[0])
    y = round_product(rows, kernel, _PLAIN, x_exponent + w_exponent, bits)
    saved = (narrow(x_int, bits), x_exponent, narrow(w_int, bits), w_exponent)
    return y.reshape(*patches.shape[:3], -1), saved


def _backward(stride: int, padding: Padding, bits: int, saved: Residuals, dy: Array) -> tuple[Array, Array]:
    x_int, x_exponent, w_int, w_exponent = saved
    d_int, d_exponent = mantissas(dy, bits)
    rows, margins = d_int.reshape(-1, dy.shape[3]), _margins(x_int.shape, w_int.shape, stride, padding)
    patches = _patches(x_int, w_int.shape[:2], stride, margins)
    dw = weight_gradient(patches.reshape(rows.shape[0], -1), rows, x_exponent + d_exponent, bits)
    kernel = w_int.reshape(-1, w_int.shape[3])
    carrier = choose(rows.size * kernel.shape[0], jax.default_backend(), bits)
    spread = multiply(rows, kernel, _RIGHT_TRANSPOSED, carrier, bits).reshape(patches.shape)
    gathered = _gather(spread, x_int.shape, w_int.shape, stride, margins)
    return to_float32(gathered, d_exponent + w_exponent), dw.reshape(w_int.shape)


conv.defvjp(_forward, _backward)


def _margins(image: tuple[int, ...], kernel: tuple[int, ...], stride: int, padding: Padding) -> Margins:
    if padding is Padding.VALID:
        return ((0, 0), (0, 0))
    wanted = [
        max((-(-n // stride) - 1) * stride + k - n, 0) for n, k in zip(image[1:3], kernel[:2], strict=True)
    ]
    (top, left) = (n // 2 for n in wanted)
    return ((top, wanted[0] - top), (left, wanted[1] - left))


def _patches(m: Array, sides: tuple[int, ...], stride: int, margins: Margins) -> Array:
    """Return (batch, out height, out width, kernel height * width * channels)."""
    padded = jnp.pad(m, ((0, 0), *margins, (0, 0)))
    height, width = (window_count(n, k, stride) for n, k in zip(padded.shape[1:3], sides, strict=True))
    places = [(ky, kx) for ky in range(sides[0]) for kx in range(sides[1])]
    return jnp.concatenate([see(padded, place, (height, width), stride) for place in places], axis=-1)


def _gather(
    spread: Array, image: tuple[int, ...], kernel: tuple[int, ...], stride: int, margins: Margins
) -> Array:
    """Add up, for each value of the image, what came from the places where it was used (exact integers)."""
    (top, bottom), (left, right) = margins
    height, width, channels = image[1] + top + bottom, image[2] + left + right, image[3]
    parts = spread.reshape(*spread.shape[:3], kernel[0], kernel[1], channels)
    total = jnp.zeros((image[0], height, width, channels), spread.dtype)
    for ky in range(kernel[0]):
        for kx in range(kernel[1]):
            total = total + put_back(parts[:, :, :, ky, kx], (ky, kx), (height, width), stride)
    return total[:, top : top + image[1], left : left + image[2]]
