"""Reading what a core says, and saying something else with its keys."""

from dataclasses import replace
from typing import Any, Final

from p2pai import effects
from p2pai.chain import it_res
from p2pai.effects import Effect
from p2pai.gossip.envelope import open_envelope, seal, sequence_at
from p2pai.gossip.topics import Topic, parse
from p2pai.node.core import NodeCore
from p2pai.primitives import ecdsa
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Millis

FORGED: Final = 1 << 19
"""Added to the numbers of forged messages, so that none has one of the core's own."""


def body_of(effect: Effect, name: str) -> tuple[Topic, bytes] | None:
    """Return what an effect says on a topic of a name; None when it says nothing there."""
    if not isinstance(effect, effects.Publish) or parse(effect.topic).name != name:
        return None
    return parse(effect.topic), open_envelope(effect.data, effect.topic).body


def say(core: NodeCore, topic: Topic, body: bytes) -> effects.Publish:
    """Return a message as the core would have sealed it."""
    number = int.from_bytes(tagged_hash("p2pai/forged", body)[:2], "big")
    sequence = sequence_at(Millis(core.now_ms), FORGED | number)
    return effects.Publish(str(topic), seal(core.identity.keys.spending, str(topic), sequence, body))


def iteration_again(core: NodeCore, topic: Topic, body: bytes, **changes: Any) -> effects.Publish:  # noqa: ANN401
    """Return an IT_RES with other fields, signed anew."""
    assert topic.scope is not None
    message = replace(it_res.decode(body), **changes)
    digest = it_res.signing_digest(topic.scope, message.encode_unsigned())
    signature = ecdsa.sign(core.identity.keys.spending, digest)
    return say(core, topic, replace(message, signature=signature).encode())
