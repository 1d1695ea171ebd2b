"""Faults strike processes when their time has come, in the order that the seed gives; nobody stays down."""

import random
import sys
from dataclasses import replace

import pytest

from testnet.devnet.crew import Crew
from testnet.devnet.ground import loopback
from testnet.devnet.havoc import Havoc
from testnet.devnet.launch import Devnet, Plan, wait_for
from testnet.scenario.faults import Kill, Pause
from testnet.scenario.model import NodeGroup, Scenario

STAND_IN = (sys.executable, "-m", "tests.testnet.stand_in", "serve")
TWO = Scenario("two", "Two nodes.", (NodeGroup("peer", ("peer",), 2),))
NAMES = ("peer1", "peer2")


@pytest.fixture
def crew(tmp_path):
    with Devnet(tmp_path, executable=STAND_IN) as devnet:
        yield Crew(devnet, [Plan(name, number, ("peer",)) for number, name in enumerate(NAMES)])


def havoc(crew, *faults, seed=1):
    said = []
    return Havoc(replace(TWO, faults=faults), seed, crew, loopback(TWO), said.append), said


def test_a_killed_node_comes_back_and_the_next_blow_waits_for_it(crew):
    crew.launch(NAMES)
    fault = Kill(every_s=(1, 1), down_ms=(500, 500), count_max=2)
    made, said = havoc(crew, fault)
    dice = random.Random("1/kill 0")
    dice.randint(1, 1)
    victim = dice.choice(NAMES)

    made.tick(0.0)
    made.tick(0.9)
    assert not crew.is_down(victim)
    made.tick(1.1)
    assert crew.is_down(victim)
    assert not crew.answers(victim)
    assert crew.ask(victim, "node.status") is None
    crew.check()
    made.tick(1.2)
    assert crew.is_down(victim)
    made.tick(1.7)
    assert not crew.is_down(victim)
    assert crew.starts[victim] == 2
    assert wait_for(lambda: crew.answers(victim), 20)
    assert made.fired == {"kill": 1}
    assert made.times_s == {"kill": [1.1]}
    assert said == [f"{victim} is killed, and started again after 0.5 s"]

    made.tick(2.8)
    made.tick(3.9)
    assert made.fired == {"kill": 2}
    (down,) = [name for name in NAMES if crew.is_down(name)]
    made.heal()
    assert not crew.is_down(down)
    # Once all are about to be ended, nobody is started any more.
    crew.kill(down)
    crew.retire()
    crew.start(down)
    assert crew.is_down(down)


class Immortals:
    """A crew whose nodes are back at once."""

    def __init__(self):
        self.killed, self.started = [], []
        self.kill, self.start = self.killed.append, self.started.append
        self.paused, self.resumed = [], []
        self.pause, self.resume = self.paused.append, self.resumed.append

    def is_down(self, name):
        return False

    def is_paused(self, name):
        return False

    def answers(self, name):
        return True


def test_a_fault_ends_when_it_should():
    crew = Immortals()
    made, _ = havoc(crew, Kill(every_s=(0, 0), down_ms=(60_000, 60_000), until_s=5))
    made.tick(0.0)
    assert (len(crew.killed), crew.started) == (1, [])
    made.tick(5.0)
    made.tick(70.0)
    assert crew.killed == crew.started
    assert made.fired == {"kill": 1}


def test_a_stopped_node_goes_on_when_its_time_is_over():
    crew = Immortals()
    made, said = havoc(crew, Pause(every_s=(1, 1), lasts_ms=(3000, 3000)))
    for second in (0, 1, 2, 3):
        made.tick(second)
    assert (len(crew.paused), crew.resumed) == (1, [])
    made.tick(4)
    assert crew.resumed == crew.paused
    made.tick(5)
    made.heal()
    assert len(crew.paused) == 2
    assert crew.resumed == crew.paused
    assert said[0] == f"{crew.paused[0]} is stopped for 3.0 s"


def planned(seed, count=20):
    """Return whom kills would strike when nobody has to be waited for, and when."""
    crew = Immortals()
    made, _ = havoc(crew, Kill(every_s=(1, 5), count_max=count), seed=seed)
    for tenth in range(count * 100):
        made.tick(tenth / 10)
    return crew.killed, made.times_s["kill"]


def test_one_seed_is_one_plan():
    assert planned(1) == planned(1)
    assert planned(1) != planned(2)
    struck, _ = planned(3)
    assert len(struck) == 20
    assert set(struck) == set(NAMES)
