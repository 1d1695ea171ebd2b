"""Somebody is killed every few seconds, with and without lost gossip, until the task is paid.

What: no promise broken at any step, and the task ends. How: the kills come from a PRNG of their own, so that
one number gives one history.
"""

import random

import pytest
from life import life

from p2pai.chain.state import Stage
from testnet.simulator.network import name_of, network, order

pytestmark = pytest.mark.usefixtures("shared")

ACCOUNTS = range(8)
OVER = (Stage.PAID, Stage.FAILED)


@pytest.mark.slow
@pytest.mark.parametrize("loss_percent", [0, 15])
@pytest.mark.parametrize("seed", range(21, 27))
def test_whoever_is_killed_the_task_is_paid(seed, loss_percent):
    net = network(seed, gossip_loss_percent=loss_percent)
    dice = random.Random(seed)
    task = net.submit(order(epochs=4))
    for _ in range(150):
        net.world.run(lambda: False, dice.randint(1, 5))
        net.restart(dice.choice(ACCOUNTS), down_ms=dice.choice((500, 1_000, 4_000)))
        known = net.task(task)
        if known is not None and known.stage in OVER:
            break
    # A task whose workers are killed while they apply, or make their key, all in seconds, may lose too many:
    # then the fee is back. Once it trains, it is paid.
    began = [stage for stage, _ in known.history]
    assert known.stage is Stage.PAID or "training" not in began
    assert net.world.fired["kill"] > 3
    if known.stage is Stage.PAID:
        assert net.world.run(lambda: net.world.hosts[name_of(0)].delivered, 60)
    assert net.settle()
    net.check()
    assert net.world.rejected == []


def test_without_faults_nobody_is_slashed():
    assert life().network.core(7).state.burned == 0
    assert life().network.world.fired == dict.fromkeys(life().network.world.fired, 0)
