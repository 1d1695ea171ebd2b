"""Any bytes give a value or a refusal of one line, in bounded time and memory, at every door.

The short form of `make fuzz`: sound messages, each with a part of all single damages, random bytes, and
whatever once broke a door.
"""

from functools import cache
from itertools import cycle, islice
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import damage
from tests.fuzz.doors import DOORS
from tests.fuzz.harness import knock, memory_max, memory_of
from tests.fuzz.regressions import FOUND

DAMAGED_MAX = 200
"""Damaged messages of each door in a normal run; `make fuzz` tries every damage."""

EVERY_DOOR = pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@cache
def damaged(name):
    """Return a door's sound messages with one or two random damages each."""
    door, random = DOORS[name], Random(5)
    found = []
    for seed in islice(cycle(door.seeds()), DAMAGED_MAX):
        once = damage.wreck(seed, door.form, random)
        found.append(once if random.randrange(3) else damage.wreck(once, door.form, random))
    return found


@EVERY_DOOR
def test_sound_messages_are_taken(door):
    refused = [seed for seed in door.seeds() if not knock(door, seed)]
    assert not refused


@EVERY_DOOR
def test_damaged_ones_are_taken_or_refused(door):
    taken = [knock(door, data) for data in damaged(door.name)]
    assert not all(taken), "nothing that was damaged is refused: the door checks nothing"


@EVERY_DOOR
@FEW
@given(data=st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(door, data):
    knock(door, data)


@EVERY_DOOR
def test_a_small_message_takes_little_memory(door):
    for data in [*door.seeds(), *damaged(door.name)[:30]]:
        assert memory_of(door, data) <= memory_max(data)


@pytest.mark.parametrize(
    ("door", "data"),
    [pytest.param(DOORS[name], data, id=what) for name, was in FOUND.items() for what, data in was.items()],
)
def test_what_once_broke_a_door_breaks_it_no_more(door, data):
    knock(door, data)
