"""Rates slow a remote down, and only who keeps it up is blamed and banned, once."""

import pytest

from p2pai.gossip.conduct import REMOTE_RATE, TOPIC_RATE, USELESS_TOKENS, Conduct, Loss, is_of_chain
from p2pai.gossip.scores import Offence, Standing
from p2pai.gossip.sightings import Banned, Blamed, Outcome, Sighting
from p2pai.primitives.ids import PeerId

A, B = PeerId("a"), PeerId("b")


def make() -> tuple[Conduct, list[Sighting], list[tuple[PeerId, int]]]:
    seen: list[Sighting] = []
    bans: list[tuple[PeerId, int]] = []
    return Conduct(seen.append, lambda remote, ms: bans.append((remote, ms))), seen, bans


def test_a_remote_within_its_rate_never_waits() -> None:
    conduct, seen, _ = make()
    for second in range(100):
        for _ in range(100):
            conduct.judged(A, Outcome.ACCEPTED, second * 1000)
            assert conduct.framed(A, 50_000, 0, second * 1000) == 0
    assert conduct.standing(A, 100_000) is Standing.GOOD
    assert seen == []


def test_whoever_floods_waits_and_is_banned_once_when_it_goes_on() -> None:
    conduct, seen, bans = make()
    now_ms = 0
    while not bans:
        conduct.judged(A, Outcome.DUPLICATE, now_ms)
        wait_ms = conduct.framed(A, 200, 0, now_ms)
        now_ms += wait_ms
        conduct.waited(A, wait_ms, now_ms)
    assert 6_000 < now_ms < 8_000
    conduct.waited(A, 5_000, now_ms)
    assert bans == [(A, 60_000)]
    assert seen[-2] == Banned(A, 60)
    assert seen[0] == Blamed(A, "flood", 1, 15)
    assert conduct.standing(B, now_ms) is Standing.GOOD


def test_useless_messages_cost_more_than_duplicates() -> None:
    conduct, _, _ = make()
    for _ in range(REMOTE_RATE.burst // USELESS_TOKENS):
        conduct.judged(A, Outcome.IGNORED, 0)
    assert conduct.framed(A, 0, 1, 0) > 0
    assert conduct.framed(B, 0, 1, 0) == 0


def test_ids_and_bytes_count_too() -> None:
    conduct, _, _ = make()
    assert conduct.framed(A, 0, REMOTE_RATE.burst * 2, 0) > 500
    assert conduct.framed(B, 40 << 20, 0, 0) == 500


def test_an_evidently_false_message_is_the_senders_fault_and_an_ignored_one_nobodys() -> None:
    conduct, _, bans = make()
    for _ in range(20):
        conduct.judged(A, Outcome.IGNORED, 0)
    assert conduct.report(A, 0)["score"] == 0
    for _ in range(7):
        conduct.judged(A, Outcome.REJECTED, 0, is_evident=True)
    assert bans == [(A, 60_000)]
    assert conduct.report(A, 0)["standing"] == "banned"
    assert conduct.report(A, 0)["offences"] == {"rejected": 7}
    assert conduct.standing(A, 60_000) is Standing.GOOD


def test_whoever_passes_on_what_it_could_not_know_keeps_its_connection() -> None:
    conduct, _, bans = make()
    for _ in range(100):
        conduct.judged(A, Outcome.REJECTED, 0)
    assert conduct.standing(A, 0) is Standing.UNWANTED
    assert bans == []


def test_one_topic_does_not_eat_the_others() -> None:
    conduct, _, _ = make()
    admitted = sum(conduct.admits(A, "busy", 100, 0) for _ in range(10_000))
    assert admitted == TOPIC_RATE.burst
    assert conduct.admits(A, "quiet", 100, 0)
    assert conduct.admits(B, "busy", 100, 0)
    assert conduct.losses == {Loss.TOPIC_RATE: 10_000 - TOPIC_RATE.burst}
    assert not conduct.admits(B, "quiet", 100 << 20, 0)


def test_what_is_quiet_again_is_not_remembered() -> None:
    conduct, _, _ = make()
    for number in range(100):
        conduct.admits(A, str(number), 1, number * 10_000)
    assert len(conduct._flows[A].topics) == 1


def test_coming_again_fills_no_bucket_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2pai.gossip.conduct.FLOWS_MAX", 10)
    conduct, _, _ = make()
    assert conduct.framed(A, 0, 2 * REMOTE_RATE.burst, 0) > 0
    for number in range(100):
        conduct.framed(PeerId(str(number)), 0, 0, 0)
        assert len(conduct._flows) <= 10
    assert conduct.framed(A, 0, 0, 0) > 0
    for number in range(100):
        conduct.framed(PeerId(str(number)), 0, REMOTE_RATE.burst, 0)
        assert len(conduct._flows) <= 10


def test_offences_of_one_remote_are_its_own() -> None:
    conduct, _, bans = make()
    conduct.blame(A, Offence.OVERRUN, 0)
    assert bans == [(A, 60_000)]
    assert conduct.standing(B, 0) is Standing.GOOD


def test_topics_of_this_chain() -> None:
    assert is_of_chain("/p2pai/0a1b2c3d/chain/tx/1", "0a1b2c3d")
    assert not is_of_chain("/p2pai/0a1b2c3e/chain/tx/1", "0a1b2c3d")
    assert not is_of_chain("/p2pai/0a1b2c3d/chain/tx/2", "0a1b2c3d")
    assert not is_of_chain("junk", "0a1b2c3d")
