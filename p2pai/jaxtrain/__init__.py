"""Exact training: the only package that imports jax and flax."""
