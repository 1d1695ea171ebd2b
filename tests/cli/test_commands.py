"""Every command against a real HTTP server: what people see, what programs get, and how faults read."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from p2pai.chain.task import TaskDefinition
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import PeerId, PublicKey
from p2pai.shell import config
from tests.cli.answers import ANSWERS, BLOCK, HASH, MINER, PAID, PROGRESS, TASK

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.yaml"

COMMANDS = [
    (), ("start",), ("status",), ("version",), ("replay",), ("train",),
    ("task",), ("task", "submit"), ("task", "check"), ("task", "list"), ("task", "show"), ("task", "watch"),
    ("block",), ("block", "list"), ("block", "show"),
    ("wallet",), *(("wallet", name) for name in (
        "create", "restore", "balance", "address", "accounts", "history", "send", "sign", "verify",
    )),
    ("ticket",), ("ticket", "buy"), ("ticket", "list"), ("ticket", "refund"),
    ("faucet",), ("faucet", "claim"),
    ("chain",), *(("chain", name) for name in ("status", "export", "import", "verify")),
    ("testnet",), ("testnet", "up"), ("supply",), ("tx",), ("tx", "show"), ("topic",),
    *(("topic", name) for name in (
        "list", "tap", "stats", "mesh", "publish", "record", "replay", "diff", "trace", "play",
    )),
]  # fmt: skip

READS = [
    (("status",), "node.status"),
    (("chain", "status"), "chain.status"),
    (("supply",), "supply"),
    (("tx", "show", "ef" * 32), "tx.show"),
    (("block", "list"), "block.list"),
    (("block", "show", "7"), "block.show"),
    (("task", "list"), "task.list"),
    (("task", "show", TASK[:8]), "task.show"),
    (("wallet", "balance"), "wallet.balance"),
    (("wallet", "accounts"), "wallet.accounts"),
    (("ticket", "list"), "ticket.list"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_explains(p2pai, command):
    status, out, _ = p2pai(*command, "--help")
    assert status == 0
    assert "Usage: p2pai" in out
    assert len(out.splitlines()) > 8


@pytest.mark.parametrize(("command", "method"), READS, ids=lambda v: v if isinstance(v, str) else " ".join(v))
def test_reads_as_json(node, p2pai_json, command, method):
    extra = {"running": True, "network": ANSWERS["node.network"], "fetches": ANSWERS["node.fetches"]}
    extra = extra if command == ("status",) else {}
    answer = p2pai_json(*command)
    assert answer == ({**ANSWERS[method], **extra} if extra else ANSWERS[method])


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("status",), ["dpai1me", "devnet", HASH, "2 transactions", "120 coins", f"5:{HASH}:{HASH}"]),
        (
            ("chain", "status"),
            [HASH, "4096", "height 8", "65537 expected", "120 coins", "56" * 32, "512 bytes", "21"],
        ),
        (
            ("supply",),
            ["10,000 coins", "11,000 coins", "3 coins", "10,945 coins", "issued - burned = unspent"],
        ),
        (
            ("tx", "show", "efef"),
            ["VERIFY_COMMIT", "block 7", "3 confirmations", "valid", "bb:0", "dpai1payer"],
        ),
        (("block", "list"), ["7", "digits", "41", "3/3", "150 coins"]),
        (("block", "show", "7"), [HASH, "1e00ffff", "ef" * 32, "TRANSFER", "dpai1verifier", "150 coins"]),
        (("task", "list"), ["PAID", "100 coins", "900", "0.9722"]),
        (("task", "show", TASK[:8]), [TASK, "aa:0", "100 coins", HASH, "SUBMITTED"]),
        (("wallet", "balance"), ["dpai1me", "12 coins", "0.00000001 coins", "12.00000001 coins"]),
        (("wallet", "address"), ["dpai1me\n"]),
        (("wallet", "address", "--account", "1"), ["dpai1second\n"]),
        (("wallet", "accounts"), ["dpai1me", "dpai1second"]),
        (("wallet", "history"), ["TRANSFER", "-3.00000236 coins", "0.00000236 coins", "GENESIS", HASH]),
        (("ticket", "list"), ["live from 5", "10 coins", "261", "working", "own"]),
        (("ticket", "refund", "--dry-run"), ["now", "at height 261", "waits to be drawn", "fee of task"]),
    ],
    ids=lambda v: " ".join(v[:2]),
)
def test_reads_for_people(node, p2pai, command, expected):
    status, out, err = p2pai(*command)
    assert (status, err) == (0, "")
    for text in expected:
        assert text in out


def test_a_transaction_is_looked_for_down_the_chain(node, p2pai):
    node.answers["tx.show"] = [{"found": False, "below": 500}, {"found": False, "below": 0}]
    status, _, err = p2pai("tx", "show", "ab" * 32)
    assert status == 1
    assert f"neither the mempool nor the chain has a transaction {'ab' * 32}" in err
    assert [params for method, params in node.asked if method == "tx.show"] == [
        {"tx": "ab" * 32},
        {"tx": "ab" * 32, "below": 500},
    ]


def test_a_transaction_that_waits(node, p2pai):
    node.answers["tx.show"] = [{**ANSWERS["tx.show"], "block": None, "inputs": [], "signatures_valid": None}]
    _, out, _ = p2pai("tx", "show", "ab" * 32)
    assert "mempool: it waits for a block" in out
    assert "none needed" in out


def test_money_that_does_not_add_up_is_not_hidden(node, p2pai):
    node.answers["supply"] = [{**ANSWERS["supply"], "holds": False}]
    assert "NO: issued - burned is not unspent" in p2pai("supply")[1]


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
    assert (method, params) == ("wallet.send", {"address": MINER, "atoms": 1_250_000_000, "account": 0})


def test_sends_from_an_account_at_a_rate(node, p2pai_json):
    answer = p2pai_json("wallet", "send", MINER, "1", "--account", 1, "--fee-rate", 20)
    assert answer["txid"] == HASH
    [(_, params)] = node.submitted
    assert (params["account"], params["fee_rate"]) == (1, 20)


def test_on_a_terminal_the_fee_is_shown_first(node, p2pai, monkeypatch):
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    asked = []
    monkeypatch.setattr("typer.confirm", lambda question, **_: asked.append(question) or True)
    assert p2pai("wallet", "send", MINER, "12.5")[0] == 0
    assert asked == [f"Pay 12.5 coins to {MINER}, and 0.00000236 coins as fee?"]
    asked.clear()
    p2pai("wallet", "send", MINER, "12.5", "--yes")
    assert (asked, len(node.submitted)) == ([], 2)


def test_who_says_no_or_interrupts_sends_nothing(node, p2pai, monkeypatch):
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda question, **_: False)
    assert p2pai("wallet", "send", MINER, "1") == (1, "", "p2pai: nothing was sent\n")

    def interrupted(question, **_):
        raise typer.Abort

    monkeypatch.setattr("typer.confirm", interrupted)
    assert p2pai("wallet", "send", MINER, "1")[0] == 130
    assert node.submitted == []


def test_an_account_that_is_none(node, p2pai):
    status, _, err = p2pai("wallet", "address", "--account", 2)
    assert (status, "accounts 0 to 1" in err) == (1, True)


def test_adds_an_account(node, p2pai):
    assert p2pai("wallet", "accounts", "--new")[0] == 0
    assert [method for method, _ in node.submitted] == ["wallet.add_account"]


def test_history_is_asked_for_until_it_is_read(node, p2pai_json):
    whole = ANSWERS["wallet.history"]
    node.answers["wallet.history"] = [{**whole, "read": 4, "entries": []}, whole]
    assert p2pai_json("wallet", "history", "--count", 7, "--account", 0) == whole["entries"]
    asked = [params for method, params in node.asked if method == "wallet.history"]
    assert asked == [{"count": 7, "account": 0}] * 2


def test_buys_tickets(node, p2pai):
    status, out, _ = p2pai("ticket", "buy", "miner", "--count", 2, "--preferences", "1,3")
    assert status == 0
    assert f"Bought 2 x miner for 120 coins each in transaction {HASH}" in out
    assert "this node is no miner" in out
    [(method, params)] = node.submitted
    params.pop("order")
    assert (method, params) == ("ticket.buy", {"role": "miner", "count": 2, "preferences": [1, 3]})


def test_preferences_that_are_no_numbers(node, p2pai):
    status, _, err = p2pai("ticket", "buy", "miner", "--preferences", "1,b")
    assert (status, node.submitted) == (1, [])
    assert "such as 1,2" in err


def test_refunds_what_is_free(node, p2pai):
    status, out, _ = p2pai("ticket", "refund")
    assert status == 0
    assert f"Refunded 10 coins in transaction {HASH}" in out
    assert [method for method, _ in node.submitted] == ["ticket.refund"]
    node.submitted.clear()
    node.answers["ticket.refundable"] = [ANSWERS["ticket.refundable"][1:]]
    assert "Nothing can be refunded now." in p2pai("ticket", "refund")[1]
    p2pai("ticket", "refund", "--dry-run")
    assert node.submitted == []


class TestSigning:
    @pytest.fixture
    def published(self, tmp_path, monkeypatch):
        """A directory on which a node with a published account ran: nobody is asked for a password."""
        monkeypatch.setenv("P2PAI_DATA_DIR", str(tmp_path))
        settings = config.Config(tmp_path, "devnet", dev_account=3)
        config.save(config.NodeRecord(settings, PeerId("12D3"), PublicKey(bytes(33))))

    def test_what_is_signed_is_verified(self, published, p2pai, p2pai_json):
        answer = p2pai_json("wallet", "sign", "a message")
        assert p2pai("wallet", "sign", "a message") == (0, answer["signature"] + "\n", "")
        words = ("wallet", "verify", answer["address"])
        status, out, _ = p2pai(*words, "a message", answer["signature"])
        assert (status, out) == (0, f"The owner of {answer['address']} signed this message.\n")
        for wrong in (("another", answer["signature"]), ("a message", "00" * 70), ("a message", "x")):
            status, out, err = p2pai(*words, *wrong)
            assert (status, out, err.count("\n")) == (1, "", 1)
        assert p2pai("wallet", "verify", "dpai1nowhere", "a message", answer["signature"])[0] == 1

    def test_a_published_account_stands_alone(self, published, p2pai):
        status, _, err = p2pai("wallet", "sign", "a message", "--account", 1)
        assert (status, "stands alone" in err) == (1, True)

    def test_without_keys_it_says_how_to_make_them(self, p2pai, tmp_path):
        status, _, err = p2pai("wallet", "sign", "a message", "--data-dir", tmp_path / "none")
        assert (status, "p2pai wallet create" in err) == (1, True)


class TestFaucet:
    @pytest.mark.parametrize("place", ["8080", "host:", ":80", "h:99999", "h:x", "127.0.0.1"])
    def test_a_place_that_is_none(self, p2pai, place):
        status, _, err = p2pai("faucet", "--listen", place)
        assert (status, "HOST:PORT" in err) == (1, True)

    def test_it_needs_a_node(self, p2pai, tmp_path):
        status, _, err = p2pai("faucet", "--listen", "127.0.0.1:0", "--data-dir", tmp_path)
        assert (status, "no node is running" in err) == (1, True)

    def test_what_is_no_faucet(self, node, p2pai, tmp_path):
        url = json.loads((tmp_path / "rpc.json").read_text())["url"].removesuffix("/rpc")
        status, _, err = p2pai("faucet", "claim", url, MINER)
        assert (status, "is no faucet" in err) == (1, True)
        for absent in ("http://127.0.0.1:1", "nonsense"):
            status, _, err = p2pai("faucet", "claim", absent, MINER)
            assert (status, err.count("\n")) == (1, 1)


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
