"""`p2pai testnet up` refuses what it can't do before it starts anything; what it does is tried for real in
tests/functional/test_testnet.py."""

import pytest

from testnet.devnet import abilities, netlab

SCENARIO = """
name = "small"
about = "Small."
limit_s = 60
{more}
[[nodes]]
name = "supervisor"
roles = ["supervisor", "verifier", "evaluator"]
count = 3

[[nodes]]
name = "miner"
roles = ["miner"]
"""
LOSS = '[[faults]]\nkind = "loss"\n'
LIAR = '[[adversaries]]\nkind = "approves-all"\nnodes = ["supervisor1"]\n'


@pytest.fixture
def file(tmp_path):
    def write(more=""):
        path = tmp_path / "small.toml"
        path.write_text(SCENARIO.format(more="") + more)
        return str(path)

    return write


def refused(p2pai, tmp_path, *options):
    status, printed, errors = p2pai("testnet", "up", "--directory", str(tmp_path / "run"), *options)
    assert (status, printed) == (1, "")
    assert errors.count("\n") == 1
    return errors


@pytest.mark.parametrize("option", [("--keep",), ("--nodes", "5"), ("--namespaces",), ("--json",)])
def test_what_goes_with_a_scenario_needs_one(p2pai, tmp_path, option):
    assert "go with --scenario" in refused(p2pai, tmp_path, *option)


def test_an_unknown_scenario_is_refused(p2pai, tmp_path):
    assert "there is no scenario calmer" in refused(p2pai, tmp_path, "--scenario", "calmer")


def test_adversaries_are_left_to_the_simulator(p2pai, tmp_path, file):
    said = refused(p2pai, tmp_path, "--scenario", file(LIAR))
    assert "small has adversaries of the kind approves-all, which only the simulator can do" in said


def test_faults_of_the_network_need_root(p2pai, tmp_path, file, monkeypatch):
    monkeypatch.setattr(netlab.os, "geteuid", lambda: 1000)
    said = refused(p2pai, tmp_path, "--scenario", file(LOSS))
    assert "small has faults of the kind loss: a network laboratory needs root" in said


def test_more_nodes_than_memory_are_refused(p2pai, tmp_path, file, monkeypatch):
    monkeypatch.setattr(abilities, "memory_free_mib", lambda: 1000)
    assert "4 nodes need about" in refused(p2pai, tmp_path, "--scenario", file())
    assert "8 nodes need about" in refused(p2pai, tmp_path)


def test_a_directory_of_somebody_else_is_left_alone(p2pai, tmp_path, file):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    assert "was not made by a test network" in refused(p2pai, tmp_path, "--scenario", file())
    assert (tmp_path / "run" / "thesis.txt").read_text() == "mine"
