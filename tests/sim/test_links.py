"""What messages go through: latency, regions, bandwidth, and what each trouble does to gossip and streams."""

import random
from collections import Counter

from p2pai.primitives.ids import PeerId
from testnet.scenario.model import NetworkPlan
from testnet.simulator.links import OUTBOX_BYTES_MAX, RESEND_MS, Links, Trouble

A, B, C = PeerId("a"), PeerId("b"), PeerId("c")
START_MS = 1_000


class Bench:
    """Links with a clock that the test moves."""

    def __init__(self, *troubles, **plan):
        self.now_ms, self.fired = START_MS, Counter()
        self.links = Links(random.Random(1), self.fired, NetworkPlan(**plan), lambda: self.now_ms)
        for trouble in troubles:
            self.links.add(trouble)

    def gossip(self, count=1_000, source=A, target=B, size=100):
        return [delay for _ in range(count) for delay in self.links.gossip(source, target, size)]

    def streams(self, count=1_000):
        return [self.links.stream(A, B, 100) for _ in range(count)]


def everywhere(kind="k", **what):
    return Trouble(kind, lambda *_: True, **what)


def test_latency_is_between_its_bounds():
    assert set(Bench(latency_ms=(5, 9)).gossip()) == {5, 6, 7, 8, 9}


def test_regions_are_further_apart_in_both_directions():
    bench = Bench(latency_ms=(5, 9), regions={"x": {"y": 100}})
    bench.links.place(A, "x")
    bench.links.place(B, "y")
    bench.links.place(C, "x")
    assert set(bench.gossip()) == set(bench.gossip(source=B, target=A)) == set(range(105, 110))
    assert set(bench.gossip(target=C)) == set(range(5, 10))


def test_bandwidth_is_a_queue_at_the_way_out():
    bench = Bench(latency_ms=(10, 10), upload_kib_s=100)
    assert bench.gossip(3, size=102_400) == [1010, 2010, 3010]
    assert bench.links.stream(A, C, 51_200) == 3510
    assert bench.gossip(1, source=B, target=A, size=102_400) == [1010]
    bench.now_ms += 3_500
    assert bench.gossip(1, size=102_400) == [1010]


def test_a_full_way_out_takes_no_more_gossip_and_holds_what_it_has():
    bench = Bench(upload_kib_s=1)
    size = 1 << 20
    assert len(bench.gossip(10, size=size)) == OUTBOX_BYTES_MAX // size
    assert bench.fired["full-outbox"] == 6
    bench.now_ms += size
    assert len(bench.gossip(10, size=size)) == 1


def test_loss_takes_gossip_and_makes_streams_late():
    bench = Bench(everywhere("loss", loss_percent=30))
    heard = bench.gossip()
    assert 650 < len(heard) < 750
    assert bench.fired["loss"] == 1_000 - len(heard)
    streams = bench.streams()
    assert streams.count(None) < 5  # six times lost, one in 1,372
    assert 250 < sum(delay > RESEND_MS for delay in streams if delay is not None) < 350


def test_two_losses_add_up():
    bench = Bench(everywhere(loss_percent=50), everywhere("other", loss_percent=50))
    assert 200 < len(bench.gossip()) < 300
    assert bench.fired["other"] > 200


def test_copies():
    bench = Bench(everywhere("duplicate", copy_percent=50))
    assert 1_450 < len(bench.gossip()) < 1_550
    assert None not in bench.streams()
    assert len(bench.streams()) == 1_000


def test_some_are_late():
    bench = Bench(everywhere("reorder", late_percent=20, late_ms=(1_000, 2_000)))
    heard = bench.gossip()
    assert 150 < sum(delay >= 1_000 for delay in heard) < 250
    assert 150 < sum(delay >= 1_000 for delay in bench.streams()) < 250
    assert max(heard) <= 2_040


def test_a_short_queue_keeps_what_it_holds_and_takes_no_more():
    bench = Bench(everywhere("clog", late_percent=100, late_ms=(5_000, 5_000), queue=3))
    assert len(bench.gossip(10)) == 3
    assert bench.fired["full-queue"] == 7
    assert len(bench.gossip(1, source=B, target=A)) == 1
    bench.now_ms += 5_100
    assert len(bench.gossip(10)) == 3


def test_a_cut_may_have_a_direction():
    cut = Trouble("cut", lambda source, target: source == A, cuts=True)
    bench = Bench(cut)
    assert bench.gossip() == []
    assert bench.links.stream(A, B, 1) is None
    assert len(bench.gossip(source=B, target=A)) == 1_000
    assert bench.links.are_apart(A, B)
    assert not bench.links.are_apart(B, A)
    assert bench.fired["cut"] == 1_001
    bench.links.remove(cut)
    assert len(bench.gossip()) == 1_000
