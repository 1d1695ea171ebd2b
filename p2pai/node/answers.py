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
        reply = _answer(core, sync.read_question(body))
    except InvalidInput:
        return b""
    return b"" if reply is None else record.encode_tagged(reply)


def _answer(core: NodeCore, question: sync.Question) -> sync.Reply | None:
    if isinstance(question, sync.AskHeaders):
        return core.ledger.answer_headers(question)
    if isinstance(question, sync.AskBodies):
        return core.ledger.answer_bodies(question)
    followed = core.following.get(question.task)
    if followed is None:
        return None
    if isinstance(question, sync.AskSlots):
        return followed.answer_slots(question)
    if isinstance(question, sync.AskUnrecorded):
        return followed.comparison.answer(question)
    return followed.answer_messages(question)
