"""Whatever remotes do, a gathering ends with all chunks or without sources, and asks nobody in vain."""

import random
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from p2pai.gossip.gathering import HEDGE_MS, LATE_MAX, SOURCES_MAX, STALE_MS, Gathering, Miss
from p2pai.primitives import merkle
from p2pai.primitives.ids import PeerId

LEAVES = [merkle.leaf_hash(bytes([number])) for number in range(40)]
A, B, C = PeerId("a"), PeerId("b"), PeerId("c")
STEPS_MAX = 3_000
BREAKS_MAX = 4
FAULTS = ("gives", "gives", "lies", "late", "absent", "breaks")


def gathering(count: int, *remotes: PeerId, here: int = 0) -> Gathering:
    it = Gathering(0)
    it.begin(LEAVES[:count], LEAVES[:here], 0)
    for remote in remotes:
        it.join(remote)
    return it


def test_chunks_go_to_whoever_is_free_and_nothing_twice():
    it = gathering(4, A, B, here=1)
    asked = [it.choose(remote, 0) for remote in (A, B, A, B, A)]
    assert asked == [*LEAVES[1:4], None, None]
    assert it.came(A, LEAVES[1], 5) == ()
    assert it.choose(A, 5) is None
    assert it.missing_count == 2


def test_equal_chunks_are_one():
    it = Gathering(0)
    it.begin([LEAVES[0], LEAVES[0]], (), 0)
    it.join(A)
    assert it.choose(A, 0) == LEAVES[0]
    it.came(A, LEAVES[0], 1)
    assert it.is_complete


def test_a_blob_that_is_here_needs_nobody():
    assert gathering(3, here=3).is_complete
    assert not Gathering(0).is_complete


def test_the_end_is_asked_again_elsewhere_and_the_loser_called_off():
    it = gathering(2, A, B)
    assert [it.choose(A, 0), it.choose(A, 1)] == LEAVES[:2]
    assert it.choose(B, STALE_MS - 1) is None
    assert it.choose(B, STALE_MS) == LEAVES[0], "what was asked first"
    it.join(C)
    assert it.choose(C, STALE_MS + 1) == LEAVES[1]
    assert it.choose(C, STALE_MS + 1) is None, "the first was asked again just now"
    assert it.came(B, LEAVES[0], STALE_MS + 2) == (A,)
    assert it.came(A, LEAVES[1], STALE_MS + 3) == (C,)
    assert it.is_complete


def test_who_is_silent_is_dropped_and_its_chunks_are_free():
    it = gathering(2, A, B)
    it.choose(A, 0)
    it.choose(A, 0)
    it.missed(A, LEAVES[0], Miss.LATE)
    assert it.sources == (B,)
    assert it.reasons == {A: "it stopped answering"}
    assert [it.choose(B, 1), it.choose(B, 1)] == LEAVES[:2]
    it.join(A)
    assert it.sources == (B,)


def test_who_is_slow_may_try_again_but_first_what_it_was_not_late_with():
    it = gathering(3, A)
    assert [it.choose(A, 0), it.choose(A, 0)] == LEAVES[:2]
    it.came(A, LEAVES[0], 9)
    it.missed(A, LEAVES[1], Miss.LATE)
    assert [it.choose(A, 10), it.choose(A, 10)] == [LEAVES[2], LEAVES[1]]


def test_who_comes_back_is_asked_again_but_not_for_what_it_lacks():
    it = gathering(2, A)
    it.missed(A, it.choose(A, 0), Miss.ABSENT)
    assert it.choose(A, 0) == LEAVES[1]
    it.leave(A)
    assert it.sources == ()
    assert it.choose(A, 0) is None
    it.join(A)
    assert [it.choose(A, 1), it.choose(A, 10 * STALE_MS)] == [LEAVES[1], None]
    it.leave(A)
    it.drop(A, "it lied")
    it.join(A)
    assert it.sources == ()


def test_who_lacks_all_that_is_missing_is_of_no_use():
    it = gathering(2, A, B)
    for _ in range(2):
        it.missed(A, it.choose(A, 0), Miss.ABSENT)
    assert it.choose(A, 10 * STALE_MS) is None
    assert not it.is_useful(A)
    assert it.is_useful(B)


