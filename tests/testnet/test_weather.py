"""What troubles do to links: each alone, several at once, and nothing when they are over."""

import random
from collections import Counter

import pytest

from testnet.devnet.deeds import (
    Scene,
    clogs,
    delays,
    disorders,
    duplicates,
    losses,
    of_nodes,
    parted,
    partitions,
    slow_remotes,
)
from testnet.devnet.ground import Ground, links
from testnet.devnet.weather import Trouble, Weather, together
from testnet.devnet.wires import Link
from testnet.scenario.faults import Clog, Delay, Duplicate, Loss, Partition, Reorder, SlowRemote
from testnet.scenario.model import NetworkPlan, NodeGroup, Scenario

WIRES = tuple((a, b) for a in (1, 2, 3) for b in (1, 2, 3) if a != b)
NUMBERS = {"a": 1, "b": 2, "c": 3}


class Told:
    """A laboratory that remembers what it was told last of each wire."""

    def __init__(self):
        self.links, self.cuts = {}, {}

    def shape(self, some, others, link, *, one_way=False):
        assert one_way
        self.links.update({(a, b): link for a in some for b in others})

    def cut(self, some, others, *, one_way=False):
        assert one_way
        self.cuts.update({(a, b): None for a in some for b in others})

    def mend(self, some, others, *, one_way=False):
        assert one_way
        for wire in [(a, b) for a in some for b in others]:
            del self.cuts[wire]


@pytest.fixture
def lab():
    return Told()


@pytest.fixture
def weather(lab):
    return Weather(lab, {wire: Link(delay_ms=10) for wire in WIRES})


def scene(weather, nodes=("a", "b", "c"), seed=1):
    ground = Ground({}, None, weather, NUMBERS)
    return Scene("kind", None, ground, random.Random(seed), nodes, Counter(), lambda _: None)


def test_shares_fall_independently_and_delays_add_up():
    one = Trouble(WIRES, worse=Link(loss=0.5, delay_ms=5, copies=0.1))
    other = Trouble(WIRES, worse=Link(loss=0.5, late_ms=100, rate_bps=1000))
    both = together(Link(delay_ms=10, rate_bps=2000), [one, other])
    assert both.loss == 0.75
    assert (both.delay_ms, both.late_ms, both.rate_bps, both.copies) == (15, 100, 1000, pytest.approx(0.1))
    assert together(Link(delay_ms=10), []) == Link(delay_ms=10)


def test_a_trouble_changes_its_wires_alone_and_leaves_nothing(lab, weather):
    fair = dict(lab.links)
    trouble = Trouble(((1, 2),), worse=Link(loss=0.3))
    weather.begin(trouble)
    assert {wire for wire in WIRES if lab.links[wire] != fair[wire]} == {(1, 2)}
    weather.end(trouble)
    assert lab.links == fair


def test_a_cut_stays_while_one_of_two_partitions_holds(lab, weather):
    one, other = Trouble(((1, 2), (2, 1)), cuts=True), Trouble(((1, 2),), cuts=True)
    weather.begin(one)
    weather.begin(other)
    weather.end(one)
    assert set(lab.cuts) == {(1, 2)}
    weather.end(other)
    assert not lab.cuts


@pytest.mark.parametrize(
    ("shape", "nodes", "cut"),
    [
        ("isolate", ["a"], {(1, 2), (1, 3), (2, 1), (3, 1)}),
        ("one-way", ["a"], {(1, 2), (1, 3)}),
        ("islands", ["a", "b", "c"], set(WIRES)),
    ],
)
def test_shapes_of_partitions(lab, weather, shape, nodes, cut):
    deed = partitions(Partition(shape=shape, islands=3), scene(weather, nodes))
    next(deed)
    assert set(lab.cuts) == cut
    deed.close()
    assert not lab.cuts


def test_halves_are_both_somebody(lab, weather):
    for seed in range(10):
        deed = partitions(Partition(), scene(weather, seed=seed))
        next(deed)
        # One of three is alone: both ways to the two others.
        assert len(lab.cuts) == 4
        deed.close()


def test_a_flapping_partition_comes_and_goes(lab, weather):
    deed = partitions(Partition(lasts_s=(2, 2), pause_s=(7, 7)), scene(weather))
    assert next(deed) == 2
    assert lab.cuts
    assert next(deed) == 7
    assert not lab.cuts
    assert next(deed) == 2
    assert lab.cuts


@pytest.mark.parametrize(
    ("deed", "fault", "field", "value"),
    [
        (losses, Loss(percent=30), "loss", 0.3),
        (duplicates, Duplicate(percent=50), "copies", 0.5),
        (disorders, Reorder(percent=10, late_ms=(0, 700)), "disorder", 0.1),
        (disorders, Reorder(percent=10, late_ms=(0, 700)), "disorder_ms", 700),
        (delays, Delay(late_ms=(300, 300)), "late_ms", 300),
        (slow_remotes, SlowRemote(late_ms=(300, 300)), "late_ms", 300),
        (slow_remotes, SlowRemote(queue=7), "room", 7),
    ],
)
def test_a_fault_is_to_and_from_its_nodes_until_it_is_closed(lab, weather, deed, fault, field, value):
    fair = dict(lab.links)
    under_way = deed(fault, scene(weather, ["b"]))
    assert next(under_way) == float("inf")
    assert {wire for wire in WIRES if lab.links[wire] != fair[wire]} == {wire for wire in WIRES if 2 in wire}
    assert getattr(lab.links[1, 2], field) == pytest.approx(value)
    under_way.close()
    assert lab.links == fair


def test_each_way_is_late_by_a_time_of_its_own(lab, weather):
    deed = delays(Delay(late_ms=(1, 1_000_000)), scene(weather))
    next(deed)
    assert len({link.late_ms for link in lab.links.values()}) == len(WIRES)


def test_ways_are_clogged_and_mended_one_by_one(lab, weather):
    fair = dict(lab.links)
    deed = clogs(Clog(percent=50, queue=5, every_ms=(100, 100)), scene(weather))
    counts = []
    for _ in range(7):
        assert next(deed) == 0.1
        counts.append(sum(lab.links[wire] != fair[wire] for wire in WIRES))
    assert counts == [1, 2, 3, 2, 1, 0, 1]
    deed.close()
    assert lab.links == fair


def test_a_flapping_partition_flaps_by_itself(lab, weather):
    deed = partitions(Partition(shape="flapping", pause_s=(7, 7)), scene(weather))
    assert 1 <= next(deed) <= 10
    assert lab.cuts
    assert next(deed) == 7
    assert not lab.cuts


def test_wires_between_sides():
    assert parted([1, 2], lambda number: number == 1) == ((1, 2), (2, 1))
    assert parted([1, 2, 3], lambda number: number == 1, one_way_from=True) == ((1, 2), (1, 3))
    assert len(of_nodes(scene(None))) == 6


def test_links_are_those_of_the_plan():
    plan = NetworkPlan(latency_ms=(10, 30), regions={"north": {"south": 100}, "south": {}})
    groups = (NodeGroup("here", ("peer",), 2, region="north"), NodeGroup("there", ("peer",), region="south"))
    made = links(Scenario("apart", "Far.", groups, network=plan))
    assert made[1, 2] == Link(delay_ms=20, jitter_ms=10)
    assert made[1, 3] == made[3, 1] == Link(delay_ms=120, jitter_ms=10)
