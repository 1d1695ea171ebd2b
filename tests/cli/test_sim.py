"""`p2pai sim`: what is run, what is said of it, and what is refused."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import pytest

from testnet.outcome import Outcome
from testnet.scenario import shelf
from testnet.scenario.adversaries import ADVERSARIES
from testnet.scenario.faults import FAULTS

SMALL = """
name = "small"
about = "No task but the first."
heal_s = 3
limit_s = 20
chain = {spacing_s = 1}

[[nodes]]
name = "supervisor"
roles = ["supervisor", "verifier", "evaluator"]
count = 3

[[nodes]]
name = "miner"
roles = ["miner"]
count = 3
scales = true
"""


@pytest.fixture
def small(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(SMALL)
    return file


def test_the_list_has_all_that_ships(p2pai, p2pai_json):
    status, printed, _ = p2pai("sim", "--list")
    assert status == 0
    assert all(name in printed for name in shelf.shipped())
    assert [row["name"] for row in p2pai_json("sim", "--list")] == list(shelf.shipped())


def test_a_history_is_told_in_short(p2pai, small):
    status, printed, errors = p2pai("sim", "--scenario", small, "--seed", 7)
    assert (status, errors) == (0, "")
    assert "small: No task but the first." in printed
    assert "Passed: no invariant was broken" in printed


def test_programs_get_the_outcome(p2pai, small):
    _, first, _ = p2pai("sim", "--scenario", small, "--nodes", 8, "--json")
    outcome = Outcome.from_json(first)
    assert len(outcome.nodes) == 8
    assert outcome.is_passed
    assert outcome.head.command == f"p2pai sim --scenario {small} --seed 1 --nodes 8"


def test_a_failure_is_told_with_what_runs_it_again(p2pai, small):
    small.write_text(SMALL + "[expect]\nheight_min = 99\n")
    status, printed, _ = p2pai("sim", "--scenario", small, "--seed", 3)
    assert status == 1
    assert "the chain has at least 99 blocks" in printed
    assert "The last events:" in printed
    (command,) = [line for line in printed.splitlines() if line.startswith("The same again: p2pai ")]
    again, reprinted, _ = p2pai(*shlex.split(command)[4:])
    assert again == 1
    assert digest(reprinted) == digest(printed)


def digest(printed):
    return next(line.split()[1] for line in printed.splitlines() if line.startswith("digest"))


def test_what_chaos_drew_is_a_file_with_the_same_history(p2pai, small, tmp_path):
    drawn = tmp_path / "drawn.toml"
    _, printed, _ = p2pai("sim", "--chaos", "--scenario", small, "--seed", 5, "--save", drawn)
    _, again, _ = p2pai("sim", "--scenario", drawn, "--seed", 5)
    assert "[[faults]]" in drawn.read_text()
    assert digest(again) == digest(printed)


def test_many_seeds_are_told_together(p2pai, p2pai_json, small):
    small.write_text(SMALL + "[expect]\nheight_min = 99\n")
    status, printed, errors = p2pai("sim", "--scenario", small, "--seed", 3, "--seeds", 3, "--jobs", 2)
    assert status == 1
    assert printed.split("failed", 1)[1].split()[0] == "3"
    assert [line.split(":")[0] for line in errors.splitlines() if line.startswith("seed")] == [
        "seed 3",
        "seed 4",
        "seed 5",
    ]


def test_a_recorded_history_can_be_lived_again(p2pai, small, tmp_path):
    directory = tmp_path / "recordings"
    assert p2pai("sim", "--scenario", small, "--record", directory)[0] == 0
    names = sorted(path.name for path in directory.iterdir())
    assert names == [f"{role}{i}.rec" for role in ("miner", "supervisor") for i in (1, 2, 3)]
    status, printed, errors = p2pai("topic", "replay", directory / "miner2.rec", "--verify")
    assert (status, errors) == (0, "")
    assert "are as recorded" in printed


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--scenario", "calmer"), "there is no scenario calmer; did you mean calm?"),
        (("--train", "slow"), "there is no trainer slow; there are fast and real"),
        (("--weaken", "everything"), "there is no defence everything"),
        (("--seeds", 2, "--save", "x.toml"), "--shrink, --save, --record and --report are for one seed"),
        (("--chaos", "--nodes", 3), "chaos needs at least 8 nodes"),
        (("--nodes", 3), "can have"),
        (("--list", "--kinds"), "--list and --kinds are two questions"),
        (("--scenario", ""), "the scenario's name is empty"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(p2pai, options, sentence):
    status, printed, errors = p2pai("sim", *options)
    assert (status, printed) == (1, "")
    assert sentence in errors
    assert errors.count("\n") == 1


def test_a_scenario_names_a_defence_that_there_is(p2pai, small):
    small.write_text('weakened = "none-such"' + SMALL)
    for command in ("sim", "testnet up", "sweep --vary nodes=6"):
        status, _, errors = p2pai(*command.split(), "--scenario", small)
        assert status == 1
        assert f"{small}: weakened: there is no defence none-such" in errors


def test_a_refused_order_is_told_with_the_reason(p2pai, small, tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"no zip")
    client = '[[nodes]]\nname = "client"\nroles = ["client"]\n[[tasks]]\ndata = "bad.npz"\n'
    small.write_text(SMALL + client)
    status, printed, _ = p2pai("sim", "--scenario", small)
    assert status == 1
    assert "it never came into the chain; its client's node refused it: " in printed
    assert "bad.npz" in printed


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("sim --seeds 1000", "interrupted after "),
        (
            "sweep --seeds 1000 --vary nodes=6 --rows rows.jsonl",
            "rows.jsonl keeps them, and the same command",
        ),
    ],
)
def test_who_interrupts_is_told_how_far_it_came(small, tmp_path, command, sentence):
    small.write_text(SMALL + "[expect]\nheight_min = 99\n")
    rows = tmp_path / "rows.jsonl"
    words = [sys.executable, "-m", "p2pai", *command.split(), "--scenario", small, "--jobs", "2"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        words, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as running:
        if "sim" in words:
            assert running.stderr.readline().startswith("seed 1: Failed")
        else:
            wait_until(lambda: rows.exists() and rows.read_text().count("\n") > 1)
        os.killpg(running.pid, signal.SIGINT)
        printed, errors = running.communicate(timeout=20)
    assert running.returncode == 130
    assert sentence in errors
    assert "Traceback" not in errors
    assert re.search(r"interrupted after (\d+) of 1000 (seeds|runs), \1 ", errors)
    assert ("the chain has at least # blocks" in printed) == ("sim" in words)


def wait_until(is_so):
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_no_line_of_a_pipe_ends_with_spaces(p2pai, small):
    for options in (("--list",), ("--scenario", small)):
        printed = p2pai("sim", *options)[1]
        assert not re.search(" $", printed, re.MULTILINE)


def test_what_does_not_fail_cannot_shrink(p2pai, small):
    _, _, errors = p2pai("sim", "--scenario", small, "--shrink")
    assert "small does not fail with seed 1" in errors


def test_the_outcome_of_many_seeds_is_json(p2pai, small):
    _, printed, _ = p2pai("sim", "--scenario", small, "--seeds", 2, "--jobs", 1, "--json")
    assert [brief["seed"] for brief in json.loads(printed)] == [1, 2]


def test_every_kind_is_shown_with_its_keys(p2pai, p2pai_json):
    rows = {row["kind"]: row for row in p2pai_json("sim", "--kinds")}
    assert set(rows) == {*FAULTS, *ADVERSARIES}
    assert "every_s = [1, 5]" in rows["kill"]["keys"]
    assert 'shape = "halves"' in rows["partition"]["keys"]
    assert all(row["about"].endswith(".") for row in rows.values())
    assert "crash-in-recovery" in p2pai("sim", "--kinds")[1]
