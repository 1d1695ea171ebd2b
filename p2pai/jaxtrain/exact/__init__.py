"""Exact arithmetic: every rounding explicit, so the bits are the same on any hardware.

Values between operations are ordinary float32 arrays. Inside an operation every step is exact (integers, or
floats that carry integers small enough, or scaling by a power of two), so neither the order of a reduction,
nor fused multiply-add, nor vector width, threads or device can change a bit. Importing this package turns
on JAX's 64-bit types, which serve as exact carriers.

Source: PROTOCOL section 7.
"""

import jax

jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]  # noqa: FBT003
