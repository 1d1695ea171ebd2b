"""Runs a scenario on real processes from its file to its outcome, or lets a calm network stand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from testnet.devnet import abilities, netlab
from testnet.devnet.claim import claim
from testnet.devnet.eight import PLANS
from testnet.devnet.launch import Devnet, Node
from testnet.devnet.performance import performed
from testnet.devnet.telling import relive, told
from testnet.outcome import Outcome
from testnet.scenario.cast import players
from testnet.scenario.model import Scenario

MARKER: Final = "p2pai-testnet.json"
"""Stands in directories that a run made, and that another may therefore replace."""

OUTCOME_FILE: Final = "outcome.json"

GRACE_S: Final = 120
"""That tasks have to end after `duration_s`, when faults go on for longer than the scenario says."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """How a scenario is run, beyond what its file says."""

    in_namespaces: bool = False
    """Whether each node has a network of its own even if nothing needs it."""
    skips_unsupported: bool = False
    duration_s: int | None = None
    """How long faults go on, in place of what the scenario says."""
    command: str = ""
    """Runs the same again."""
    tell: Tell = lambda _: None
    """Takes a sentence for people as things happen."""
    stay: Callable[[tuple[Node, ...]], None] = lambda _: None
    """Called when the scenario is over and before the nodes are ended; they stand until it returns."""


def run(scenario: Scenario, seed: int, directory: Path, options: Options) -> Outcome:
    """Run a scenario, and write what came of it to `outcome.json` in its directory.

    Raises:
      InvalidInput: it asks for what real processes can't do.
      Unavailable: this machine can't run it, or the directory is in use.
      P2paiError: the network did not come up.
    """
    played = lasting(abilities.reduced(scenario, skips=options.skips_unsupported), options.duration_s)
    for missing in abilities.unable(scenario):
        options.tell(f"left out: {missing}")
    is_apart = options.in_namespaces or bool(abilities.network_needs(played))
    abilities.refuse_network(played, netlab.missing())
    abilities.refuse_size((p.group.roles for p in players(played)), abilities.memory_free_mib())
    with claim(directory, MARKER, "a test network"):
        with performed(played, seed, directory, options.tell, in_namespaces=is_apart) as (course, crew):
            options.tell("the scenario is over")
            options.stay(tuple(crew.nodes.values()))
        options.tell("all nodes are ended; reading their recordings")
        outcome = told(played, seed, course, relive(played, course, directory), options.command)
        (directory / OUTCOME_FILE).write_text(outcome.to_json())
    return outcome


def lasting(scenario: Scenario, duration_s: int | None) -> Scenario:
    """Return a scenario whose faults go on for so long."""
    if duration_s is None:
        return scenario
    return replace(scenario, heal_s=duration_s, limit_s=max(scenario.limit_s, duration_s + GRACE_S))


@contextmanager
def standing(directory: Path, tell: Tell) -> Iterator[dict[str, Node]]:
    """Let the devnet's eight nodes stand while the caller is inside.

    Raises:
      Unavailable: there is not the memory, or the directory is in use.
      P2paiError: they did not come up.
    """
    abilities.refuse_size((plan.roles for plan in PLANS), abilities.memory_free_mib())
    with claim(directory, MARKER, "a test network"), Devnet(directory) as devnet:
        tell(f"starting {len(PLANS)} nodes")
        yield devnet.launch(PLANS)
