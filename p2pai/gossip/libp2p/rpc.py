"""What may be in one gossip frame."""

from typing import Any, Final

from libp2p.pubsub.pb import rpc_pb2

from p2pai.gossip.conduct import FOREIGN_TOPICS_MAX, TOPICS_MAX
from p2pai.primitives.errors import InvalidMessage

RPC_MESSAGES_MAX: Final = 64
"""Messages in one frame: thousands of tiny ones cost seconds."""

SUBSCRIPTIONS_MAX: Final = TOPICS_MAX + FOREIGN_TOPICS_MAX
"""Topics that one remote may follow."""

RPC_ENTRIES_MAX: Final = 4 * SUBSCRIPTIONS_MAX
"""Subscriptions and control messages in one RPC: each topic joined, offered, asked for and pruned at once."""


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


def count_entries(rpc: Any) -> tuple[int, int]:  # noqa: ANN401
    """Return how many entries a frame has besides messages, and how many message ids are in them."""
    control = rpc.control
    offers = (*control.ihave, *control.iwant)
    entries = len(rpc.subscriptions) + len(control.graft) + len(control.prune) + len(offers)
    return entries, sum(len(offer.messageIDs) for offer in offers)


def is_crumbs(rpc: Any) -> bool:  # noqa: ANN401
    """Tell whether a frame has more entries than any node has a reason to send at once."""
    return (
        len(rpc.publish) > RPC_MESSAGES_MAX
        or len(rpc.subscriptions) > SUBSCRIPTIONS_MAX
        or count_entries(rpc)[0] > RPC_ENTRIES_MAX
    )
