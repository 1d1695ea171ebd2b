"""The scenarios that ship without a dishonest node: each holds, and each of its faults happens."""

import pytest

from testnet.scenario.shelf import load, shipped
from testnet.simulator.simulation import simulate

PLAIN = [name for name in shipped() if not load(name).adversaries and not load(name).weakened]


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_row_holds(name):
    outcome = simulate(load(name), 1)
    assert outcome.is_passed, "\n".join((*outcome.last_events, outcome.verdict))
