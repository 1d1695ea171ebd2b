"""One history of a scenario: played, healed, settled, judged.

    play     nodes start, clients order, faults happen, until it is time to heal and all of them have happened
    heal     no more faults; whoever is down comes back
    settle   one tip within a time, then a chain that goes on, and every task comes to its end
    judge    what the scenario expects

The invariants hold at every step of it. A history that fails raises nothing: its outcome says what broke.

Source: RELIABILITY (2), (4).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Literal, cast, get_args

from p2pai.node.core import NodeCore
from p2pai.primitives import memo
from p2pai.primitives.errors import InvalidInput
from testnet import outcome
from testnet.expectations import BLOCKS_AFTER
from testnet.outcome import Outcome
from testnet.scenario.model import Scenario
from testnet.simulator import staging
from testnet.simulator.customers import Customers
from testnet.simulator.faulting import Faulting
from testnet.simulator.host import Blobs
from testnet.simulator.invariants import Broken, Liveness, check_ledgers
from testnet.simulator.metering import metered
from testnet.simulator.network import Network
from testnet.simulator.observer import Observer
from testnet.simulator.recent import Recent
from testnet.simulator.recordings import Recordings
from testnet.simulator.summing import summarize
from testnet.simulator.trainer import FastTrainer, real_trainer
from testnet.simulator.training import Worker
from testnet.simulator.weakened import weakness_of
from testnet.simulator.world import START_MS

Trainer = Literal["fast", "real"]

TICK_S: Final = 1
"""Virtual time between two looks at what is due."""


@dataclass(frozen=True)
class Options:
    """How a history is run, beyond what its scenario says."""

    trainer: Trainer = "fast"
    weakened: str = ""
    """A defence that all nodes lack."""
    shares: bool = True
    """Whether pure functions are computed once for all nodes (see primitives/memo.py): faster."""
    recordings: Recordings | None = None
    command: str = ""
    """What a user types to run the same again."""
    progress: Callable[["Simulation"], None] | None = None
    """Called once a virtual second."""


def simulate(scenario: Scenario, seed: int, options: Options | None = None) -> Outcome:
    """Run one history.

    Args:
      scenario: what is played.
      seed: of everything that is drawn.
      options: see there.

    Returns:
      What came of it; a broken invariant or an unmet expectation is in there.

    Raises:
      InvalidInput: there is no such weakness.
    """
    options = options or Options()
    with _weakness(options.weakened), memo.shared(is_on=options.shares), metered() as meter:
        simulation = Simulation(scenario, seed, options)
        simulation.network.invariants.meter = meter
        return simulation.run()


def _weakness(name: str) -> AbstractContextManager[None]:
    return weakness_of(name).apply() if name else nullcontext()


@dataclass
class Simulation:
    """A history under way."""

    scenario: Scenario
    seed: int
    options: Options
    network: Network = field(init=False)
    customers: Customers = field(init=False)
    faulting: Faulting = field(init=False)
    observer: Observer = field(init=False)
    recent: Recent = field(init=False)
    healed_ms: int | None = None
    settled_ms: int | None = None
    """Since the start."""
    ended: tuple[str, ...] = ()
    """Invariants of the end that were checked."""

    def __post_init__(self) -> None:
        self.network = staging.build(self.scenario, self.seed, _trainer(self.options.trainer))
        if self.options.recordings is not None:
            self.network.recordings = self.options.recordings
            self.options.recordings.watch(self.network.world)
        self.customers = Customers(self.scenario, self.network)
        self.faulting = staging.plan_faults(self.scenario, self.network)
        self.observer = _observe(self.network)
        self.recent = Recent(self.network.world, self.network.spec.prefix)

    @property
    def now_ms(self) -> int:
        """Virtual time since the start."""
        return self.network.world.now_ms - START_MS

    def run(self) -> Outcome:
        """Run to the end, or to where it breaks."""
        began = monotonic()
        broken = None
        try:
            self._play()
            self._heal()
            self._settle()
        except Broken as error:
            broken = self._broken(error.number, error)
        except AssertionError as error:
            broken = self._broken("assertion", error)
        except Exception as error:  # whatever a node raises is what we look for
            broken = self._broken("crash", error)
        return summarize(self, broken, round((monotonic() - began) * 1000))

    def _broken(self, invariant: str, error: Exception) -> outcome.Broken:
        reason = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        node = error.node if isinstance(error, Broken) else None
        return outcome.Broken(invariant, reason, self.now_ms, node or self.recent.node)

    # --- the four acts

    def _play(self) -> None:
        while self.now_ms < self.scenario.limit_s * 1000 and not self._is_played():
            self._advance()

    def _is_played(self) -> bool:
        """Return whether it is time to heal: every fault has happened, and the time or all tasks are over."""
        if self.scenario.heal_s:
            is_time = self.now_ms >= self.scenario.heal_s * 1000
        else:
            is_time = bool(self.scenario.tasks) and self.customers.are_served()
        return is_time and not self._unfired()

    def _unfired(self) -> list[str]:
        """Return the kinds of faults and adversaries that have not happened."""
        kinds = (planned.kind for planned in staging.planned(self.scenario))
        return [kind for kind in dict.fromkeys(kinds) if not self.network.world.fired[kind]]

    def _advance(self) -> None:
        """Let a virtual second pass, with all that is due in it."""
        staging.start_due(self.scenario, self.network, self.now_ms)
        self.customers.order(self.now_ms)
        self.network.world.run(lambda: False, TICK_S)
        if self.options.progress is not None:
            self.options.progress(self)

    def _heal(self) -> None:
        self.faulting.heal()
        self.healed_ms = self.now_ms
        for account, name in self.network.names.items():
            if name in self.network.world.halted and self.scenario.faults:
                self.network.start_again(account)  # without faults nothing may stop

    def _settle(self) -> None:
        """Wait for one tip, then for a chain that goes on with all tasks over; what is missing is judged."""
        height = max(core.state.height for core in self.honest())
        if self.network.world.run(self._is_one, self.scenario.expect.settle_s):
            self.settled_ms = self.now_ms
        network, honesty = self.network, self.network.invariants.honesty
        liveness = Liveness(network.world, network.spec, network.cores, honesty)
        liveness.note_waiting()
        while not self._is_lively(height) and self._is_in_time():
            self._advance()
        if self._is_lively(height):
            self.ended += ("I20",)
            liveness.demand_confirmations(self.scenario.expect.settle_s)
        self.network.world.run(self._is_one, self.scenario.expect.settle_s)
        if self._is_one():
            self.ended += "I7", "I11"
            check_ledgers(self.network.spec, {core.identity.peer: core for core in self.honest()})

    def honest(self) -> list[NodeCore]:
        """Return the honest nodes that have started."""
        return [core for name, core in self.network.cores.items() if name not in self.network.costumes]

    def _is_one(self) -> bool:
        cores = self.honest()
        return all(core.state.tip == cores[0].state.tip for core in cores)

    def _is_in_time(self) -> bool:
        """Return whether there is time for the chain to go on and for tasks to end."""
        assert self.healed_ms is not None
        latest_s = max(self.scenario.limit_s, self.healed_ms // 1000 + self.scenario.expect.settle_s)
        return self.now_ms < latest_s * 1000

    def _is_lively(self, height: int) -> bool:
        grown = min(core.state.height for core in self.honest()) - height
        return grown >= BLOCKS_AFTER and self.customers.are_satisfied()


def _observe(network: Network) -> Observer:
    """Watch a network; before those who check it, to see what they refuse."""
    roles = {name: network.roles[account] for account, name in network.names.items()}
    observer = Observer(network.world, network.spec, network.cores, roles, network.costumes)
    network.world.watchers.insert(0, observer)
    return observer


def trainer_of(word: str) -> Trainer:
    """Return a trainer by the word that a user has for it.

    Raises:
      InvalidInput: there is no such trainer.
    """
    for trainer in get_args(Trainer):
        if word == trainer:
            return cast("Trainer", trainer)
    raise InvalidInput(f"there is no trainer {word}; there are {' and '.join(get_args(Trainer))}")


def _trainer(name: Trainer) -> Callable[[Blobs], Worker]:
    return real_trainer if name == "real" else FastTrainer
