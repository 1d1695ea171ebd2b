"""Exact training: the only package that imports jax and flax.

Importing this package imports neither; `worker` is what the trainer's child process imports.
"""
