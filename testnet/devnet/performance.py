"""One run of a scenario on real processes.

    launch   the nodes start; the run begins when the chain grows, since trainers take their time to load
    play     clients order, faults happen, until all tasks are over
    heal     no more faults; whoever is down comes back, and answers
    settle   one tip, the chain goes on, every task is over: liveness, demanded within a time

Then the nodes are asked where they stand, and ended. What came of it all is told by their recordings: see
`relived`. The acts are those of `testnet.simulator.simulation`, in real time.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from p2pai.primitives.errors import P2paiError
from testnet.devnet.crew import Crew
from testnet.devnet.customers import Customers
from testnet.devnet.ground import Ground, loopback, namespaces
from testnet.devnet.havoc import Havoc
from testnet.devnet.launch import Devnet, NodeFailure, Plan, wait_for
from testnet.expectations import BLOCKS_AFTER
from testnet.scenario import faults
from testnet.scenario.cast import players
from testnet.scenario.chain import chain_of, chain_text
from testnet.scenario.model import Scenario
from testnet.simulator.recordings import SUFFIX

ALIVE_S_MAX: Final = 180.0
"""Until the first block: trainers load and compile, all at once."""

BACK_S_MAX: Final = 90.0
"""For nodes that are started again when the run heals; not counted as settling."""

TICK_S: Final = 0.2
LOOK_S: Final = 1.0
"""Between two looks at what clients wait for."""

CHAIN_FILE: Final = "chain.toml"

Status = Mapping[str, Any]
"""An answer of `node.status`."""


@dataclass(frozen=True, slots=True)
class Course:
    """What a run was like from outside; times are milliseconds since it began."""

    began_us: int
    """Unix time."""
    length_ms: int
    healed_ms: int | None
    settled_ms: int | None
    statuses: Mapping[str, Status]
    """What the nodes that answered in the end said of themselves, by name."""
    supplies: Mapping[str, bool]
    """Whether each of them can account for every coin."""
    starts: Mapping[str, int]
    fired: Mapping[str, int]
    """How often each kind of fault happened."""
    times_ms: Mapping[str, tuple[int, ...]]
    """When, for those that strike nodes."""
    failure: str
    """Why it ended early: a node ended by itself."""


@contextmanager
def performed(
    scenario: Scenario,
    seed: int,
    directory: Path,
    tell: Callable[[str], None],
    *,
    in_namespaces: bool = False,
) -> Iterator[tuple[Course, Crew]]:
    """Run a scenario to its end; the nodes stand until the caller leaves, and are ended then.

    Args:
      scenario: with nothing in it that real processes can't do.
      seed: of the faults.
      directory: where the nodes live, there already.
      tell: takes a sentence for people as things happen.
      in_namespaces: whether each node has a network of its own; needs root.

    Raises:
      P2paiError: the network did not come up.
    """
    path = directory / CHAIN_FILE
    path.write_text(chain_text(scenario))
    with ExitStack() as stack:
        made = namespaces(scenario, seed) if in_namespaces else None
        ground = loopback(scenario) if made is None else stack.enter_context(made)
        crew = Crew(stack.enter_context(Devnet(directory, str(path))), plans(scenario, directory, ground))
        acts = Acts(scenario, seed, crew, ground, tell)
        stack.callback(acts.close)
        acts.launch()
        yield acts.play_all(), crew


def plans(scenario: Scenario, directory: Path, ground: Ground) -> tuple[Plan, ...]:
    """Return how each node is started."""
    return tuple(
        Plan(
            p.name, p.account, p.group.roles or ("peer",), recorded(directory, p.name), ground.places[p.name]
        )
        for p in players(scenario)
    )


def recorded(directory: Path, name: str) -> tuple[str, ...]:
    """Return the arguments that let a node record its life."""
    return ("--record", str(recording_of(directory, name)))


def recording_of(directory: Path, name: str) -> Path:
    """Return where a node's recording lies."""
    return directory / f"{name}{SUFFIX}"


