"""Scenario files: what ships can be read, and each mistake is one sentence that names file and key."""

import os
import tomllib
from dataclasses import fields, replace
from pathlib import Path

import pytest

from p2pai.chain.genesis import genesis_state
from p2pai.primitives.errors import InvalidInput
from testnet.scenario import faults, shelf
from testnet.scenario.cast import players, scaled, select, shares
from testnet.scenario.chain import chain_of, chain_text
from testnet.scenario.model import Expectations, NetworkPlan, NodeGroup, Scenario, TaskPlan
from testnet.scenario.orders import order_of
from testnet.scenario.reading import read

GOOD = """
name = "small"
about = "Nothing."

[[nodes]]
name = "supervisor"
roles = ["supervisor", "verifier", "evaluator"]
count = 3

[[nodes]]
name = "miner"
roles = ["miner"]
count = 3
scales = true

[[nodes]]
name = "client"
roles = ["client"]

[[tasks]]
at_s = 1

[[faults]]
kind = "kill"
nodes = ["miner", "client1"]
every_s = [2, 4]

[expect]
tasks = ["paid", "failed"]
"""

MISTAKES = {
    ("name", "'"): "not TOML",
    ("[expect]", "[expects]"): "there is no key expects; did you mean expect?",
    ("at_s = 1", "epoch = 1"): "there is no key tasks[1].epoch; did you mean epochs?",
    ("at_s = 1", "at_s = '1'"): "tasks[1].at_s must be an integer from 0 to 1000000000, not '1'",
    ("at_s = 1", "at_s = true"): "tasks[1].at_s must be an integer from 0 to 1000000000, not true",
    ("at_s = 1", "epochs = 0"): "tasks[1].epochs must be an integer from 1 to 1000, not 0",
    ("at_s = 1", "at_s = 600"): "tasks[1].at_s is 600, but the history ends at limit_s, 600",
    ("at_s = 1", "client = 'miner1'"): "tasks[1].client is 'miner1', which is no client",
    ("at_s = 1", "fee_coins = 1000\n[[tasks]]\n" * 100): "the tasks of client1 cost",
    ('kind = "kill"', ""): "faults[1].kind is missing",
    ('"kill"', '"kil"'): "faults[1].kind is 'kil', not one of kill,",
    ('"kill"', "3"): "faults[1].kind is 3, not one of kill,",
    ("[2, 4]", "[4, 2]"): "faults[1].every_s must have the least first, not [4, 2]",
    ("[2, 4]", "[2]"): "faults[1].every_s must have 2 values, least and most, not 1",
    ("[2, 4]", "2"): "faults[1].every_s must be a list, not 2",
    ("every_s = [2, 4]", "from_s = 9\nuntil_s = 9"): "faults[1].until_s must be after its from_s, 9",
    ('"client1"', '"cleint1"'): "faults[1].nodes has 'cleint1', which is no node and no group; did you mean",
    ('name = "miner"', 'name = "supervisor"'): "two groups of nodes are called supervisor",
    ('name = "miner"', 'name = "a/b"'): "a group of nodes is called 'a/b'",
    ('name = "miner"', 'name = "miner1"'): "a group of nodes is called 'miner1'",
    ('["client"]', '["cleint"]'): "nodes[3].roles has an unknown role 'cleint'; did you mean client?",
    ('"small"', '"../small"'): "name is '../small'",
    ('about = "Nothing."', ""): "about is missing",
    ('"Nothing."', '"a\\nb"'): "about must be one sentence in one line",
    ("count = 3", "count = 1001"): "nodes[1].count must be an integer from 1 to 1000, not 1001",
    ("count = 3", "count = 998"): "the scenario has 1997 nodes; at most 1000 fit",
    ("count = 3", "count = 2"): "2 nodes have the role supervisor",
    ('["miner"]', "[]"): "no node has the role miner",
    ("scales = true", "scales = 1"): "nodes[2].scales must be true or false, not 1",
    ("scales = true", "region = 'moon'"): "nodes[2].region is 'moon', which is no region",
    ('"failed"', '"fails"'): "expect.tasks[2] is 'fails', not one of paid, failed",
    ("[expect]", "[chain]\nspacing = 3\n[expect]"): "there is no chain parameter spacing",
    (
        "[expect]",
        "[chain]\nspacing_s = 0\n[expect]",
    ): "parameter 'spacing_s' must be positive",
    ("[expect]", "[network]\ngossip = 'mash'\n[expect]"): "network.gossip is 'mash', not one of direct, mesh",
    ("[expect]", "[network.regions]\neu = {us = 80}\n[expect]"): "network.regions.eu has 'us', which is no",
    (GOOD, "x = " + "[" * 5000): "nested too deeply",
    (GOOD, "nodes = 3"): "nodes must be a list, not 3",
    (GOOD, "nodes = [3]"): "nodes[1] must be a table, not 3",
}
"""What is replaced by what, and a part of the sentence that must come."""


def small() -> Scenario:
    return read(GOOD, "small.toml")


def test_a_file_becomes_what_it_says():
    scenario = small()
    assert scenario.nodes[1] == NodeGroup("miner", ("miner",), 3, scales=True)
    assert scenario.faults == (faults.Kill(nodes=("miner", "client1"), every_s=(2, 4)),)
    assert scenario.expect.tasks == ("paid", "failed")
    assert [task.at_s for task in scenario.tasks] == [1]


