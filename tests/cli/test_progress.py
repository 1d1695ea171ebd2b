"""Plain progress tells each thing once, when it changes."""

from p2pai.cli.progress import LINE_S, Lines, has_ended, is_paid
from tests.cli.answers import BLOCK, PAID, PROGRESS, TASK

ANSWER = {"task": TASK, **PROGRESS}


def test_nothing_new_is_nothing_told():
    lines = Lines(0.0)
    assert len(lines.news(ANSWER, 1.0)) == 2
    assert lines.news(ANSWER, 2.0) == []


def test_a_miner_is_told_now_and_then_and_only_when_it_got_on():
    lines = Lines(0.0)
    lines.news(ANSWER, 1.0)
    told = lines.news(ANSWER, LINE_S + 1)
    assert len(told) == 1
    assert "iteration 44/480, epoch 2/22, loss 0.2500, accuracy 0.9375" in told[0]
    assert lines.news(ANSWER, 3 * LINE_S) == []
    further = {**ANSWER, "miners": [{**ANSWER["miners"][0], "iteration": 45}]}
    assert len(lines.news(further, 4 * LINE_S)) == 1


def test_a_block_is_told_again_when_it_is_approved():
    lines = Lines(0.0)
    lines.news({**ANSWER, "blocks": [{**BLOCK, "approvals": 0}]}, 1.0)
    assert lines.news(ANSWER, 2.0) == ["block 7 ababab..abab approved by 3/3"]


def test_the_end_is_told_once():
    lines = Lines(0.0)
    told = lines.news({"task": TASK, **PAID}, 1.0)
    assert [line.split(" ")[0] for line in told] == ["task", "block", "100", "model"]
    assert lines.news({"task": TASK, **PAID}, 2.0) == []


def test_how_a_task_ends():
    assert is_paid({"state": "paid"})
    assert has_ended({"state": "paid"})
    assert has_ended({"state": "failed"})
    assert not is_paid({"state": "failed"})
    assert not has_ended({"state": "evaluating"})
