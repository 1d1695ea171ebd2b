"""How `p2pai status` says whether others reach the node, and what its clock is worth."""

import pytest

from p2pai.cli.status import clock, fetch, mining, reach, remotes
from tests.cli.answers import ANSWERS

NETWORK = ANSWERS["node.network"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "yes, at /ip4/203.0.113.7/tcp/4001; 2 of 3 remotes reached this node"),
        ({"reach": "unreachable", "reached_by": 0}, "no, 3 of 3 remotes could not; p2pai doctor"),
        (
            {"reach": "unknown", "reached_by": 1, "tried_by": 2},
            "1 of 2 remotes reached this node,",
        ),
        ({"reach": "unknown", "reached_by": 0, "tried_by": 0}, "not known yet"),
    ],
)
def test_reach_is_said_in_words(changed, said):
    assert reach({**NETWORK, **changed}).startswith(said)


def test_the_clock_is_compared_with_the_others():
    assert clock(NETWORK) == "1.500 s ahead of the others' (middle of 3), give or take 0.020 s"
    assert clock({**NETWORK, "clock_ahead_ms": 250}).startswith("0.250 s behind the others'")
    assert clock({**NETWORK, "clock_ahead_ms": None}).startswith("not known yet")


def test_a_running_node_shows_its_network(p2pai, node):
    status, out, _ = p2pai("status")
    assert status == 0
    assert "2 of 3 remotes reached this node" in out
    assert "abababababababab, 3 of 8 chunks, from 2 remotes" in out


def test_a_fetch_is_said_in_words():
    under_way, sought = ANSWERS["node.fetches"]
    assert fetch({**under_way, "sources": 1}).endswith("3 of 8 chunks, from 1 remote")
    assert fetch(sought) == "cdcdcdcdcdcdcdcd, nobody found yet who has it"


def test_who_is_there():
    assert remotes(NETWORK) == "8: 5 dialled, 3 dialled us; 40 addresses are known"
    alone = {**NETWORK, "inbound": 0, "outbound": 0, "alone": True}
    assert "works alone, and goes on trying" in remotes(alone)


def test_what_became_of_nonces_is_said_in_words():
    tally = ANSWERS["node.status"]["mining"]
    said = (
        "40 iterations: 75 % tried, 20 % stale, 0 % not certified in time; 3 blocks found, 2 sent, 1 too late"
    )
    assert mining(tally) == said
    assert mining(dict.fromkeys(tally, 0)) == "no iteration yet"
