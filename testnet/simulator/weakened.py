"""Nodes without one of their defences: what the row of an adversary must not survive.

Each weakness takes one check out of all nodes of this process, for as long as its `with` block lasts. A
scenario names the one without which it must fail: if it does not, it tests nothing.

Source: RELIABILITY (2), meta-rules.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Weakness:
    """A defence that is gone."""

    about: str
    """What the nodes no longer do, one clause."""
    apply: Callable[[], AbstractContextManager[None]]


WEAKNESSES: Final[dict[str, Weakness]] = {}
"""By the word that `weakened` and `--weaken` take."""
