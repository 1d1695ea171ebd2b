"""How fast a simulated network runs: steps a second on one core, against real time, and memory for each node.

    python -m benchmarks.simulator [--rows task-80,pace-30]

A step is one event handled by a node. `task` is the shipped scenario calm scaled to so many nodes, from the
first event until a client's task is paid: real cores, the fast trainer. `alone` is the same with nothing
shared between nodes; `checked` is what `p2pai sim` does, with every invariant looked at; `pace` is four
minutes without a client's task at the pace of a real network (blocks a minute apart, slots of 2 s, iterations
of 3 s). `toys` is what the world costs by itself: nodes that only say 300 bytes now and then, and hear.

Each row is a process of its own. Steps and real-time factor are of processor time, so that a busy machine
counts as little as can be; wall time stands beside. Memory is what the process grew by from the first node
on.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Final

from p2pai import effects, events
from p2pai.effects import Effect, Verdict
from p2pai.primitives import memo
from p2pai.primitives.ids import Millis, PeerId
from testnet.scenario.cast import scaled
from testnet.scenario.model import Scenario
from testnet.scenario.shelf import load
from testnet.simulator import staging
from testnet.simulator.customers import Customers
from testnet.simulator.simulation import simulate
from testnet.simulator.trainer import FastTrainer
from testnet.simulator.world import START_MS, World

SEED: Final = 1
REAL_PACE: Final = {"spacing_s": 60, "slot_ms": 2_000, "iteration_ms_min": 3_000}
PACE_S: Final = 240
TOYS_S: Final = 100
TOY_TOPIC: Final = "/p2pai/00000000/chain/tx/1"
TOY_BYTES: Final = 300
TOYS_MAX: Final = 1_000
TOY_SAYS_MS: Final = Millis(400)
"""Between two messages of a node, about as many for each node as in a task."""


@dataclass(frozen=True)
class Row:
    """What one process measured."""

    steps: int
    virtual_s: float
    cpu_s: float
    wall_s: float
    grown_mib: float
    digest: str


class Toy:
    """A node that says bytes and hears bytes."""

    def __init__(self, number: int) -> None:
        self._said = number

    def handle(self, event: events.Event, now_ms: int) -> Sequence[Effect]:
        """React as briefly as can be."""
        del now_ms
        if isinstance(event, events.Received):
            return (effects.Judge(Verdict.ACCEPT),)
        if isinstance(event, events.Started):
            return (effects.Join(TOY_TOPIC), effects.SetTimer("say", TOY_SAYS_MS))
        if isinstance(event, events.TimerFired):
            self._said += TOYS_MAX
            message = self._said.to_bytes(TOY_BYTES, "big")
            return (effects.Publish(TOY_TOPIC, message), effects.SetTimer("say", TOY_SAYS_MS))
        return ()


def memory_mib() -> float:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(world: World, run: Callable[[], None], before_mib: float) -> Row:
    """Run a world that nobody watches."""
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    world.watchers[:] = [count]
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    run()
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    virtual_s = (world.now_ms - START_MS) / 1000
    return Row(steps, virtual_s, cpu_s, wall_s, memory_mib() - before_mib, world.digest)


def play(scenario: Scenario, *, shares: bool = True, limit_s: int | None = None) -> Row:
    """Run a scenario's world until its tasks are paid, or for so long."""
    before_mib = memory_mib()
    network = staging.build(scenario, SEED, FastTrainer)
    world, customers = network.world, Customers(scenario, network)

    def run() -> None:
        while (now_ms := world.now_ms - START_MS) < (limit_s or scenario.limit_s) * 1000:
            if limit_s is None and customers.are_served():
                return
            staging.start_due(scenario, network, now_ms)
            customers.order(now_ms)
            world.run(lambda: False, 1)

    with memo.shared(is_on=shares):
        row = measure(world, run, before_mib)
    assert limit_s or customers.are_served(), "the task is not paid"
    return row


def task(nodes: int) -> Row:
    """Measure a client's task, paid."""
    return play(scaled(load("calm"), nodes))


def alone(nodes: int) -> Row:
    """Measure the same with nothing shared."""
    return play(scaled(load("calm"), nodes), shares=False)


def pace(nodes: int) -> Row:
    """Measure minutes at the pace of a real network."""
    return play(replace(scaled(load("calm"), nodes), chain=REAL_PACE, tasks=()), limit_s=PACE_S)


def checked(nodes: int) -> Row:
    """Measure the whole history, all invariants checked, healing and liveness included."""
    before_mib, cpu_s, wall_s = memory_mib(), time.process_time(), time.perf_counter()
    outcome = simulate(scaled(load("calm"), nodes), SEED)
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    assert outcome.is_passed, outcome.verdict
    head = outcome.head
    grown_mib = memory_mib() - before_mib
    return Row(head.steps or 0, head.length_ms / 1000, cpu_s, wall_s, grown_mib, head.digest or "")


def toys(nodes: int) -> Row:
    """Measure the world with nodes that do nothing."""
    before_mib, world = memory_mib(), World(SEED, FastTrainer)
    for number in range(nodes):
        world.add(PeerId(f"toy{number}"), Toy(number))
    return measure(world, lambda: world.run(lambda: False, TOYS_S) or None, before_mib)


KINDS: Final = {kind.__name__: kind for kind in (task, alone, checked, pace, toys)}
ROWS: Final = (
    "toys-8",
    "task-8",
    "alone-8",
    "toys-30",
    "task-30",
    "alone-30",
    "pace-30",
    "toys-80",
    "task-80",
    "checked-80",
)


def apart(name: str) -> Row:
    """Measure a row in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.simulator", "--row", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    return Row(**json.loads(done.stdout))


def show(rows: dict[str, Row]) -> None:
    """Print a table, and what the rows say together."""
    print(
        f"{'row':<11}{'steps':>9}{'steps/s':>9}{'x real time':>12}{'cpu s':>8}{'wall s':>8}{'MiB/node':>10}"
    )
    for name, row in rows.items():
        pace_, real = row.steps / row.cpu_s, row.virtual_s / row.cpu_s
        memory = row.grown_mib / int(name.partition("-")[2])
        print(
            f"{name:<11}{row.steps:>9,}{pace_:>9,.0f}{real:>12.1f}{row.cpu_s:>8.1f}{row.wall_s:>8.1f}{memory:>10.2f}"
        )
    for nodes in ("8", "30", "80"):
        with suppress(KeyError):
            full, toy = rows[f"task-{nodes}"], rows[f"toys-{nodes}"]
            ratio = (full.cpu_s / full.steps) / (toy.cpu_s / toy.steps)
            print(f"{nodes} nodes: a step of a real core takes {ratio:.1f} times a toy's")
        with suppress(KeyError):
            shared, lone = rows[f"task-{nodes}"], rows[f"alone-{nodes}"]
            assert shared.digest == lone.digest, "sharing changed the history"
            print(f"{nodes} nodes: sharing saves {100 - 100 * shared.cpu_s / lone.cpu_s:.0f} % of the time")


def main() -> None:
    """Measure the rows asked for."""
    parser = argparse.ArgumentParser(description="How fast a simulated network runs.")
    parser.add_argument(
        "--rows", default=",".join(ROWS), help="KIND-NODES, by commas; kinds: " + ", ".join(KINDS)
    )
    parser.add_argument("--row", help="measure one in this process, print JSON")
    options = parser.parse_args()
    if options.row:
        kind, _, nodes = options.row.partition("-")
        print(json.dumps(asdict(KINDS[kind](int(nodes)))))
    else:
        show({name: apart(name) for name in options.rows.split(",")})


if __name__ == "__main__":
    main()
