"""One seed of chaos, played; in four files, so that two processes share them."""

from testnet.scenario.chaos import draw
from testnet.simulator.simulation import Options, simulate

QUARTER = 50


def play(seed):
    outcome = simulate(draw(seed), seed, Options(command=f"p2pai sim --chaos --seed {seed}"))
    told = "\n".join((*outcome.last_events, outcome.head.command, outcome.verdict))
    assert outcome.is_passed, told