class Acts:
    """The acts of one run."""

    def __init__(
        self, scenario: Scenario, seed: int, crew: Crew, ground: Ground, tell: Callable[[str], None]
    ) -> None:
        """Plan everything; nothing runs yet."""
        self._scenario, self._crew, self._ground, self._tell = scenario, crew, ground, tell
        self._customers = Customers(scenario, chain_of(scenario), crew)
        self._havoc = Havoc(scenario, seed, crew, ground, tell)
        self._kinds = tuple(dict.fromkeys(map(faults.kind_of, scenario.faults)))
        self._later = [p for p in players(scenario) if p.group.starts_s]
        self._began_s, self._began_us = 0.0, 0
        self._healed_ms: int | None = None
        self._settled_ms: int | None = None
        self._look_s = 0.0
        self._said: Mapping[str, Status] = {}
        """What the nodes said of themselves when they were asked together last."""
        self._said_s = 0.0

    @property
    def now_s(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._began_s

    def launch(self) -> None:
        """Start those who are there from the beginning, and wait until their chain grows."""
        names = [p.name for p in players(self._scenario) if not p.group.starts_s]
        self._tell(f"starting {len(names)} nodes")
        self._crew.launch(names)
        self._tell("all nodes answer; waiting for the chain to grow")
        if not wait_for(lambda: self._height() > 0, ALIVE_S_MAX):
            raise NodeFailure(f"no block was mined within {ALIVE_S_MAX:.0f} s; the nodes' logs tell why")
        self._began_s, self._began_us = time.monotonic(), time.time_ns() // 1000
        self._tell("the chain grows: the run begins")

    def play_all(self) -> Course:
        """Play, heal, settle, and ask; a node that ends by itself ends the run."""
        failure = ""
        try:
            self._play()
            self._heal()
            self._settle()
        except NodeFailure as error:
            failure = str(error)
            self._havoc.heal()
            self._ask_all()
        return self._course(failure)

    def close(self) -> None:
        """Undo what faults still do to the network; nodes that are down stay so."""
        self._crew.retire()
        with suppress(P2paiError):
            self._havoc.heal()

    def _play(self) -> None:
        while self.now_s < self._scenario.limit_s and not self._is_played():
            self._advance()

    def _is_played(self) -> bool:
        if not self._scenario.tasks and not self._scenario.heal_s:
            return False
        is_due = self.now_s >= self._scenario.heal_s
        return is_due and self._customers.are_served() and all(map(self._fired().get, self._kinds))

    def _fired(self) -> dict[str, int]:
        """Return how often each kind of fault has happened."""
        met = self._ground.met()
        return {**self._havoc.fired, **{kind: met[kind] for kind in self._kinds if kind in met}}

    def _advance(self) -> None:
        """Let a moment pass, with all that is due in it."""
        self._start_due()
        self._havoc.tick(self.now_s)
        if self.now_s >= self._look_s:
            self._look_s = self.now_s + LOOK_S
            self._crew.check()
            self._customers.look(self.now_s)
        time.sleep(TICK_S)

    def _start_due(self) -> None:
        due = [p for p in self._later if p.group.starts_s <= self.now_s]
        for player in due:
            self._tell(f"{player.name} starts")
            self._crew.start(player.name)
            self._later.remove(player)

    def _heal(self) -> None:
        self._havoc.heal()
        names = list(self._crew.nodes)
        if not wait_for(lambda: all(map(self._crew.answers, names)), BACK_S_MAX):
            silent = ", ".join(name for name in names if not self._crew.answers(name))
            raise NodeFailure(f"{silent} did not answer within {BACK_S_MAX:.0f} s after healing")
        self._healed_ms = round(self.now_s * 1000)
        self._tell("all faults are over, and all nodes answer; waiting for one tip")

    def _settle(self) -> None:
        """Wait for one tip, then for a chain that goes on with all tasks over; what is missing is judged."""
        height, limit_s = self._height(), self._scenario.expect.settle_s
        if wait_for(self._is_one, limit_s, TICK_S):
            self._settled_ms = round(self.now_s * 1000)
        end_s = self.now_s + limit_s
        while self.now_s < end_s and not self._is_lively(height):
            self._advance()
        wait_for(self._is_one, limit_s, TICK_S)

    def _is_lively(self, height: int) -> bool:
        return self._height() >= height + BLOCKS_AFTER and self._customers.are_satisfied()

    def _height(self) -> int:
        """Return the least height that any of the nodes is at; 0 where one does not answer."""
        self._ask_all()
        heights = [said["height"] for said in self._said.values()]
        return min(heights) if len(heights) == len(self._crew.nodes) else 0

    def _is_one(self) -> bool:
        """Return whether all nodes are on one tip, with one ledger."""
        self._ask_all()
        places = dict.fromkeys((said["tip"], said["state_digest"]) for said in self._said.values())
        return len(self._said) == len(self._crew.nodes) and len(places) == 1

    def _ask_all(self) -> None:
        asked = {name: self._crew.ask(name, "node.status") for name in self._crew.nodes}
        self._said = {name: said for name, said in asked.items() if said is not None}
        self._said_s = self.now_s

    def _course(self, failure: str) -> Course:
        supplies = {name: self._crew.ask(name, "supply") for name in self._crew.nodes}
        return Course(
            began_us=self._began_us,
            length_ms=round(self._said_s * 1000),
            healed_ms=self._healed_ms,
            settled_ms=self._settled_ms,
            statuses=self._said,
            supplies={name: s["holds"] for name, s in supplies.items() if s is not None},
            starts=dict(self._crew.starts),
            fired=self._fired(),
            times_ms={
                kind: tuple(round(1000 * at_s) for at_s in times)
                for kind, times in self._havoc.times_s.items()
            },
            failure=failure,
        )
