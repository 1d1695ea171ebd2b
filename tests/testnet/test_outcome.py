"""Outcomes as text: what is written is read back, and nothing else is."""

import json
from dataclasses import replace

import pytest
from outcomes import small

from p2pai.primitives.errors import InvalidInput
from testnet.outcome import Outcome


def changed(**changes):
    """Return the small outcome's text with keys set; a path has dots and numbers in it."""
    data = json.loads(small().to_json())
    for path, value in changes.items():
        *way, last = path.split("__")
        where = data
        for key in way:
            where = where[int(key) if key.isdigit() else key]
        where[last] = value
    return json.dumps(data)


def test_what_is_written_is_read_back():
    assert Outcome.from_json(small().to_json()) == small()


def test_equal_outcomes_are_equal_text():
    assert small().to_json() == small().to_json() == Outcome.from_json(small().to_json()).to_json()


def test_what_may_be_missing_is_filled_in():
    data = json.loads(small().to_json())
    for key in ("coins", "traffic", "broken", "interval_ms"):
        del data[key]
    read = Outcome.from_json(json.dumps(data))
    assert (read.coins.genesis, read.traffic, read.broken, read.interval_ms) == (0, (), None, 1000)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "f is not JSON"),
        ("[" * 100_000, "f is not JSON"),
        ("[]", "f has no format number"),
        (changed(format=2), "f is of format 2; this version reads 1"),
        (changed(head__seed="7"), "f: head.seed must be a whole number"),
        (changed(head__seed=True), "f: head.seed must be a whole number"),
        (changed(head__steps="x"), "f: head.steps must be a whole number"),
        (changed(nodes={}), "f: nodes must be a list"),
        (changed(nodes__1__name=1), "f: nodes[1].name must be text"),
        (changed(nodes__1__nonsense=1), "f: nodes[1].nonsense is no field of it"),
        (changed(blocks__0__seen_ms__miner1="now"), "f: blocks[0].seen_ms.miner1 must be a whole number"),
        (changed(tasks__0__score=[]), "f: tasks[0].score must be a number"),
        (changed(tasks__0__score=10**400), "f: tasks[0].score must be a number"),
        (changed(broken=[]), "f: broken must be an object"),
        ('{"format":1}', "f: head is missing"),
        (small().to_json().replace("0.91", "NaN"), "f is not JSON: NaN is no number"),
    ],
)
def test_anything_else_is_refused_in_a_sentence_that_says_where(text, sentence):
    with pytest.raises(InvalidInput, match="^" + sentence.replace("[", r"\[").replace("]", r"\]")):
        Outcome.from_json(text, "f")


def test_the_verdict_names_what_broke_first():
    assert small().verdict == "Failed: I1 was broken: an atom is gone"
    unbroken = replace(small(), broken=None)
    assert unbroken.verdict == "Failed: nobody is slashed; verifier1 was"
    assert not unbroken.is_passed
    met = replace(unbroken, expectations=small().expectations[:1])
    assert met.is_passed
    assert met.verdict.startswith("Passed")
