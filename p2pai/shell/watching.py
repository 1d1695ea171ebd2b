"""A running node's gossip in numbers, and messages published for tests, for its RPC.

The meter observes from the start, so that totals are totals, and the mesh of long ago is known with its age.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

from p2pai.gossip.libp2p.observing import count_sent
from p2pai.gossip.limits import GOSSIP_SIZE_MAX
from p2pai.gossip.meter import Meter
from p2pai.gossip.sightings import Observer, Sighting
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import PeerId
from p2pai.shell.recorder import now_us

TOPIC_LENGTH_MAX: Final = 256
"""Characters of a topic that is published to; one of ours has 98."""

Publish = Callable[[str, bytes], Awaitable[None]]
Describe = Callable[[PeerId], dict[str, object]]
Lost = Callable[[], dict[str, int]]


class Watching:
    """What a node's RPC shows of its gossip, besides recordings."""

    def __init__(
        self, observers: list[Observer], publish: Publish, describe: Describe, lost: Lost = dict
    ) -> None:
        """Begin to count.

        Args:
          observers: of the network.
          publish: the network's.
          describe: tells how a remote stands now; its score fades, which no sighting shows.
          lost: tells what was refused, not used or not sent, and how often.
        """
        self._meter = Meter(now_us())
        self._observers, self._publish, self._describe, self._lost = observers, publish, describe, lost
        observers.append(self._see)

    def report(self) -> dict[str, Any]:
        """Return all numbers in JSON's types."""
        report = self._meter.report(now_us())
        for row in report["remotes"]:
            row.update(self._describe(row["remote"]))
        report["lost"] = self._lost()
        return report

    def standing(self) -> Iterator[Sighting]:
        """Return what holds now, as sightings: with whom there is gossip, what they follow, and the mesh."""
        return self._meter.standing()

    async def publish(self, topic: str, data: bytes) -> dict[str, int]:
        """Publish bytes as they are; return for how many remotes they were queued.

        Raises:
          InvalidInput: too many bytes, or no name for a topic.
        """
        if not 1 <= len(topic) <= TOPIC_LENGTH_MAX:
            raise InvalidInput(f"a topic has 1 to {TOPIC_LENGTH_MAX} characters")
        if len(data) > GOSSIP_SIZE_MAX:
            raise InvalidInput(f"a message has at most {GOSSIP_SIZE_MAX} bytes")
        return {"remotes": await count_sent(self._observers, topic, data, self._publish)}

    def _see(self, sighting: Sighting) -> None:
        self._meter.see(sighting, now_us())
