"""Questions between two nodes, for what gossip lost or what came before a node joined.

Source: PROTOCOL section 13; LIBP2P, decision 5.
"""

from dataclasses import dataclass
from typing import Final

from p2pai.chain.committee import CertifiedSlot
from p2pai.gossip.limits import ANSWER_SIZE_MAX, QUESTION_SIZE_MAX
from p2pai.primitives import record
from p2pai.primitives.ids import Hash32, TaskId

BLOCKS_MAX: Final = 64
"""Blocks in one answer."""

SLOTS_MAX: Final = 64
"""Certified slots in one answer; each names at most 256 messages, 9 KiB."""

MESSAGES_MAX: Final = 256
"""Messages in one question."""

ANSWER_BYTES_MAX: Final = ANSWER_SIZE_MAX * 3 // 4
"""Bytes of payload in one answer; more is left for the next question."""


@dataclass(frozen=True, slots=True)
class AskBlocks:
    """Blocks of your best chain after the first of these that you know."""

    locator: tuple[Hash32, ...]


@dataclass(frozen=True, slots=True)
class AskSlots:
    """A task's certified slots from `first` on."""

    task: TaskId
    first: int


@dataclass(frozen=True, slots=True)
class AskMessages:
    """A task's messages with these ids."""

    task: TaskId
    ids: tuple[Hash32, ...]


@dataclass(frozen=True, slots=True)
class Blocks:
    """Encoded blocks, oldest first."""

    blocks: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Slots:
    """Certified slots, in order."""

    slots: tuple[CertifiedSlot, ...]


@dataclass(frozen=True, slots=True)
class Messages:
    """Encoded IT_RES messages."""

    messages: tuple[bytes, ...]


Question = AskBlocks | AskSlots | AskMessages
Reply = Blocks | Slots | Messages


def read_question(data: bytes) -> Question:
    """Read a question.

    Raises:
      InvalidMessage: malformed or too large.
    """
    question: Question = record.decode_tagged(Question, data, size_max=QUESTION_SIZE_MAX)
    return question


def read_reply(data: bytes) -> Reply:
    """Read an answer.

    Raises:
      InvalidMessage: malformed or too large.
    """
    reply: Reply = record.decode_tagged(Reply, data, size_max=ANSWER_SIZE_MAX)
    return reply


def fitting(parts: list[bytes]) -> tuple[bytes, ...]:
    """Return as many parts from the front as one answer holds."""
    kept, size = [], 0
    for part in parts:
        size += len(part)
        if size > ANSWER_BYTES_MAX:
            break
        kept.append(part)
    return tuple(kept)
