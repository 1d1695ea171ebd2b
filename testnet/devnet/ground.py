"""Where a scenario's processes stand: on this machine's loopback, or in network namespaces far apart.

Loopback needs nothing, and has no delay and no faults. Namespaces need root; there the links are what the
scenario's network plan says, and faults of the network can happen.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final

from testnet.devnet.inside import Inside
from testnet.devnet.launch import Place
from testnet.devnet.netlab import NetLab
from testnet.devnet.weather import COUNTED, Weather
from testnet.devnet.wires import Link, Wire
from testnet.scenario.cast import players
from testnet.scenario.model import NetworkPlan, Scenario

_BITS_PER_KIB: Final = 8 * 1024


@dataclass(frozen=True)
class Ground:
    """The places of all nodes, by name, and the network between them."""

    places: Mapping[str, Place]
    lab: NetLab | None = None
    weather: Weather | None = None
    numbers: Mapping[str, int] = field(default_factory=dict)
    """Of the nodes in the laboratory, by name."""

    def met(self) -> dict[str, int]:
        """Return by kind of fault how many packets met it so far."""
        counts = self.lab.counts() if self.lab else {}
        return {kind: counts[counted] for kind, counted in COUNTED.items() if counts.get(counted)}


def loopback(scenario: Scenario) -> Ground:
    """Return the places of all nodes on loopback."""
    return Ground({player.name: Place() for player in players(scenario)})


@contextmanager
def namespaces(scenario: Scenario, seed: int) -> Iterator[Ground]:
    """Make a namespace for each node, linked as the scenario plans; they vanish in the end.

    Raises:
      Unavailable: the machine lacks something for that.
    """
    numbers = {player.name: number for number, player in enumerate(players(scenario), 1)}
    fair = links(scenario)
    with ExitStack() as stack:
        lab = stack.enter_context(NetLab(len(numbers), seed=seed))
        for number in lab.nodes:
            lab.narrow(number, scenario.network.upload_kib_s * _BITS_PER_KIB)
        places = {name: _place(stack, lab, number) for name, number in numbers.items()}
        yield Ground(places, lab, Weather(lab, fair), numbers)


def _place(stack: ExitStack, lab: NetLab, number: int) -> Place:
    inside = Inside(lab.namespace(number))
    stack.callback(inside.close)
    return Place(lab.address(number), lab.command(number, ()), inside)


def links(scenario: Scenario) -> dict[Wire, Link]:
    """Return what each wire between two nodes is, as the scenario plans it."""
    regions = {number: player.group.region for number, player in enumerate(players(scenario), 1)}
    return {
        (a, b): _link(scenario.network, regions[a], regions[b]) for a in regions for b in regions if a != b
    }


def _link(plan: NetworkPlan, here: str, there: str) -> Link:
    least_ms, most_ms = plan.latency_ms
    far_ms = plan.regions.get(here, {}).get(there, plan.regions.get(there, {}).get(here, 0))
    return Link(delay_ms=far_ms + (least_ms + most_ms) / 2, jitter_ms=(most_ms - least_ms) / 2)