def test_more_sources_for_more_chunks_and_for_silence():
    assert Gathering(0).wanted(0) == 1
    assert Gathering(0).wanted(2 * HEDGE_MS) == 3
    assert gathering(1, A).wanted(0) == 1
    assert gathering(40, A).wanted(0) == SOURCES_MAX


@dataclass
class Run:
    """A gathering under whatever Hypothesis draws, and what must hold at each step."""

    it: Gathering
    asked: dict[tuple[PeerId, bytes], int] = field(default_factory=dict)
    late: dict[tuple[PeerId, bytes], int] = field(default_factory=dict)
    broken: dict[tuple[PeerId, bytes], int] = field(default_factory=dict)
    breaks: dict[PeerId, int] = field(default_factory=dict)
    absent: set[tuple[PeerId, bytes]] = field(default_factory=set)
    flying: set[tuple[PeerId, bytes]] = field(default_factory=set)
    liars: set[PeerId] = field(default_factory=set)
    got: set[bytes] = field(default_factory=set)

    def ask(self, remote: PeerId, now_ms: int) -> bool:
        leaf = self.it.choose(remote, now_ms)
        if leaf is None:
            return False
        key = (remote, leaf)
        assert remote not in self.liars
        assert leaf not in self.got
        assert key not in self.absent
        failed = self.late.get(key, 0) + self.broken.get(key, 0)
        assert self.asked.get(key, 0) == failed, "asked twice without having failed"
        assert self.late.get(key, 0) < LATE_MAX
        self.asked[key] = self.asked.get(key, 0) + 1
        self.flying.add(key)
        return True

    def answer(self, key: tuple[PeerId, bytes], how: str, now_ms: int) -> None:
        remote, leaf = key
        self.flying.discard(key)
        if how == "gives":
            others = self.it.came(remote, leaf, now_ms)
            called_off = {k for k in self.flying if k[1] == leaf}
            assert {(other, leaf) for other in others} == called_off
            self.flying -= called_off
            self.got.add(leaf)
        elif how == "breaks":
            for other in [k for k in (*self.flying, key) if k[0] == remote]:
                self.broken[other] = self.broken.get(other, 0) + 1
            self.it.leave(remote)
            self.breaks[remote] = self.breaks.get(remote, 0) + 1
            if self.breaks[remote] < BREAKS_MAX:
                self.flying = {k for k in self.flying if k[0] != remote}
                self.it.join(remote)
            else:
                self.it.drop(remote, "it went away too often")
        elif how == "lies":
            self.it.drop(remote, "it lied")
            self.liars.add(remote)
        else:
            miss = Miss.LATE if how == "late" else Miss.ABSENT
            self.it.missed(remote, leaf, miss)
            if miss is Miss.LATE:
                self.late[key] = self.late.get(key, 0) + 1
            else:
                self.absent.add(key)
        self.flying = {k for k in self.flying if k[0] in self.it.sources}


@given(
    seed=st.integers(0, 1 << 32),
    chunks=st.integers(1, 12),
    here=st.integers(0, 4),
    count=st.integers(1, 5),
    honest=st.booleans(),
)
def test_any_interleaving_ends_with_all_chunks_or_with_a_reason(seed, chunks, here, count, honest):
    dice = random.Random(seed)
    remotes = [PeerId(str(number)) for number in range(count)]
    run = Run(gathering(chunks, *remotes, here=min(here, chunks)))
    good, now_ms, steps = (remotes[0] if honest else None), 0, 0
    while not run.it.is_complete and run.it.sources:
        steps += 1
        assert steps < STEPS_MAX, "it goes on for ever"
        now_ms += dice.choice((0, 1, STALE_MS))
        remote = dice.choice(run.it.sources)
        if not run.ask(remote, now_ms) and not run.it.is_useful(remote):
            run.it.drop(remote, "it has no more of it")
            run.flying = {k for k in run.flying if k[0] != remote}
        elif run.flying and dice.random() < 0.5:
            key = dice.choice(sorted(run.flying))
            run.answer(key, "gives" if key[0] == good else dice.choice(FAULTS), now_ms)
    missing = set(LEAVES[min(here, chunks) : chunks]) - run.got
    assert run.it.is_complete == (not missing)
    assert run.it.is_complete or set(run.it.reasons) == set(remotes), "each has a reason"
    if honest:
        assert run.it.is_complete, "one honest source is enough"
