"""All invariants of a simulated world, at every step.

    ledgers     I1 to I11, and of I14 and I15 what blocks show
    agreement   I12, I13
    restarts    I13
    slots       I14
    standing    I15
    limits      I16, I17
    pools       I18
    privacy     I19

What holds at the end of a history, and I20, is checked by whoever ends it (replays.py, liveness.py).
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from p2pai import effects, events
from p2pai.chain.spec import ChainSpec
from p2pai.node.core import NodeCore
from p2pai.primitives.ids import PeerId
from testnet.simulator.host import Host
from testnet.simulator.invariants.agreement import Agreement
from testnet.simulator.invariants.honesty import Honesty
from testnet.simulator.invariants.ledgers import Ledgers
from testnet.simulator.invariants.limits import Limits
from testnet.simulator.invariants.pools import Pools
from testnet.simulator.invariants.privacy import Secrets
from testnet.simulator.invariants.restarts import Restarts
from testnet.simulator.invariants.saying import read, read_any
from testnet.simulator.invariants.slots import Slots
from testnet.simulator.invariants.step import Broken
from testnet.simulator.metering import Meter

OF_BLOCKS: Final = ("I1", "I2", "I3", "I4", "I5", "I8", "I9", "I10", "I14")
"""Those that every block is held to."""


class Invariants:
    """A watcher of one world; the first breach is a `Broken`."""

    def __init__(
        self,
        spec: ChainSpec,
        cores: Mapping[PeerId, NodeCore],
        honesty: Honesty,
        hosts: Mapping[PeerId, Host] = MappingProxyType({}),
    ) -> None:
        """Watch a world; the caller adds this to its watchers, and keeps all that is given up to date.

        Args:
          spec: of the chain.
          cores: what runs in the nodes now, an adversary's too.
          honesty: of the nodes.
          hosts: what the nodes run on, as far as that is known: where a client's test data lie.
        """
        self.honesty = honesty
        self._cores = cores
        self.meter: Meter | None = None
        """What measures the nodes' work, where somebody does."""
        self.agreement = Agreement(self.honesty)
        self.restarts = Restarts()
        self.ledgers = Ledgers(spec, cores, self.honesty)
        self.slots = Slots(cores, self.honesty)
        self.limits = Limits()
        self.pools = Pools(spec.params)
        self.secrets = Secrets(cores, hosts)

    def at_work(self) -> tuple[str, ...]:
        """Return the invariants whose checkers had something to look at, but for those of the end."""
        ledgers, limits = self.ledgers, self.limits
        looked = {
            OF_BLOCKS: ledgers.checked,
            ("I6",): ledgers.checkpoints.latest,
            ("I12", "I13"): self.agreement.counts,
            ("I15",): ledgers.standing.looked,
            ("I16",): limits.tables,
            ("I17",): limits.most.get("effects"),
            ("I18",): self.pools.looked,
            ("I19",): self.secrets.keys,
        }
        return tuple(name for names, at in looked.items() if at for name in names)

    def __call__(self, name: PeerId, event: events.Event, reaction: Sequence[effects.Effect]) -> None:
        """Look at one event of one node."""
        try:
            if self.honesty.is_honest(name):
                self._look(name, event, reaction)
            else:
                self._overhear(name, reaction)
        except Broken as broken:
            broken.node = broken.node or name
            raise

    def _look(self, name: PeerId, event: events.Event, reaction: Sequence[effects.Effect]) -> None:
        core = self._cores[name]
        if self.honesty.remembers(name):
            self.agreement.note(name, event, reaction)
            self.restarts.look(name, core, event)
        for effect in reaction:
            if isinstance(effect, effects.Publish):
                saying = read(effect)
                if self.honesty.remembers(name):
                    self.agreement.hear(name, saying)
                self.slots.hear(name, saying)
        self.ledgers.look(name, core, event)
        self.ledgers.standing.look(name, event, reaction)
        self.limits.look(name, core, event, reaction)
        if self.meter is not None:
            self.limits.check_work(name, event, self.meter.last)
        self.pools.look(name, core)
        self.secrets.look(name, core, event, reaction)

    def _overhear(self, name: PeerId, reaction: Sequence[effects.Effect]) -> None:
        """Note what the dishonest say that others may build on."""
        for effect in reaction:
            saying = read_any(effect) if isinstance(effect, effects.Publish) else None
            if saying is not None:
                self.slots.overhear(name, saying)
