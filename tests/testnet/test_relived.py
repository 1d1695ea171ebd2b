"""A network told by its recordings gives what whoever watched it live saw."""

from dataclasses import replace

import pytest

from p2pai.primitives.errors import InvalidInput
from testnet.devnet.performance import Course
from testnet.devnet.relived import Past
from testnet.devnet.telling import crash, relive, told, witnesses
from testnet.scenario.chain import chain_of
from testnet.scenario.faults import Kill
from testnet.scenario.model import Expectations, NodeGroup, Scenario
from testnet.simulator.recordings import Recordings
from testnet.simulator.simulation import Options, simulate
from testnet.simulator.world import START_MS

KILLED = Scenario(
    "killed",
    "One is killed.",
    (
        NodeGroup("supervisor", ("supervisor", "verifier", "evaluator"), 3),
        NodeGroup("miner", ("miner",), 2),
    ),
    heal_s=4,
    faults=(Kill(every_s=(1, 2), count_max=1),),
    expect=Expectations(tasks=()),
)


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A simulated history with kills, and where its recordings lie."""
    directory = tmp_path_factory.mktemp("recorded")
    with Recordings(directory) as recordings:
        outcome = simulate(KILLED, 3, Options(recordings=recordings))
    assert outcome.is_passed, outcome.verdict
    return directory, outcome, relive(KILLED, course(outcome), directory)


def course(outcome, **changes):
    """Return what a run like that one is like from outside."""
    statuses = {
        node.name: {"height": node.height, "tip": node.tip, "state_digest": "d"} for node in outcome.nodes
    }
    made = Course(
        began_us=START_MS * 1000,
        length_ms=outcome.head.length_ms,
        healed_ms=outcome.head.healed_ms,
        settled_ms=outcome.head.settled_ms,
        statuses=statuses,
        supplies=dict.fromkeys(statuses, True),
        starts={node.name: node.starts for node in outcome.nodes},
        fired={fired.kind: fired.count for fired in outcome.fired},
        times_ms={},
        failure="",
    )
    return replace(made, **changes)


def test_recordings_tell_what_a_watcher_saw(live):
    _, seen, relived = live
    again = told(KILLED, 3, course(seen), relived, "command")
    assert again.is_passed, again.verdict
    assert again.blocks == seen.blocks
    assert again.nodes == seen.nodes
    assert again.coins == seen.coins
    assert again.tasks == seen.tasks
    assert again.reorganisations == seen.reorganisations
    assert [t for t in again.traffic if t.name != "blob"] == [t for t in seen.traffic if t.name != "blob"]
    assert again.head.runner == "processes"
    assert again.head.steps == seen.head.steps
    assert type(again).from_json(again.to_json()) == again


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({"supplies": {"miner1": False}}, "every node can account for every coin"),
        ({"settled_ms": None}, "all honest nodes are on one tip"),
        ({"fired": {}}, "kill happens at least once"),
    ],
)
def test_what_nodes_say_in_the_end_counts(live, changes, missed):
    _, seen, relived = live
    again = told(KILLED, 3, course(seen, **changes), relived, "command")
    assert not again.is_passed
    assert next(e.what for e in again.expectations if not e.is_met).startswith(missed)
    assert again.last_events


def test_a_node_that_ended_by_itself_is_a_failure(live):
    _, seen, relived = live
    failed = course(seen, failure="node miner1 ended with status 1")
    crashed = replace(relived, broken=crash(None, failed))
    again = told(KILLED, 3, failed, crashed, "command")
    assert again.verdict == "Failed: crash was broken: node miner1 ended with status 1"


def test_keys_of_others_are_refused(live):
    directory = live[0]
    wrong = {name: replace(w, account=w.account + 1) for name, w in witnesses(KILLED, directory).items()}
    del wrong["miner2"]
    with pytest.raises(InvalidInput, match="not the keys"):
        Past(chain_of(KILLED), wrong).live(2**62)
