"""When packets arrive, and which never do."""

import pytest

from testnet.devnet.wires import QUEUE_S_MAX, Link, Wires

THERE, BACK, ASIDE = (1, 2), (2, 1), (1, 3)


def arrival(wires, wire, size, now_s):
    """Return when a packet arrives that is not copied; None if never."""
    arrives = wires.send(wire, size, now_s)
    assert len(arrives) <= 1
    return arrives[0] if arrives else None


def test_a_bare_wire_takes_no_time():
    assert arrival(Wires(Link()), THERE, 1000, 5.0) == 5.0


def test_a_delay_is_added():
    assert arrival(Wires(Link(delay_ms=25)), THERE, 1000, 5.0) == pytest.approx(5.025)


def test_one_direction_can_be_shaped_alone():
    wires = Wires(Link(delay_ms=1))
    wires.shape(THERE, Link(delay_ms=50))
    assert arrival(wires, THERE, 1, 0.0) == pytest.approx(0.050)
    assert arrival(wires, BACK, 1, 0.0) == pytest.approx(0.001)


def test_jitter_spreads_but_keeps_the_order():
    wires = Wires(Link(delay_ms=20, jitter_ms=10), seed=1)
    arrivals = [arrival(wires, THERE, 100, i / 1000) - i / 1000 for i in range(500)]
    assert min(arrivals) >= 0.010
    assert max(arrivals) <= 0.040
    assert max(arrivals) - min(arrivals) > 0.010
    times = [i / 1000 + arrival for i, arrival in enumerate(arrivals)]
    assert times == sorted(times)


def test_so_many_are_lost_as_the_link_says():
    wires = Wires(Link(loss=0.1), seed=2)
    lost = sum(arrival(wires, THERE, 100, 0.0) is None for _ in range(10_000))
    assert 900 < lost < 1100
    assert wires.counts["lost"] == lost
    assert wires.counts["sent"] == 10_000 - lost


def test_the_same_seed_loses_the_same_packets():
    one, other = Wires(Link(loss=0.5), seed=3), Wires(Link(loss=0.5), seed=3)
    assert [arrival(one, THERE, 1, 0.0) for _ in range(100)] == [
        arrival(other, THERE, 1, 0.0) for _ in range(100)
    ]


def test_a_narrow_wire_passes_its_rate_and_drops_what_its_queue_cannot_hold():
    wires = Wires(Link(rate_bps=8_000_000))
    arrivals = [arrival(wires, THERE, 1000, 0.0) for _ in range(1000)]
    assert arrivals[:3] == pytest.approx([0.001, 0.002, 0.003])
    through = [arrival for arrival in arrivals if arrival is not None]
    assert through[-1] == pytest.approx(QUEUE_S_MAX, abs=0.002)
    assert wires.counts["queue_full"] == 1000 - len(through)
    assert arrival(wires, BACK, 1000, 0.0) == pytest.approx(0.001)


def test_a_cut_lets_nothing_through_until_it_heals():
    wires = Wires(Link())
    wires.cut(THERE)
    assert arrival(wires, THERE, 1, 0.0) is None
    assert arrival(wires, BACK, 1, 0.0) == 0.0
    wires.heal()
    assert arrival(wires, THERE, 1, 1.0) == 1.0
    assert wires.counts["cut"] == 1


def test_one_of_several_cuts_is_mended():
    wires = Wires(Link())
    wires.cut(THERE)
    wires.cut(BACK)
    wires.mend(THERE)
    assert arrival(wires, THERE, 1, 0.0) == 0.0
    assert arrival(wires, BACK, 1, 0.0) is None


def test_all_wires_of_a_node_share_a_narrow_way_out():
    wires = Wires(Link())
    wires.narrow(1, 8_000_000)
    assert [arrival(wires, THERE, 1000, 0.0), arrival(wires, ASIDE, 1000, 0.0)] == pytest.approx(
        [0.001, 0.002]
    )
    assert arrival(wires, BACK, 1000, 0.0) == 0.0
    wires.narrow(1, 0)
    assert arrival(wires, THERE, 1000, 1.0) == 1.0


def test_so_many_arrive_twice_as_the_link_says():
    wires = Wires(Link(delay_ms=5, copies=0.3), seed=4)
    arrivals = [wires.send(THERE, 100, 0.0) for _ in range(1000)]
    twice = [found for found in arrivals if len(found) == 2]
    assert 240 < len(twice) == wires.counts["copied"] < 360
    assert all(found == (0.005,) * len(found) for found in arrivals)


def test_a_disordered_packet_is_overtaken():
    wires = Wires(Link(disorder=0.2), seed=5)
    arrivals = [arrival(wires, THERE, 100, i / 1000) for i in range(1000)]
    late = [a for i, a in enumerate(arrivals) if a > i / 1000]
    assert 140 < len(late) == wires.counts["disordered"] < 260
    assert arrivals != sorted(arrivals)


def test_a_wire_with_little_room_loses_what_does_not_fit():
    wires = Wires(Link(delay_ms=100, room=2))
    arrivals = [arrival(wires, THERE, 1, at_s) for at_s in (0.0, 0.01, 0.02, 0.105, 0.106)]
    assert arrivals == pytest.approx([0.1, 0.11, None, 0.205, None])
    assert wires.counts["no_room"] == 2
    assert arrival(wires, BACK, 1, 0.106) == pytest.approx(0.206)


def test_what_is_late_is_counted():
    wires = Wires(Link(delay_ms=10))
    assert arrival(wires, THERE, 1, 0.0) == pytest.approx(0.010)
    wires.shape(THERE, Link(delay_ms=10, late_ms=500))
    assert arrival(wires, THERE, 1, 1.0) == pytest.approx(1.510)
    assert wires.counts["late"] == 1


@pytest.mark.parametrize(
    "fields",
    [{"delay_ms": -1}, {"loss": 1.5}, {"rate_bps": -8}, {"copies": 2}, {"disorder": -0.1}, {"late_ms": -1}],
)
def test_there_are_no_impossible_links(fields):
    with pytest.raises(ValueError, match="no link"):
        Link(**fields)
