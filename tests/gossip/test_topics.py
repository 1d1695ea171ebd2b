"""Topic names have one form each way."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.gossip.topics import NAMES, Topic, matches, parse, short_name, short_names
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import Hash32, TaskId

TASK = TaskId(Hash32(bytes(range(32))))

topics = st.builds(
    Topic,
    st.binary(min_size=4, max_size=4).map(bytes.hex),
    st.none() | st.binary(min_size=32, max_size=32),
    st.sampled_from(NAMES),
)


def test_form() -> None:
    assert str(Topic("0a1b2c3d", None, "block")) == "/p2pai/0a1b2c3d/chain/block/1"
    assert str(Topic("0a1b2c3d", TASK, "it_res")) == f"/p2pai/0a1b2c3d/{TASK.hex()}/it_res/1"


@given(topics)
def test_round_trip(topic: Topic) -> None:
    assert parse(str(topic)) == topic


@given(st.text(max_size=120))
def test_any_text_is_a_topic_or_refused(text: str) -> None:
    with suppress(InvalidMessage):
        assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/p2pai/0a1b2c3d/chain/block/2",
        "/p2pai/0a1b2c3d/chain/gossip/1",
        "/p2pai/0A1B2C3D/chain/block/1",
        "/p2pai/0a1b2c3/chain/block/1",
        "/p2pai/0a1b2c3d/chain/block/1\n",
        f"/p2pai/0a1b2c3d/{TASK.hex()[:-2]}/it_res/1",
        f"/p2pai/0a1b2c3d/{TASK.hex().upper()}/it_res/1",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(InvalidMessage):
        parse(text)


def test_our_own_malformed_topic_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        str(Topic("0a1b2c3d", None, "gossip"))


@pytest.mark.parametrize(
    "pattern", ["*", "block", "b*", "chain/block", "chain/*", "*/block", "/p2pai/0a1b2c3d/chain/*"]
)
def test_a_pattern_means_a_topic(pattern: str) -> None:
    assert matches("/p2pai/0a1b2c3d/chain/block/1", pattern)


@given(st.lists(topics, max_size=5, unique=True))
def test_short_names_mean_their_topics(several: list[Topic]) -> None:
    found = list(map(str, several))
    for topic, name in short_names(found).items():
        assert matches(topic, name)
    chains = {topic.chain for topic in several}
    assert all(name.count("/") == (2 if len(chains) > 1 else 1) for name in short_names(found).values())


def test_topics_of_several_chains_are_told_apart() -> None:
    here, there = "/p2pai/0a1b2c3d/chain/tx/1", "/p2pai/ffffffff/chain/tx/1"
    assert short_names([here, "chat"]) == {here: "chain/tx", "chat": "chat"}
    assert short_names([here, there, "chat"]) == {
        here: "0a1b2c3d/chain/tx",
        there: "ffffffff/chain/tx",
        "chat": "chat",
    }
    assert [matches(topic, "ffffffff/chain/tx") for topic in (here, there)] == [False, True]


@pytest.mark.parametrize("pattern", ["tx", "chain", "lock", "", "chain/tx", "*/tx", "0a1b", "0a1b/block"])
def test_a_pattern_means_another_topic(pattern: str) -> None:
    assert not matches("/p2pai/0a1b2c3d/chain/block/1", pattern)


def test_a_pattern_meets_foreign_topics_too() -> None:
    assert matches("chat", "ch*")
    assert not matches("", "ch*")


IT_RES = f"/p2pai/0a1b2c3d/{'6f2a' * 16}/it_res/1"


@pytest.mark.parametrize("pattern", ["6f2a", "6f2a6f", "6f2a/it_res", "6f2a6/it_*", "6f2a*/it_res", "it_res"])
def test_a_pattern_means_a_task(pattern: str) -> None:
    assert matches(IT_RES, pattern)


@pytest.mark.parametrize("pattern", ["6f2", "6f2b", "6f2a/block", "chain", "6f2/it_res", "2a6f"])
def test_a_pattern_means_another_task(pattern: str) -> None:
    assert not matches(IT_RES, pattern)


@given(topics)
def test_what_is_shown_of_a_topic_means_it(topic: Topic) -> None:
    assert matches(str(topic), short_name(str(topic)))
    assert short_name("chat") == "chat"
