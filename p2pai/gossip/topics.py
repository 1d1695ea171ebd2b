"""Names of gossip topics: `/p2pai/<chain>/<task id, or "chain">/<name>/1`.

Each chain, and on it each task, has topics of its own, so a node hears only what its roles need.

Source: PROTOCOL section 13.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import Hash32, TaskId

NAMES: Final = (
    "tx",
    "block",
    "it_res",
    "model",
    "message_history",
    "consider_pause",
    "heartbeat",
    "dkg",
    "vote",
    "candidate",
)
"""What is said on a topic."""

VERSION: Final = 1
"""Raised when the messages of a topic change their form."""

PARSED_MAX: Final = 1024
"""Topics that are not read again with every message: a task has ten."""

_PATTERN: Final = re.compile(rf"/p2pai/([0-9a-f]{{8}})/(chain|[0-9a-f]{{64}})/({'|'.join(NAMES)})/{VERSION}")

_TASK_BEGINS: Final = re.compile("[0-9a-f]{4,64}")
_SHORT_LENGTH: Final = 6


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic; `scope` is the task it belongs to, or None for what concerns the whole chain."""

    chain: str
    """First 4 bytes of the chain's id, 8 hexadecimal digits."""
    scope: TaskId | None
    name: str

    def __str__(self) -> str:
        text = f"/p2pai/{self.chain}/{self.scope.hex() if self.scope else 'chain'}/{self.name}/{VERSION}"
        assert _PATTERN.fullmatch(text), f"not a topic: {text}"
        return text


@lru_cache(PARSED_MAX)
def parse(text: str) -> Topic:
    """Read a topic's name.

    Raises:
      InvalidMessage: not in the one form that `str(Topic)` gives.
    """
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise InvalidMessage("not a topic")
    chain, scope, name = match.groups()
    return Topic(chain, None if scope == "chain" else TaskId(Hash32(bytes.fromhex(scope))), name)


def chain_of(topic: str) -> str | None:
    """Return the first 4 bytes of a topic's chain's id, in hex; None where it isn't one of p2pai's."""
    match = _PATTERN.fullmatch(topic)
    return None if match is None else match[1]


def matches(topic: str, pattern: str) -> bool:
    """Tell whether a topic is meant; in a pattern `*` stands for anything.

    A topic is meant by its whole name, by what is said on it (`block`), by its task's id or the beginning of
    it, from four digits on (`6f2a`), or by both (`6f2a/it_res`, `chain/tx`), which its chain's digits may
    precede (`0a1b2c3d/chain/tx`).
    """
    match = _PATTERN.fullmatch(topic)
    if match is None:
        said = topic.rsplit("/", 2)[-2] if topic.count("/") > 1 else topic
        return fnmatchcase(topic, pattern) or fnmatchcase(said, pattern)
    chain, scope, name = match.groups()
    if pattern.count("/") == 2:  # noqa: PLR2004
        pattern = pattern.removeprefix(f"{chain}/")
    wanted, mark, named = pattern.rpartition("/")
    if mark and fnmatchcase(name, named) and (fnmatchcase(scope, wanted) or _begins(scope, wanted)):
        return True
    return fnmatchcase(topic, pattern) or fnmatchcase(name, pattern) or _begins(scope, pattern)


def _begins(scope: str, digits: str) -> bool:
    return _TASK_BEGINS.fullmatch(digits) is not None and scope.startswith(digits)


def short_name(topic: str) -> str:
    """Return the shortest form of a topic that `matches` takes: `chain/block`, `6f2ac1/it_res`."""
    match = _PATTERN.fullmatch(topic)
    return topic if match is None else f"{match[2][:_SHORT_LENGTH]}/{match[3]}"


def short_names(topics: Sequence[str]) -> dict[str, str]:
    """Return short names by topic; where there are topics of several chains, with the chain's digits."""
    chains = {topic: chain_of(topic) for topic in topics}
    known = dict.fromkeys(chain for chain in chains.values() if chain is not None)
    if len(known) <= 1:
        return {topic: short_name(topic) for topic in topics}
    return {
        topic: f"{chain}/{short_name(topic)}" if chain is not None else topic
        for topic, chain in chains.items()
    }
