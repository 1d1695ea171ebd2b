"""What may be in one gossip frame."""

from typing import Any, Final

from libp2p.pubsub.pb import rpc_pb2

from p2pai.gossip.conduct import (
    ENTRY_TOKENS,
    FOREIGN_TOPICS_MAX,
    IDS_PER_TOKEN,
    SUBSCRIPTION_TOKENS,
    TOPICS_MAX,
)
from p2pai.primitives.errors import InvalidMessage

RPC_MESSAGES_MAX: Final = 64
"""Messages in one frame: thousands of tiny ones cost seconds."""

SUBSCRIPTIONS_MAX: Final = TOPICS_MAX + FOREIGN_TOPICS_MAX
"""Topics that one remote may follow."""

RPC_ENTRIES_MAX: Final = 4 * SUBSCRIPTIONS_MAX
"""Control messages in one RPC: each topic offered, asked for, grafted and pruned at once."""


def parse(data: bytes) -> Any:  # noqa: ANN401
    """Read a frame.

    Raises:
      InvalidMessage: it is none.
    """
    rpc = rpc_pb2.RPC()
    try:
        rpc.ParseFromString(data)
    except Exception as error:
        raise InvalidMessage("not a gossip frame") from error
    return rpc


def check_names(rpc: Any) -> None:  # noqa: ANN401
    """See that every topic is text: the library gives bytes for one that isn't, and trips over it later.

    Raises:
      InvalidMessage: one isn't.
    """
    control = rpc.control
    named = [option.topicid for option in rpc.subscriptions]
    named += [topic for message in rpc.publish for topic in message.topicIDs]
    named += [entry.topicID for entry in (*control.graft, *control.prune, *control.ihave)]
    if not all(isinstance(name, str) for name in named):
        raise InvalidMessage("a topic that is not text")


def tokens_of(rpc: Any) -> int:  # noqa: ANN401
    """Return what a frame costs, apart from the messages in it."""
    control = rpc.control
    offers = (*control.ihave, *control.iwant)
    ids = sum(len(offer.messageIDs) for offer in offers)
    entries = 1 + len(control.graft) + len(control.prune) + len(offers)
    return SUBSCRIPTION_TOKENS * len(rpc.subscriptions) + ENTRY_TOKENS * entries + ids // IDS_PER_TOKEN


def is_crumbs(rpc: Any) -> bool:  # noqa: ANN401
    """Tell whether a frame has more entries than any node has a reason to send at once."""
    control = rpc.control
    return (
        len(rpc.publish) > RPC_MESSAGES_MAX
        or len(rpc.subscriptions) > SUBSCRIPTIONS_MAX
        or sum(map(len, (control.graft, control.prune, control.ihave, control.iwant))) > RPC_ENTRIES_MAX
    )
