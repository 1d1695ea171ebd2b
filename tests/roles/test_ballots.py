"""Target: a ballot ranks by arrival and iteration, nothing else passes, and the count keeps to iterations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import Outpoint, TaskId
from p2pai.roles import ballots
from p2pai.roles.slots import Place, Ranking
from tests.chain.ledger import label

MINERS = tuple(Outpoint(label("miner"), i) for i in range(3))
PLACE = Place(TaskId(label("task")), 3, 1, 200)


@st.composite
def arrivals(draw):
    """Ids in order of arrival, with whose and of which iteration they are."""
    counts = draw(st.tuples(*(st.integers(0, 5) for _ in MINERS)))
    sent = [(m, i) for m, count in zip(MINERS, counts, strict=True) for i in range(count)]
    turns = {label(m.position, i): (m, i) for m, i in sent}
    return tuple(draw(st.permutations(sorted(turns)))), turns


def by_id(turns):
    return [turns[i] for i in sorted(turns)]


@given(arrivals())
def test_a_ballot_of_ours_is_valid(arrived):
    ids, turns = arrived
    order = ballots.rank(ids, by_id(turns))
    ballots.check(order, by_id(turns))
    ranked = [sorted(turns)[p] for p in order]
    for miner in MINERS:
        assert [turns[i][1] for i in ranked if turns[i][0] == miner] == sorted(
            turns[i][1] for i in ids if turns[i][0] == miner
        )
    assert [turns[i][0] for i in ranked] == [turns[i][0] for i in ids], "whose came when is as it was"


@given(arrivals())
def test_what_came_in_order_stays_as_it_came(arrived):
    ids, turns = arrived
    in_order = tuple(sorted(ids, key=lambda i: turns[i][1]))
    order = ballots.rank(in_order, by_id(turns))
    assert tuple(sorted(turns)[p] for p in order) == in_order


@given(arrivals(), st.data())
def test_the_count_keeps_to_the_iterations(arrived, data):
    ids, turns = arrived
    several = [
        ballots.rank(tuple(data.draw(st.permutations(ids))), by_id(turns))
        for _ in range(data.draw(st.integers(1, 5)))
    ]
    rankings = [Ranking(n, order, b"") for n, order in enumerate(several, 1)]
    counted = ballots.count(sorted(turns), rankings)
    assert sorted(counted) == sorted(ids)
    ballots.check(bytes(sorted(turns).index(i) for i in counted), by_id(turns))


@pytest.mark.parametrize(
    "order", [b"", b"\0", b"\0\0\1", b"\0\1", b"\0\1\3", b"\0\1\2\3", bytes(3), b"\2\0\1", b"\1\0\2"]
)
def test_anything_else_is_refused(order):
    turns = [(MINERS[0], 0), (MINERS[1], 7), (MINERS[0], 1)]
    if order == b"\1\0\2":
        ballots.check(order, turns)
    else:
        with pytest.raises(InvalidMessage):
            ballots.check(order, turns)


def test_two_messages_for_one_place_can_not_be_ranked():
    with pytest.raises(InvalidMessage, match="against their iterations"):
        ballots.check(b"\0\1", [(MINERS[0], 4), (MINERS[0], 4)])


def test_what_is_signed_names_everything():
    digests = {
        ballots.digest(PLACE, label("root"), 1, b"\0\1"),
        ballots.digest(Place(PLACE.task, 3, 0, 200), label("root"), 1, b"\0\1"),
        ballots.digest(PLACE, label("other"), 1, b"\0\1"),
        ballots.digest(PLACE, label("root"), 2, b"\0\1"),
        ballots.digest(PLACE, label("root"), 1, b"\1\0"),
    }
    assert len(digests) == 5
