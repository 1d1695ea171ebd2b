"""The demonstration's judgement and its directory; the demonstration itself runs in tests/functional."""

import json
from dataclasses import replace

import pytest

from testnet.devnet import demo
from testnet.devnet.criteria import Findings, is_approved, judge
from testnet.devnet.eight import PLANS

VERIFIERS = ["v1", "v2", "v3"]


def block(n, **changes):
    made = {
        "task": "aa", "task_name": "digits", "height": n,
        "hash": f"{n:064x}", "miner": f"miner{n % 3}", "iteration": n, "verifiers": 3,
        "settled": True, "approvals": 3, "approvals_by": VERIFIERS,
    }  # fmt: skip
    return {**made, **changes}


GOOD = Findings(
    task={"task": "aa", "state": "PAID", "metric": "accuracy", "score": 0.97},
    fee=100,
    payouts=(
        {"address": "m", "role": "miner", "atoms": 70},
        {"address": "s", "role": "supervisor", "atoms": 30},
    ),
    blocks=tuple(block(n) for n in range(5)),
    supply={"issued": 1000, "burned": 1, "unspent": 999, "holds": True},
    tips={"a": "t", "b": "t"},
    keys={
        "steps": [{"type": "DKG_DEAL"}] * 3 + [{"type": "DKG_SUCCESSFUL"}] * 3,
        "members": 3,
        "threshold": 2,
    },
    model="/models/digits.safetensors",
)


def failed(found):
    return [i for i, criterion in enumerate(judge(found)) if not criterion.holds]


def test_all_hold():
    assert failed(GOOD) == []
    assert all(c.figure for c in judge(GOOD))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"task": {**GOOD.task, "score": 0.9499}}, [0]),
        ({"task": {**GOOD.task, "score": None}}, [0]),
        ({"task": {**GOOD.task, "metric": "loss"}}, [0]),
        ({"blocks": GOOD.blocks[:4]}, [1]),
        ({"blocks": ()}, [1, 2, 3]),
        ({"blocks": tuple(block(n, task="bb") for n in range(5))}, [1]),
        ({"blocks": tuple(block(n, miner="miner0") for n in range(5))}, [2]),
        ({"blocks": (*GOOD.blocks, block(9, settled=False, approvals_by=[]))}, [3]),
        ({"blocks": (*GOOD.blocks, block(9, approvals_by=["v1"]))}, [3]),
        ({"blocks": (*GOOD.blocks, block(9, miner="v1", approvals_by=["v1", "v2", "v2"]))}, [3]),
        ({"blocks": (*GOOD.blocks, block(9, verifiers=0, approvals_by=[]))}, [3]),
        ({"keys": {}}, [4]),
        ({"keys": {**GOOD.keys, "steps": GOOD.keys["steps"][1:]}}, [4]),
        ({"fee": 101}, [5]),
        ({"payouts": GOOD.payouts[:1]}, [5]),
        ({"task": {**GOOD.task, "state": "EXPIRED"}}, [5]),
        ({"fee": 0, "payouts": ()}, [5]),
        ({"supply": {**GOOD.supply, "holds": False}}, [6]),
        ({"supply": {**GOOD.supply, "unspent": 1000}}, [6]),
        ({"tips": {"a": "t", "b": "u"}}, [7]),
        ({"tips": {}}, [7]),
        ({"model": ""}, [8]),
    ],
    ids=lambda v: str(v)[:40],
)
def test_each_criterion_can_fail(changes, expected):
    assert failed(replace(GOOD, **changes)) == expected


def test_two_of_three_verifiers_suffice():
    assert is_approved(block(1, approvals_by=["v1", "v2"]))
    assert not is_approved(block(1, approvals_by=["v1"]))


def test_writes_and_shows_the_summary(tmp_path, capsys):
    judged = judge(GOOD)
    path = demo.write_summary(tmp_path, GOOD, judged, 12.34)
    summary = json.loads(path.read_text())
    assert summary["passed"] is True
    assert summary["seconds"] == 12.3
    assert summary["task"]["score"] == 0.97
    assert len(summary["criteria"]) == len(judged)
    demo.show_summary(tmp_path, GOOD, judged, 12.34, path)
    out = capsys.readouterr().out
    assert str(path) in out
    assert "0.9700" in out
    assert "p2pai replay 000000000000" in out


def test_a_failed_summary_names_the_criterion_and_the_logs(tmp_path, capsys):
    found = replace(GOOD, tips={"a": "t", "b": "u"})
    demo.show_summary(tmp_path, found, judge(found), 1.0, tmp_path / "summary.json")
    out = capsys.readouterr().out
    assert "Failed: all nodes are on one tip (2 nodes, 2 tips)" in out
    assert f"Logs: {tmp_path}" in out


def test_the_plan_has_every_role_three_times():
    roles = [role for plan in PLANS for role in plan.roles]
    assert len(PLANS) == 8
    for role in ("supervisor", "verifier", "evaluator", "miner"):
        assert roles.count(role) == 3
    assert sorted(p.account for p in PLANS) == list(range(8))
