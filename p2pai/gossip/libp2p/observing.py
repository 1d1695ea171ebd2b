"""Gossip of the wire as sightings have it."""

from typing import Any, Final

from p2pai.effects import Verdict
from p2pai.gossip.sightings import Message, Outcome

OUTCOMES: Final = {
    Verdict.ACCEPT: Outcome.ACCEPTED,
    Verdict.IGNORE: Outcome.IGNORED,
    Verdict.REJECT: Outcome.REJECTED,
}


def message_of(msg: Any) -> Message:  # noqa: ANN401
    """Return a message of the wire; one on several topics has none here."""
    topic = msg.topicIDs[0] if len(msg.topicIDs) == 1 else ""
    return Message(msg.from_id + msg.seqno, msg.from_id, topic, msg.data)