@pytest.mark.parametrize(("change", "sentence"), MISTAKES.items(), ids=range(len(MISTAKES)))
def test_each_mistake_is_one_sentence_with_file_and_key(change, sentence):
    text = GOOD.replace(*change)
    assert text != GOOD
    with pytest.raises(InvalidInput) as caught:
        read(text, "small.toml")
    assert str(caught.value).startswith("small.toml"), caught.value
    assert sentence in str(caught.value), caught.value
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", shelf.shipped())
def test_what_ships_can_be_read_and_is_called_as_its_file(name):
    assert shelf.load(name).name == name


def test_a_file_is_loaded_by_its_path(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(GOOD)
    assert shelf.load(str(path)) == small()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\xff", "is not in UTF-8"),
        (b"#" * (shelf.FILE_BYTES_MAX + 1), "is larger than 256 KiB"),
        (None, "there is no scenario"),
    ],
)
def test_a_file_that_is_no_text_is_refused(tmp_path, data, sentence):
    path = tmp_path / "bad.toml"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InvalidInput, match=sentence):
        shelf.load(str(path))


def test_what_is_no_file_is_no_scenario(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for name, sentence in ((tmp_path, "is a directory"), (pipe, "is a named pipe"), ("", "name is empty")):
        with pytest.raises(InvalidInput, match=sentence):
            shelf.load(str(name))


def test_data_lie_where_the_scenario_lies(tmp_path, monkeypatch):
    (tmp_path / "here.npz").write_bytes(b"PK")
    file = tmp_path / "small.toml"
    file.write_text(GOOD.replace("at_s = 1", 'data = "here.npz"'))
    monkeypatch.chdir("/")
    assert shelf.load(str(file)).tasks[0].data == str(tmp_path / "here.npz")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ("/nowhere.npz", "there is no file /nowhere.npz"),
        ("nowhere.npz", "but there is no file /"),
        ("/tmp", "/tmp is a directory, not a file"),
        ("", "is a directory, not a file"),
        ("package:digit.npz", "no such file ships with p2pai"),
        ("package:../py.typed", "no such file ships with p2pai"),
        ("a\\u0000b", "no file can have this name"),
    ],
)
def test_data_that_cannot_be_read_are_one_sentence_with_file_and_key(tmp_path, data, sentence):
    file = tmp_path / "small.toml"
    file.write_text(GOOD.replace("at_s = 1", f'data = "{data}"'))
    with pytest.raises(InvalidInput) as caught:
        shelf.load(str(file))
    assert str(caught.value).startswith(f"{file}: tasks[1].data is ")
    assert sentence in str(caught.value)


def test_nodes_are_numbered_in_their_groups():
    names = [player.name for player in players(small())]
    assert names == [*(f"supervisor{i}" for i in (1, 2, 3)), *(f"miner{i}" for i in (1, 2, 3)), "client1"]
    assert [player.account for player in players(small())] == list(range(7))


def test_a_selector_means_a_node_a_group_or_all():
    assert select(small(), ("client1", "miner")) == ("miner1", "miner2", "miner3", "client1")
    assert len(select(small(), ("any",))) == 7
    assert select(small(), ()) == ()


def test_only_groups_that_scale_grow():
    grown = scaled(small(), 12)
    assert [group.count for group in grown.nodes] == [3, 8, 1]
    assert [group.count for group in scaled(small(), 5).nodes] == [3, 1, 1]
    with pytest.raises(InvalidInput, match="can have 5 to 1000 nodes, not 4"):
        scaled(small(), 4)
    fixed = replace(small(), nodes=tuple(replace(group, scales=False) for group in small().nodes))
    with pytest.raises(InvalidInput, match="no group"):
        scaled(fixed, 12)


def test_shares_sum_to_the_total():
    assert shares(10, [1, 1, 1]) == [4, 3, 3]
    assert shares(70, [10, 60]) == [11, 59]
    assert all(sum(shares(total, [5, 1, 3])) == total for total in range(3, 50))


def test_every_scenario_has_a_chain_of_its_own():
    chain = chain_of(small())
    assert chain.dev_accounts == 7
    assert len(chain.allocations) == 7
    assert chain.id != chain_of(scaled(small(), 8)).id
    task = next(iter(genesis_state(chain).tasks.values()))
    assert (len(task.supervisors), len(task.miners)) == (3, 3)
    assert tomllib.loads(chain_text(small()))["name"] == "small"


def test_a_chain_of_300_nodes_has_a_small_first_group():
    chain = chain_of(scaled(small(), 300))
    task = next(iter(genesis_state(chain).tasks.values()))
    assert (len(task.supervisors), len(task.miners)) == (3, 9)
    assert sum(bootstrap.ticket.role == "miner" for bootstrap in chain.tickets) == 296 + 9


@pytest.mark.parametrize("cls", [Scenario, NodeGroup, NetworkPlan, TaskPlan, Expectations])
def test_the_manual_names_every_key(cls):
    manual = (Path(__file__).parents[2] / "docs" / "SIMULATOR.md").read_text()
    missing = [f.name for f in fields(cls) if f"`{f.name}`" not in manual and f"[{f.name}]" not in manual]
    assert not missing


def test_a_task_that_no_chain_takes_is_refused_before_anything_runs():
    scenario = small()
    plan = replace(scenario.tasks[0], miners=12, supervisors=4)
    with pytest.raises(InvalidInput, match="task 1 would be refused, task definition: too many supervisors"):
        order_of(plan, chain_of(scenario))
    assert order_of(replace(plan, miners=16), chain_of(scenario))
