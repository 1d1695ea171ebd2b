"""Every command against a real HTTP server: what people see, what programs get, and how faults read."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from p2pai.chain.task import TaskDefinition
from p2pai.primitives.errors import InvalidInput
from tests.cli.answers import ANSWERS, BLOCK, HASH, MINER, PAID, PROGRESS, TASK

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.yaml"

COMMANDS = [
    (), ("start",), ("status",), ("version",), ("replay",), ("train",),
    ("task",), ("task", "submit"), ("task", "check"), ("task", "list"), ("task", "show"), ("task", "watch"),
    ("block",), ("block", "list"), ("block", "show"),
    ("wallet",), ("wallet", "balance"), ("wallet", "address"), ("wallet", "send"),
]  # fmt: skip

READS = [
    (("status",), "node.status"),
    (("block", "list"), "block.list"),
    (("block", "show", "7"), "block.show"),
    (("task", "list"), "task.list"),
    (("task", "show", TASK[:8]), "task.show"),
    (("wallet", "balance"), "wallet.balance"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_explains(p2pai, command):
    status, out, _ = p2pai(*command, "--help")
    assert status == 0
    assert "Usage: p2pai" in out
    assert len(out.splitlines()) > 8


@pytest.mark.parametrize(("command", "method"), READS, ids=lambda v: v if isinstance(v, str) else " ".join(v))
def test_reads_as_json(node, p2pai_json, command, method):
    extra = {"running": True} if command == ("status",) else {}
    answer = p2pai_json(*command)
    assert answer == ({**ANSWERS[method], **extra} if extra else ANSWERS[method])


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("status",), ["dpai1me", "devnet", HASH, "2 transactions", "120 coins", "5, block c0c0"]),
        (("block", "list"), ["7", "digits", "41", "3/3", "150 coins"]),
        (("block", "show", "7"), [HASH, "1e00ffff", "ef" * 32, "TRANSFER", "dpai1verifier", "150 coins"]),
        (("task", "list"), ["PAID", "100 coins", "900", "0.9722"]),
        (("task", "show", TASK[:8]), [TASK, "aa:0", "100 coins", HASH, "SUBMITTED"]),
        (("wallet", "balance"), ["dpai1me", "12 coins", "0.00000001 coins", "12.00000001 coins"]),
        (("wallet", "address"), ["dpai1me\n"]),
    ],
    ids=lambda v: " ".join(v[:2]),
)
def test_reads_for_people(node, p2pai, command, expected):
    status, out, err = p2pai(*command)
    assert (status, err) == (0, "")
    for text in expected:
        assert text in out


def test_text_from_others_cannot_steer_the_terminal(node, p2pai):
    _, out, _ = p2pai("task", "list")
    assert "\x1b" not in out
    assert "evil" in out


def test_parameters_reach_the_node(node, p2pai):
    p2pai("block", "list", "--count", 3)
    p2pai("block", "show", "abc")
    assert ("block.list", {"count": 3}) in node.asked
    assert ("block.show", {"block": "abc"}) in node.asked


def test_what_the_node_refuses_is_one_sentence(node, p2pai):
    node.answers["block.show"] = [InvalidInput("there is no block abc")]
    assert p2pai("block", "show", "abc") == (1, "", "p2pai: there is no block abc\n")


def test_submits_a_task(node, p2pai):
    status, out, err = p2pai("task", "submit", EXAMPLE)
    assert (status, err) == (0, "")
    assert f"Task {TASK} submitted for 100 coins." in out
    method, params = node.submitted[0]
    assert method == "task.submit"
    assert params["fee"] == 10**10
    assert Path(params["data"]).is_file()
    assert TaskDefinition.decode(bytes.fromhex(params["definition"])).name == "digits"


def test_submits_and_watches_in_plain_lines(node, p2pai, tmp_path):
    status, out, _ = p2pai("task", "submit", EXAMPLE, "--watch")
    assert status == 0
    assert "is TRAINING at height 9" in out
    assert "block 7 ababab..abab" in out
    assert "from iteration 41" in out
    assert "is PAID at height 9" in out
    assert "100 coins paid to dpai1m" in out
    assert f"model delivered: {tmp_path}/models/digits.safetensors" in out
    assert out.count("mined by") == 1


def test_the_model_is_waited_for(node, p2pai):
    node.answers["task.progress"] = [{**PAID, "model_path": None}, PAID]
    assert "model delivered" in p2pai("task", "submit", EXAMPLE, "--watch")[1]


def test_watching_as_json_prints_the_end_alone(node, p2pai_json, tmp_path):
    model = str(tmp_path / "models/digits.safetensors")
    assert p2pai_json("task", "watch", TASK) == {"task": TASK, **PAID, "model_path": model}


def test_a_task_that_ends_unpaid_is_a_failure(node, p2pai):
    node.answers["task.progress"] = [PROGRESS, {**PROGRESS, "state": "EXPIRED"}]
    status, _, err = p2pai("task", "watch", TASK)
    assert status == 1
    assert "the task ended EXPIRED" in err


def test_a_refused_submission_tells_why(node, p2pai):
    node.answers["submission"] = [
        {"state": "failed", "task": None, "txid": None, "error": "not enough coins"}
    ]
    assert p2pai("task", "submit", EXAMPLE)[::2] == (1, "p2pai: not enough coins\n")


def test_the_genesis_block_has_no_miner(node, p2pai):
    genesis = {"height": 0, "hash": HASH, "header": {}, "work_proof": None, "transactions": []}
    node.answers["block.show"] = [{**genesis, "approvals_by": []}]
    status, out, err = p2pai("block", "show", "0")
    assert (status, err) == (0, "")
    assert HASH in out


def test_replay_needs_the_capsule(node, p2pai):
    node.answers["replay.job"] = [{"parts": {"applied": HASH}}]
    status, _, err = p2pai("replay", "7")
    assert status == 1
    assert "name a verifier's --data-dir" in err
    assert err.count("\n") == 1


def test_sends_coins(node, p2pai):
    status, out, _ = p2pai("wallet", "send", MINER, "12.5")
    assert status == 0
    assert "Sent 12.5 coins" in out
    assert HASH in out
    [(method, params)] = node.submitted
    assert len(bytes.fromhex(params.pop("order"))) == 8, "the same payment may be meant twice"
    assert (method, params) == ("wallet.send", {"address": MINER, "atoms": 1_250_000_000})


def test_never_sends_what_is_no_amount(node, p2pai):
    assert p2pai("wallet", "send", MINER, "lots")[0] == 1
    assert node.submitted == []


@pytest.mark.parametrize(
    "command", [("status",), ("task", "submit", EXAMPLE), ("wallet", "send", "dpai1x", "1")]
)
def test_without_a_node_the_sentence_says_what_to_do(p2pai, tmp_path, command):
    status, out, err = p2pai(*command, "--data-dir", tmp_path / "nothing")
    assert (status, out) == (1, "")
    assert "p2pai start --data-dir" in err
    assert err.count("\n") == 1


def test_wrong_usage_is_status_2(p2pai):
    assert p2pai("block", "show")[0] == 2
    assert p2pai("start", "--role", "king")[0] == 2


def test_a_blocks_capsule_that_is_not_here_is_one_sentence(node, p2pai):
    node.answers["replay.job"] = [InvalidInput("block 3 was not mined by training")]
    assert p2pai("replay", "3") == (1, "", "p2pai: block 3 was not mined by training\n")


def test_the_command_as_a_process(node):
    command = [sys.executable, "-m", "p2pai", "block", "list", "--json"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0
    assert json.loads(done.stdout) == [BLOCK]


def test_a_reader_that_leaves_early_causes_no_traceback(node):
    node.answers["block.list"] = [[BLOCK] * 5000]
    command = f"{sys.executable} -m p2pai block list | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=60, check=False)
    assert b"Traceback" not in done.stderr
    assert b"height" in done.stdout
