"""Conditions mean what their grammar says, and what is wrong with one is said with its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.gossip.condition import DEPTH_MAX, LENGTH_MAX, find, parse
from p2pai.primitives.errors import InvalidInput

FIELDS = {
    "name": "it_res",
    "sender": "dpai1abcdefghijk4xyz",
    "size": 3000,
    "fault": "",
    "new": True,
    "body": {
        "iteration": 12,
        "epoch": 1,
        "size": 7,
        "messages": ["aa11", "bb22", "cc33"],
        "statement": {"slot": 5, "view": 0},
        "note": "two words",
    },
}


@pytest.mark.parametrize(
    "text",
    [
        "name == it_res",
        "name != block",
        "iteration > 10 and iteration < 13",
        "iteration >= 12 and iteration <= 12",
        "name == block or iteration == 12",
        "not name == block",
        "not (name == block or name == tx)",
        "name in (block, it_res)",
        "sender == dpai1ab..4xyz",
        "sender == dpai1*",
        "sender ~ defg",
        "sender ~ cd*hi",
        "size == 3_000",
        "body.size == 7",
        "slot == 5",
        "statement.slot == 5",
        "not view",
        "new",
        "new == yes",
        "not fault",
        "messages == 3",
        "messages > 2",
        "messages == bb22",
        "messages ~ c3",
        'note == "two words"',
        "note == 'two words'",
        "absent != anything",
        "not absent",
        "name==it_res and(iteration>10)",
        "name == tx and name == block or name == it_res",
    ],
)
def test_holds(text):
    assert parse(text).holds(FIELDS)


@pytest.mark.parametrize(
    "text",
    [
        "name == block",
        "iteration > 12",
        "name > 3",
        "absent > 0",
        "iteration == twelve",
        "sender == dpai1ab",
        "sender == *xyz*xyz",
        "sender == dpai1abcdefghijk4xyz*z",
        "name == it_res and (name == tx or name == block)",
        "view",
        "new == no",
        "body == 3",
        "messages < 3",
        "name ~ block",
        "iteration ~ 1",
        "statement.nothing",
        "name.sub == it_res",
    ],
)
def test_does_not_hold(text):
    assert not parse(text).holds(FIELDS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "at its end: expected the name of a field"),
        ("name ==", "at its end: expected a value"),
        ("name == and", "at character 9: expected a value"),
        ("(name", "at its end: expected )"),
        ("name name", "at character 6: expected `and`, `or` or the end"),
        ("== 3", "at character 1: expected the name"),
        ("name = 3", "at character 6: two things are compared with =="),
        ("name == 'open", "at character 9: a quote"),
        ("iteraton > 3", "at character 1: no message has a field iteraton; did you mean iteration?"),
        ("name in (", "at its end: expected a value"),
        ("(" * (DEPTH_MAX + 2) + "name", "nested too deeply"),
        ("not " * (DEPTH_MAX + 2) + "name", "nested too deeply"),
        ("x" * (LENGTH_MAX + 1), f"at most {LENGTH_MAX} characters"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text, said):
    with pytest.raises(InvalidInput) as refusal:
        parse(text, ("name", "iteration"))
    assert said in str(refusal.value)


def naive(text, pattern):
    """Whether a text fits a pattern whose only wild mark is `*`, by trying everything."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(naive(text[i:], pattern[1:]) for i in range(len(text) + 1))
    return bool(text) and text[0] == pattern[0] and naive(text[1:], pattern[1:])


@given(st.text("ab", max_size=8), st.text("ab*", min_size=1, max_size=6))
def test_patterns_fit_as_trying_everything_says(text, pattern):
    assert parse(f"field == '{pattern}'").holds({"field": text}) == naive(text, pattern)


def test_the_outermost_field_of_a_name_is_found():
    fields = {"a": {"x": 1, "b": {"y": 2}}, "c": {"y": 3}}
    assert find(fields, "x") == 1
    assert find(fields, "y") == 3
    assert find(fields, "a.b.y") == 2
    assert find(fields, "b") == {"y": 2}
    assert find(fields, "a.nothing") is None
