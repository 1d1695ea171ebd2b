"""What a stock `Pubsub` lets be seen of its state, and what happened from one look to the next.

It tells nobody of streams, subscriptions and meshes, so a guest looks at them now and then. What came and
went between two looks is not seen, nor who asked for a graft or a prune: they count as ours.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from p2pai.gossip.sightings import Closed, Grafted, Opened, Pruned, Sighting, Subscribed, Unsubscribed
from p2pai.primitives.ids import PeerId

Pairs = frozenset[tuple[PeerId, str]]
"""Remotes and topics."""


@dataclass(frozen=True, slots=True)
class View:
    """One look."""

    streams: frozenset[PeerId] = frozenset()
    followers: Pairs = frozenset()
    mesh: Pairs = frozenset()


def look(pubsub: Any, topics: Collection[str]) -> View:  # noqa: ANN401
    """Return what stands of our topics."""
    return View(
        frozenset(PeerId(str(remote)) for remote in pubsub.peers),
        _pairs(pubsub.peer_topics, topics),
        _pairs(pubsub.router.mesh, topics),
    )


def happened(before: View, now: View) -> list[Sighting]:
    """Return what must have happened between two looks, in an order in which it can have."""
    return [
        *(Opened(remote) for remote in sorted(now.streams - before.streams)),
        *(Subscribed(*pair) for pair in sorted(now.followers - before.followers)),
        *(Grafted(*pair, by_remote=False) for pair in sorted(now.mesh - before.mesh)),
        *(Pruned(*pair, by_remote=False) for pair in sorted(before.mesh - now.mesh)),
        *(Unsubscribed(*pair) for pair in sorted(before.followers - now.followers)),
        *(Closed(remote) for remote in sorted(before.streams - now.streams)),
    ]


def _pairs(members: Any, topics: Collection[str]) -> Pairs:  # noqa: ANN401
    return frozenset((PeerId(str(remote)), topic) for topic in topics for remote in members.get(topic, ()))
