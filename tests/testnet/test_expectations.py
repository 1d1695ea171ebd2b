"""What a scenario expects of bans and of delivery, held against outcomes made by hand."""

from testnet.expectations import BANNED_S, DELIVERED_MS, judge
from testnet.outcome import Ban, Block, Head, Node, Outcome
from testnet.scenario.adversaries import Flood
from testnet.scenario.model import Expectations, NodeGroup, Scenario

FROM_S = 3
LAST_MS = (FROM_S + BANNED_S) * 1000
NODES = tuple(Node(name, ("peer",), 1, "t") for name in ("peer1", "peer2", "late1"))


def missed(bans=(), seen=None, **expect):
    scenario = Scenario(
        name="s",
        about="s",
        nodes=(
            NodeGroup("peer", ("peer",), 2),
            NodeGroup("late", ("peer",), starts_s=9),
            NodeGroup("bad", ("peer",)),
        ),
        adversaries=(Flood(nodes=("bad",), from_s=FROM_S),),
        expect=Expectations(**expect),
    )
    head = Head("s", "simulator", 1, length_ms=60_000, healed_ms=0, settled_ms=1)
    nodes = (*NODES, Node("bad1", ("peer",), 1, "u", is_honest=False))
    seen = seen or {"peer1": 20_000, "peer2": 20_000}
    block = Block("b", "a", 1, "peer1", "t", 20_000, seen, is_best=True)
    made = Outcome(head, nodes, (block, block), bans=tuple(bans))
    return [e.what for e in judge(scenario, made) if not e.is_met]


def test_everybody_must_ban_in_time():
    good = [Ban(name, "bad1", LAST_MS) for name in ("peer1", "peer2", "late1")]
    what = f"every honest node bans bad1 within {BANNED_S} s"
    assert missed(good, banned=("bad",)) == []
    assert missed(good[1:], banned=("bad",)) == [what]
    assert missed([*good[1:], Ban("peer1", "bad1", LAST_MS + 1)], banned=("bad",)) == [what]
    assert missed([*good[1:], Ban("peer1", "peer2", LAST_MS)], banned=("bad",)) == [what]


def test_blocks_must_reach_those_who_are_there_in_time():
    what = "at least 99 % of blocks reach a node within 6 s"
    in_time, late = 20_000 + DELIVERED_MS, 20_001 + DELIVERED_MS
    assert missed(seen={"peer1": 20_000, "peer2": in_time}, delivery_percent_min=99) == []
    assert missed(seen={"peer1": 20_000, "peer2": late}, delivery_percent_min=99) == [what]
    assert missed(seen={"peer1": 20_000}, delivery_percent_min=99) == [what]
    assert missed(seen={"peer1": 59_000}, delivery_percent_min=99) == [what], "too late to say anything"


def test_a_block_that_a_dishonest_node_kept_back_came_when_it_was_shown():
    kept_back = {"bad1": -5, "peer1": 20_000, "peer2": 20_001}
    assert missed(seen=kept_back) == []
    assert missed(seen={**kept_back, "peer1": -1}) == ["the chain goes on by 2 blocks after healing"]
