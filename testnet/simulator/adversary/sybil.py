"""Many names of one attacker's: each wants a place in everybody's mesh, takes all, and passes nothing on.

They do not follow the chain, so a hundred of them cost the simulation little: whatever they hear they ignore,
and so, as gossip has it, keep to themselves. Or they pass on all but blocks, which nobody can see in a rate.
They answer no question either.

Source: Vyzovitis et al., "GossipSub" (2020), sections 4 and 5; RELIABILITY (2), "Sybil, eclipse".
"""

from collections.abc import Sequence
from typing import ClassVar

from p2pai import events
from p2pai.effects import Effect, Judge, Verdict
from p2pai.events import Event
from p2pai.gossip.topics import Topic, parse
from testnet.scenario import adversaries
from testnet.simulator.adversary.base import Restless
from testnet.simulator.mesh import BACK_OFF_MS, Mesh


class Sybil(Restless):
    """See the module."""

    EVERY_MS: ClassVar[int] = BACK_OFF_MS + 1_000
    """It asks no sooner than who was refused may: asking at once would cost it its standing."""
    plan: adversaries.Sybil

    def react(self, event: Event, now_ms: int) -> Sequence[Effect]:
        """Take whatever comes, and pass on what the plan says."""
        if isinstance(event, events.Asked):
            return ()
        if not isinstance(event, events.Received):
            return self.core.handle(event, now_ms)
        drops = self.plan.drops == "everything" or parse(event.topic).name == "block"
        if drops:
            self.setting.did()
        return [Judge(Verdict.IGNORE if drops else Verdict.ACCEPT)]

    def beat(self) -> Sequence[Effect]:
        """Ask all honest remotes for a place in their meshes of what the whole chain says."""
        mesh = self.setting.world.gossip
        assert isinstance(mesh, Mesh), "there are no meshes to get into where gossip is direct"
        for name in ("tx", "block"):
            topic = str(Topic(self.core.spec.short_id, None, name))
            for remote in self.core.remotes:
                if remote not in self.setting.crew and self.setting.name not in mesh.neighbours(
                    remote, topic
                ):
                    mesh.graft(self.setting.name, remote, topic)
        return ()
