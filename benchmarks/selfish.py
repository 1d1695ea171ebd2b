"""What keeping blocks back brings a third of the miners: their share of the chain against that of the work.

    python -m benchmarks.selfish [--seed 1] [--seeds 10] [--seconds 120]

One miner of three is selfish (the scenario `selfish`), over many seeds: with the network as it is, where a
block weighs its work from the start, as in Bitcoin, instead of what verifiers approved of it, and, to compare
with, where all are honest.

Source: Eyal and Sirer, "Majority is not Enough" (2014); RELIABILITY (2), "selfish withholding".
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from math import sqrt
from unittest import mock

from p2pai.chain import difficulty, transition, verification
from p2pai.chain.state import State
from testnet.outcome import Outcome
from testnet.scenario.model import Scenario
from testnet.scenario.shelf import load
from testnet.simulator.simulation import Options, Simulation

SELFISH = "miner3"


@dataclass
class Count:
    """Blocks of some histories."""

    best: int = 0
    own_best: int = 0
    found: int = 0
    own_found: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one history's blocks."""
        blocks = [block for block in outcome.blocks if block.height > 0]
        self.found += len(blocks)
        self.own_found += sum(block.miner == SELFISH for block in blocks)
        self.best += sum(block.is_best for block in blocks)
        self.own_best += sum(block.is_best and block.miner == SELFISH for block in blocks)

    def __str__(self) -> str:
        share, work = self.own_best / self.best, self.own_found / self.found
        error = sqrt(share * (1 - share) / self.best)
        lost, others = self.own_found - self.own_best, self.found - self.own_found
        others_lost = others - (self.best - self.own_best)
        return (
            f"{100 * work:5.1f} % of blocks found, {100 * share:5.1f} % (+-{100 * error:.1f}) of the chain;"
            f" in vain: {lost} of its {self.own_found}, {others_lost} of the others' {others}"
        )


@contextmanager
def weighed_by_work() -> Iterator[None]:
    """Let a block weigh its work from the start."""
    honest = transition._open_verification

    def opened(state: State, *args: object) -> State:
        after = honest(state, *args)
        work = difficulty.work(difficulty.decode_bits(args[0].header.bits))
        return replace(after, weight=after.weight + work)

    with (
        mock.patch.object(transition, "_open_verification", opened),
        mock.patch.object(verification, "approved_work", return_value=0),
    ):
        yield


def measure(scenario: Scenario, seeds: range) -> Count:
    """Run a scenario over seeds; nobody checks invariants, since one variant breaks that of weights."""
    counted = Count()
    for seed in seeds:
        simulation = Simulation(scenario, seed, Options())
        simulation.network.world.watchers[:] = [simulation.observer]
        counted.add(simulation.run())
    return counted


def main() -> None:
    """Print a line for each variant."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1, help="the first")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=120)
    given = parser.parse_args()
    selfish = replace(load("selfish"), heal_s=given.seconds, limit_s=2 * given.seconds)
    honest = replace(selfish, adversaries=())
    variants = (
        ("selfish", selfish, nullcontext()),
        ("selfish, weight is work", selfish, weighed_by_work()),
        ("honest", honest, nullcontext()),
    )
    for name, scenario, weights in variants:
        with weights:
            print(f"{name:24} {measure(scenario, range(given.seed, given.seed + given.seeds))}", flush=True)


if __name__ == "__main__":
    main()
