"""Questions between two nodes, for what gossip lost or what came before a node joined.

Source: PROTOCOL section 13; LIBP2P, decision 5.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from p2pai.chain.block import HEADER_SIZE, Header
from p2pai.chain.committee import CertifiedSlot
from p2pai.gossip.limits import ANSWER_SIZE_MAX, QUESTION_SIZE_MAX
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import Hash32, TaskId

HEADERS_MAX: Final = 2_000
"""Headers in one answer, 344 kB. Source: Bitcoin."""

BODIES_MAX: Final = 64
"""Blocks in one question; an answer holds as many of them, from the front, as fit."""

LOCATOR_MAX: Final = 128
"""Hashes of a locator: its steps double, so no chain needs more."""

SLOTS_MAX: Final = 64
"""Certified slots in one answer; each names at most 256 messages, 9 KiB."""

MESSAGES_MAX: Final = 256
"""Messages in one question."""

ANSWER_BYTES_MAX: Final = ANSWER_SIZE_MAX * 3 // 4
"""Bytes of payload in one answer; more is left for the next question."""


@dataclass(frozen=True, slots=True)
class AskHeaders:
    """Headers of your best chain after the first of these that is on it; none if you know none of them."""

    locator: tuple[Hash32, ...]


@dataclass(frozen=True, slots=True)
class AskBodies:
    """The blocks with these hashes, of whatever branch."""

    blocks: tuple[Hash32, ...]


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
class AskUnrecorded:
    """The ids of a task's messages that are in no slot you know of, but for those that I have."""

    task: TaskId
    place: int
    pieces: bytes
    """Of the ids of mine that are in no slot, at this place (comparing.py)."""


@dataclass(frozen=True, slots=True)
class Headers:
    """Encoded headers, one behind the other, oldest first."""

    headers: bytes


@dataclass(frozen=True, slots=True)
class Blocks:
    """Encoded blocks, in the order asked for; those that are not here are left out."""

    blocks: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Slots:
    """Certified slots, in order."""

    slots: tuple[CertifiedSlot, ...]


@dataclass(frozen=True, slots=True)
class Messages:
    """Encoded IT_RES messages."""

    messages: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Unrecorded:
    """Ids of messages, at most `MESSAGES_MAX`; they may be had with AskMessages."""

    ids: tuple[Hash32, ...]


Question = AskHeaders | AskBodies | AskSlots | AskMessages | AskUnrecorded
Reply = Headers | Blocks | Slots | Messages | Unrecorded


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


def read_headers(data: bytes) -> tuple[Header, ...]:
    """Read an answer to AskHeaders.

    Raises:
      InvalidMessage: it is something else, or too long.
    """
    reply = read_reply(data)
    if not isinstance(reply, Headers) or len(reply.headers) > HEADERS_MAX * HEADER_SIZE:
        raise InvalidMessage("no answer to a question for headers")
    starts = range(0, len(reply.headers), HEADER_SIZE)
    return tuple(Header.decode(reply.headers[start : start + HEADER_SIZE]) for start in starts)


def read_blocks(data: bytes) -> tuple[bytes, ...]:
    """Read an answer to AskBodies; the blocks in it are as they came.

    Raises:
      InvalidMessage: it is something else, or has too many blocks.
    """
    reply = read_reply(data)
    if not isinstance(reply, Blocks) or len(reply.blocks) > BODIES_MAX:
        raise InvalidMessage("no answer to a question for blocks")
    return reply.blocks


def fitting(parts: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return as many parts from the front as one answer holds."""
    kept, size = [], 0
    for part in parts:
        size += len(part)
        if size > ANSWER_BYTES_MAX:
            break
        kept.append(part)
    return tuple(kept)
