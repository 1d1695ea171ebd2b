"""What a node publishes, read once for all checkers."""

from dataclasses import dataclass
from functools import cached_property

from p2pai.effects import Publish
from p2pai.gossip import topics
from p2pai.gossip.envelope import Envelope, open_envelope
from p2pai.gossip.topics import Topic
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidInput
from p2pai.roles.slots import SAID_SIZE_MAX, Said


@dataclass(frozen=True)
class Saying:
    """A published message."""

    topic: Topic
    envelope: Envelope

    @cached_property
    def said(self) -> Said:
        """What supervisors say to each other, of a message on their topic."""
        said: Said = record.decode_tagged(Said, self.envelope.body, size_max=SAID_SIZE_MAX)
        return said


def read(effect: Publish) -> Saying:
    """Read what an honest node publishes.

    Raises:
      InvalidInput: no honest node publishes that.
    """
    return Saying(topics.parse(effect.topic), open_envelope(effect.data, effect.topic))


def read_any(effect: Publish) -> Saying | None:
    """Read what anybody publishes; None when it makes no sense."""
    try:
        saying = read(effect)
        if saying.topic.name == "message_history":
            _ = saying.said
    except InvalidInput:
        return None
    return saying
