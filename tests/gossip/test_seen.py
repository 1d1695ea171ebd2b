"""Messages are recognised for two minutes, and a flood doesn't grow the memory."""

import pytest

from p2pai.gossip import seen
from p2pai.gossip.seen import SEEN_FOR_S, SeenMessages


def test_remembered_for_a_while_and_then_forgotten() -> None:
    known = SeenMessages(0)
    known.add(b"a", 0)
    known.add(b"b", SEEN_FOR_S + 1)
    assert known.has(b"a")
    known.add(b"c", 2 * SEEN_FOR_S + 3)
    assert not known.has(b"a")
    assert known.has(b"b")


def test_a_flood_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "GENERATION_COUNT_MAX", 100)
    known = SeenMessages(0)
    for number in range(1000):
        known.add(number.to_bytes(2, "big"), 0)
        assert len(known) <= 200
    assert all(known.has(number.to_bytes(2, "big")) for number in range(900, 1000))
