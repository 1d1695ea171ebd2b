"""Names of gossip topics: `/p2pai/<chain>/<task id, or "chain">/<name>/1`.

Each chain, and on it each task, has topics of its own, so a node hears only what its roles need.

Source: PROTOCOL section 13.
"""

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
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

_PATTERN: Final = re.compile(rf"/p2pai/([0-9a-f]{{8}})/(chain|[0-9a-f]{{64}})/({'|'.join(NAMES)})/{VERSION}")


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


def matches(topic: str, pattern: str) -> bool:
    """Tell whether a topic is meant: by its name, or by what is said on it; `*` stands for anything."""
    said = topic.rsplit("/", 2)[-2] if topic.count("/") > 1 else topic
    return fnmatchcase(topic, pattern) or fnmatchcase(said, pattern)
