"""What real processes can do of a scenario, and what only the simulator can.

Pure but for `memory_free_mib`.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final

from p2pai.primitives.errors import InvalidInput, Unavailable
from testnet.devnet.deeds import DEEDS, OF_NETWORK
from testnet.scenario import adversaries, faults
from testnet.scenario.cast import players
from testnet.scenario.model import Scenario

NODE_MIB: Final = 170
"""Memory of a node by itself: 92 MiB of its own measured (PSS), and as much again while it starts."""

TRAINER_MIB: Final = 280
"""Of its trainer, which loads JAX: 205 MiB measured, a third more while it compiles."""

TRAINING: Final = ("miner", "supervisor", "verifier", "evaluator", "client")
"""Roles that have a trainer."""

KEPT_FREE_MIB: Final = 512
"""For everybody else on the machine."""

LAB_NODES_MAX: Final = 250
"""Namespaces of one laboratory."""


def unable(scenario: Scenario) -> tuple[str, ...]:
    """Return what the scenario asks for and real processes can't do, in a few words each."""
    found = [f"faults of the kind {faults.kind_of(f)}" for f in scenario.faults if type(f) not in DEEDS]
    found += [f"adversaries of the kind {adversaries.kind_of(a)}" for a in scenario.adversaries]
    return tuple(dict.fromkeys(found))


def reduced(scenario: Scenario, *, skips: bool) -> Scenario:
    """Return the scenario with nothing in it that real processes can't do.

    Args:
      scenario: to be run.
      skips: whether what can't be done may be left out.

    Raises:
      InvalidInput: there is such a thing, and it may not; or nobody is there when the run begins.
    """
    if all(player.group.starts_s for player in players(scenario)):
        raise InvalidInput(f"nobody of the scenario {scenario.name} starts at 0 s, so no chain would grow")
    missing = unable(scenario)
    if missing and not skips:
        raise InvalidInput(
            f"the scenario {scenario.name} has {_listed(missing)}, which only the simulator can do "
            f"(p2pai sim --scenario {scenario.name}); --skip-unsupported runs it without"
        )
    able = tuple(fault for fault in scenario.faults if type(fault) in DEEDS)
    return replace(scenario, faults=able, adversaries=())


def network_needs(scenario: Scenario) -> tuple[str, ...]:
    """Return why a scenario can't run on loopback, in a few words each; nothing if it can."""
    found = [f"faults of the kind {faults.kind_of(f)}" for f in scenario.faults if isinstance(f, OF_NETWORK)]
    if scenario.network.regions:
        found.append("regions")
    if scenario.network.upload_kib_s:
        found.append("a bounded upload")
    return tuple(dict.fromkeys(found))


def refuse_network(scenario: Scenario, lacks: str | None) -> None:
    """Refuse a scenario whose network this machine can't make.

    Args:
      scenario: to be run.
      lacks: what the machine lacks for namespaces, in a sentence (see `netlab.missing`); None: nothing.

    Raises:
      Unavailable: it needs them.
    """
    needs = network_needs(scenario)
    if needs and lacks is not None:
        raise Unavailable(f"the scenario {scenario.name} has {_listed(needs)}: {lacks}")
    if needs and len(players(scenario)) > LAB_NODES_MAX:
        raise Unavailable(f"a network laboratory has at most {LAB_NODES_MAX} nodes")


def memory_mib(roles: Iterable[tuple[str, ...]]) -> int:
    """Return how much memory nodes of these roles take."""
    return sum(NODE_MIB + TRAINER_MIB * any(role in TRAINING for role in those) for those in roles)


def refuse_size(roles: Iterable[tuple[str, ...]], free_mib: int) -> None:
    """Refuse more nodes than there is memory for.

    Raises:
      Unavailable: there isn't.
    """
    wanted = list(roles)
    needed = memory_mib(wanted)
    if needed + KEPT_FREE_MIB > free_mib:
        raise Unavailable(
            f"{len(wanted)} nodes need about {needed} MiB of memory, and {free_mib} MiB are free here"
            f" ({KEPT_FREE_MIB} of them are left to others); run fewer"
        )


def memory_free_mib() -> int:
    """Return how much memory can be had on this machine without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    raise Unavailable("the system does not say how much memory is free")


def _listed(parts: Iterable[str]) -> str:
    return " and ".join(parts)
