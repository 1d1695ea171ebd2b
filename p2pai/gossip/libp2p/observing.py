"""Gossip of the wire as sightings have it, and what a sighting tells at once."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from p2pai.effects import Verdict
from p2pai.gossip.sightings import Message, Observer, Outcome, Published, Sent, Sighting
from p2pai.primitives.ids import PeerId

OUTCOMES: Final = {
    Verdict.ACCEPT: Outcome.ACCEPTED,
    Verdict.IGNORE: Outcome.IGNORED,
    Verdict.REJECT: Outcome.REJECTED,
}


def message_of(msg: Any) -> Message:  # noqa: ANN401
    """Return a message of the wire; one on several topics has none here."""
    topic = msg.topicIDs[0] if len(msg.topicIDs) == 1 else ""
    return Message(msg.from_id + msg.seqno, msg.from_id, topic, msg.data)


async def count_sent(
    observers: list[Observer], topic: str, data: bytes, publish: Callable[[str, bytes], Awaitable[None]]
) -> int:
    """Publish a message and return for how many remotes it was queued."""
    ids: dict[bytes, None] = {}
    remotes: dict[PeerId, None] = {}

    def note(sighting: Sighting) -> None:
        match sighting:
            case Published(message) if message.topic == topic and message.data == data:
                ids[message.id] = None
            case Sent(remote, at, message_id) if at == topic and message_id in ids:
                remotes[remote] = None

    observers.append(note)
    try:
        await publish(topic, data)
    finally:
        observers.remove(note)
    return len(remotes)
