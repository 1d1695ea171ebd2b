"""Async tests run on trio."""

from pytest_trio.enable_trio_mode import *  # noqa: F403
