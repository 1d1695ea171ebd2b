"""The outcome of one check, in words for whoever runs the node."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """The node works, but not as well as it could; or it can't be told."""
    FAIL = "fail"
    """The node won't work, or not for long."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    check: str
    """What was looked at, in a word or two."""
    level: Level
    found: str
    """What is there, in one sentence."""
    advice: str = ""
    """What to do about it; empty when nothing."""


def ok(check: str, found: str) -> Finding:
    """Return that all is well."""
    return Finding(check, Level.OK, found)


def warn(check: str, found: str, advice: str) -> Finding:
    """Return that something could be better."""
    return Finding(check, Level.WARN, found, advice)


def fail(check: str, found: str, advice: str) -> Finding:
    """Return that something must be mended."""
    return Finding(check, Level.FAIL, found, advice)
