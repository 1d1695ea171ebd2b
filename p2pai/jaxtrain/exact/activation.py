"""Activation functions: relu is a selection, exact as it stands, and so is its gradient.

Source: PROTOCOL section 7.
"""

import jax.numpy as jnp
from jax import Array


def relu(x: Array) -> Array:
    """Return max(x, 0); the gradient at 0 is 0."""
    return jnp.where(x > 0, x, jnp.float32(0))
