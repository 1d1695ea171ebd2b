"""Bad behaviour costs the mesh, the ear and the connection in this order; honest behaviour never the last."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.gossip import scores
from p2pai.gossip.buckets import Bucket
from p2pai.gossip.conduct import DUPLICATE_TOKENS, NEW_TOKENS, REMOTE_RATE
from p2pai.gossip.scores import BAN_S, Offence, Scores, Standing

HARD = [offence for offence in Offence if not offence.is_soft]
SOFT = [offence for offence in Offence if offence.is_soft]


def test_a_stranger_is_in_good_standing() -> None:
    known = Scores()
    assert known.standing("a", 0) is Standing.GOOD
    assert known.score("a", 0) == 0
    assert known.offences("a") == {}


@pytest.mark.parametrize("offence", HARD)
def test_each_hard_offence_leads_through_all_standings_to_a_ban(offence: Offence) -> None:
    known = Scores()
    seen = [known.blame("a", offence, 0) for _ in range(60)]
    assert seen == sorted(seen)
    assert seen[-1] is Standing.BANNED
    assert known.offences("a")[offence] == 60
    assert known.standing("b", 0) is Standing.GOOD


@given(st.lists(st.tuples(st.sampled_from(SOFT), st.integers(0, 5_000)), max_size=200), st.integers(0, 8))
def test_soft_offences_never_ban(offences: list[tuple[Offence, int]], crowd: int) -> None:
    known, now_ms = Scores(), 0
    for number in range(crowd):
        known.arrive(str(number), "10.1.1.0/24")
    for offence, pause_ms in offences:
        now_ms += pause_ms
        assert known.blame("0", offence, now_ms) < Standing.IGNORED


def test_points_fade_and_what_faded_is_forgiven() -> None:
    known = Scores()
    known.blame("a", Offence.REJECTED, 0, times=4)
    assert known.score("a", 0) == -60
    assert known.score("a", 30_000) == -45
    assert known.score("a", 60_000) in range(-34, -29)
    assert known.standing("a", 60_000) is Standing.UNWANTED
    assert known.standing("a", 200_000) is Standing.GOOD


def test_fading_does_not_depend_much_on_how_often_one_looks() -> None:
    often, once = Scores(), Scores()
    for known in (often, once):
        known.blame("a", Offence.REJECTED, 0, times=6)
    for now_ms in range(0, 120_001, 50):
        often.score("a", now_ms)
    assert once.score("a", 120_000) == -22
    assert often.score("a", 120_000) in range(-34, -22)


def test_credit_outweighs_a_little_and_no_more() -> None:
    known = Scores()
    for _ in range(1000):
        known.credit("a", 0)
    assert known.score("a", 0) == scores.CREDIT_MAX
    known.blame("a", Offence.REJECTED, 0)
    assert known.standing("a", 0) is Standing.GOOD
    assert known.blame("a", Offence.FORGED, 0, times=4) is Standing.BANNED


def test_bans_expire_and_grow() -> None:
    known, now_ms = Scores(), 0
    for seconds in (BAN_S, 2 * BAN_S, 4 * BAN_S):
        assert known.blame("a", Offence.OVERRUN, now_ms) is Standing.BANNED
        assert known.ban_ms("a", now_ms) == seconds * 1000
        assert known.is_banned("a", now_ms + seconds * 1000 - 1)
        now_ms += seconds * 1000
        assert not known.is_banned("a", now_ms)
        assert known.standing("a", now_ms) is Standing.GOOD
    for _ in range(20):
        known.blame("a", Offence.OVERRUN, now_ms)
    assert known.ban_ms("a", now_ms) == scores.BAN_S_MAX * 1000


def test_a_crowd_of_one_network_costs_the_mesh() -> None:
    known = Scores()
    for number in range(scores.COLOCATED_FREE):
        known.arrive(str(number), "net")
    assert known.score("0", 0) == 0
    for number in range(8):
        known.arrive(str(number), "net")
    assert known.standing("0", 0) is Standing.UNWANTED
    assert known.standing("stranger", 0) is Standing.GOOD
    for number in range(8):
        known.depart(str(number))
        known.depart(str(number))
    assert known.score("0", 0) == 0
    assert known._crowds == {}


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "REMEMBERED_MAX", 10)
    known = Scores()
    for number in range(100):
        known.blame(str(number), Offence.OVERRUN, 0)
    assert len(known._records) == len(known._bans) == 10
    assert known.is_banned("99", 0)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3_000),
            st.sampled_from(("new", "duplicate", "crossed graft", "lost promise", "paused")),
            st.integers(1, 100),
        ),
        max_size=150,
    )
)
def test_an_honest_remote_under_loss_and_reordering_is_never_banned(
    happenings: list[tuple[int, str, int]],
) -> None:
    # What reaches us of an honest node over a bad path: up to 100 messages a second, in any order, some
    # twice; grafts that crossed a prune; offers whose message was lost; pauses in which it reads nothing,
    # after which it sends all that its outbox held (4 MiB, 400 bytes each at least).
    known, bucket, now_ms, waited_ms = Scores(), Bucket(REMOTE_RATE, 0), 0, 0
    for pause_ms, kind, count in happenings:
        now_ms += pause_ms
        match kind:
            case "new":
                known.credit("a", now_ms)
                waited_ms += bucket.draw(NEW_TOKENS * min(count, pause_ms // 10), now_ms)
            case "duplicate":
                waited_ms += bucket.draw(DUPLICATE_TOKENS * min(count, pause_ms // 10), now_ms)
            case "crossed graft":
                known.blame("a", Offence.EAGER_GRAFT, now_ms)
            case "lost promise":
                known.blame("a", Offence.BROKEN_PROMISE, now_ms)
            case "paused":
                now_ms += 20_000
                known.blame("a", Offence.STALLED, now_ms)
                waited_ms += bucket.draw(DUPLICATE_TOKENS * ((4 << 20) // 400), now_ms)
        if waited_ms >= 1000:
            known.blame("a", Offence.FLOOD, now_ms, times=waited_ms // 1000)
            waited_ms %= 1000
        assert known.standing("a", now_ms) < Standing.IGNORED
