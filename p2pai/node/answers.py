"""Answers to the questions of remotes: headers and blocks, the slots and messages of the tasks we follow.

Source: PROTOCOL section 13.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2pai.gossip import sync
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidInput

if TYPE_CHECKING:
    from p2pai.node.core import NodeCore


def answer(core: NodeCore, body: bytes) -> bytes:
    """Return the answer to a question; nothing where it makes no sense, or we do not know."""
    try:
        question = sync.read_question(body)
    except InvalidInput:
        return b""
    if isinstance(question, sync.AskHeaders):
        return record.encode_tagged(core.ledger.answer_headers(question))
    if isinstance(question, sync.AskBodies):
        return record.encode_tagged(core.ledger.answer_bodies(question))
    followed = core.following.get(question.task)
    if followed is None:
        return b""
    if isinstance(question, sync.AskSlots):
        return record.encode_tagged(followed.answer_slots(question))
    return record.encode_tagged(followed.answer_messages(question))
