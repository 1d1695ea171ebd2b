"""Keys of the DHT: each meeting its own, for an hour, and the next one's before it begins."""

from itertools import product

from p2pai.gossip.rendezvous import AHEAD_MS, PERIOD_MS, Meeting, current_key, provided_keys
from p2pai.primitives.ids import Hash32, TaskId

TASKS = (None, TaskId(Hash32(bytes(32))), TaskId(Hash32(bytes([1]) * 32)))


def test_each_meeting_has_its_own_key_and_each_hour_too():
    meetings = [Meeting(*parts) for parts in product(("0a1b2c3d", "ffffffff"), TASKS, ("", "supervisor"))]
    keys = {current_key(m, hour * PERIOD_MS) for m in meetings for hour in range(3)}
    assert len(keys) == 3 * len(meetings)
    assert all(key.startswith(b"\x12\x20") and len(key) == 34 for key in keys)


def test_who_looks_up_finds_even_with_a_clock_that_is_behind_or_ahead():
    meeting = Meeting("0a1b2c3d", TASKS[1])
    for hour, minute in product(range(3), range(60)):
        now = hour * PERIOD_MS + minute * 60_000
        # Records put within the last hour are all there still.
        put = {key for ago in range(60) for key in provided_keys(meeting, now + PERIOD_MS - ago * 60_000)}
        for skew in (-AHEAD_MS + 60_000, 0, AHEAD_MS - 60_000):
            assert current_key(meeting, now + PERIOD_MS + skew) in put


def test_who_left_is_not_found_after_the_next_hour():
    meeting = Meeting("0a1b2c3d", TASKS[1])
    for minute in range(60):
        left = minute * 60_000
        assert current_key(meeting, left + 2 * PERIOD_MS) not in provided_keys(meeting, left)
