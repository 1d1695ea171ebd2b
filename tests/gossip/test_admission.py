"""Inbound connections are bounded in all and per network, and outbound ones keep their slots."""

from hypothesis import given
from hypothesis import strategies as st

from p2pai.gossip.admission import Admission, Entry, Limits, Refusal, group_of
from p2pai.gossip.buckets import Rate

QUICK = Limits(
    rate=Rate(10_000, 10_000), group_rate=Rate(10_000, 10_000), half_made=1000, half_made_per_group=1000
)


def test_networks() -> None:
    assert group_of("8.8.8.8") == group_of("8.8.8.200") == "8.8.8.0/24"
    assert group_of("::ffff:8.8.8.8") == "8.8.8.0/24"
    assert group_of("2001:4860:4860::8888") == "2001:4860:4860::/48"
    assert group_of("127.0.0.1") is group_of("10.1.2.3") is group_of("fe80::1%eth0") is None
    assert group_of("127.0.0.1", local_is_exempt=False) == "127.0.0.0/24"
    assert group_of("no address") is None


def test_one_network_gets_no_more_than_its_part() -> None:
    admission = Admission(QUICK, 0)
    taken = [admission.arrive(f"8.8.8.{number}", 0) for number in range(20)]
    assert [isinstance(one, Entry) for one in taken] == [True] * 8 + [False] * 12
    assert taken[-1] is Refusal.CROWDED
    assert isinstance(admission.arrive("8.8.9.1", 0), Entry)
    assert isinstance(taken[0], Entry)
    admission.depart(taken[0])
    assert isinstance(admission.arrive("8.8.8.99", 0), Entry)


def test_inbound_connections_leave_slots_for_our_own() -> None:
    admission = Admission(QUICK, 0)
    taken = [admission.arrive("127.0.0.1", 0) for _ in range(100)]
    assert sum(isinstance(one, Entry) for one in taken) == QUICK.inbound < QUICK.connections
    assert taken[-1] is Refusal.FULL


def test_half_made_connections_are_few() -> None:
    admission = Admission(Limits(), 0)
    taken = [admission.arrive("127.0.0.1", 0) for _ in range(30)]
    entries = [one for one in taken if isinstance(one, Entry)]
    assert len(entries) == Limits().half_made
    assert taken[-1] is Refusal.HALF_MADE
    admission.settle(entries[0])
    admission.settle(entries[0])
    assert isinstance(admission.arrive("127.0.0.1", 0), Entry)
    assert [isinstance(admission.arrive("8.8.8.8", 1000), Entry) for _ in range(5)] == [False] * 5


def test_half_made_connections_of_one_network_are_fewer() -> None:
    admission = Admission(Limits(), 0)
    taken = [admission.arrive("8.8.8.8", 0) for _ in range(6)]
    assert [isinstance(one, Entry) for one in taken] == [True] * 4 + [False] * 2


def test_haste_is_refused_per_network_and_in_all() -> None:
    admission = Admission(Limits(half_made_per_group=1000, half_made=1000), 0)

    def come_and_go(address: str, now_ms: int) -> bool:
        entry = admission.arrive(address, now_ms)
        if isinstance(entry, Entry):
            admission.depart(entry)
        return isinstance(entry, Entry)

    assert sum(come_and_go("8.8.8.8", 0) for _ in range(100)) == Limits().group_rate.burst
    assert come_and_go("9.9.9.9", 0)
    assert sum(come_and_go("127.0.0.1", 0) for _ in range(1000)) == Limits().rate.burst - 13
    assert sum(come_and_go("127.0.0.1", 1000) for _ in range(1000)) == Limits().rate.per_s


def test_a_ban_costs_its_network_new_connections_for_a_minute() -> None:
    admission = Admission(Limits(), 0)
    banned, local = admission.arrive("8.8.8.8", 0), admission.arrive("127.0.0.1", 0)
    assert isinstance(banned, Entry)
    assert isinstance(local, Entry)
    admission.charge(banned, 0)
    admission.charge(local, 0)
    assert admission.arrive("8.8.8.9", 50_000) is Refusal.HASTY
    assert isinstance(admission.arrive("8.8.9.8", 50_000), Entry)
    assert isinstance(admission.arrive("127.0.0.1", 50_000), Entry)
    assert isinstance(admission.arrive("8.8.8.9", 60_000), Entry)


@given(st.lists(st.tuples(st.sampled_from(("come", "settle", "go")), st.integers(0, 7)), max_size=200))
def test_counts_are_exact(steps: list[tuple[str, int]]) -> None:
    admission, here = Admission(QUICK, 0), []
    for what, number in steps:
        if what == "come":
            entry = admission.arrive(f"8.8.{number}.1", 0)
            if isinstance(entry, Entry):
                here.append(entry)
        elif here and what == "settle":
            admission.settle(here[number % len(here)])
        elif here:
            admission.depart(here.pop(number % len(here)))
        assert admission.inbound == len(here) == sum(admission._established.values())
        assert admission.half_made == sum(entry.is_half_made for entry in here)
    for entry in here:
        admission.depart(entry)
    assert admission._established == admission._half_made == {}
