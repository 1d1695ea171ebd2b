"""A simulated trainer that dies, hangs or is slow fails as the real one's door says."""

import random
from collections import Counter

from p2pai import jobs
from p2pai.primitives.ids import ZERO_HASH
from p2pai.shell.trainer import DEADLINES_S
from testnet.simulator.training import TRAIN_MS, Ailment, Trainer

OPEN = jobs.Open("s", b"", ZERO_HASH, (), None)


class Child:
    """Opens what it is told to; keeps nothing else."""

    def run(self, job):
        if isinstance(job, jobs.Open):
            return jobs.Opened(None, 1, 1, ZERO_HASH)
        return jobs.Kept(None, ZERO_HASH)


class Bench:
    def __init__(self, *ailments):
        self.ailments, self.fired, self.children = list(ailments), Counter(), 0
        self.trainer = Trainer(self.start, self.ailments, random.Random(1), self.fired)

    def start(self):
        self.children += 1
        return Child()

    def run(self, job, now_ms=0):
        took_ms, finish = self.trainer.take(job, now_ms)
        return took_ms, finish()


def test_jobs_wait_for_each_other():
    bench = Bench()
    first, _ = bench.run(OPEN)
    second, _ = bench.run(jobs.Keep("s"))
    assert TRAIN_MS[0] <= first <= TRAIN_MS[1]
    assert first + TRAIN_MS[0] <= second <= first + TRAIN_MS[1]
    assert bench.run(jobs.Keep("s"), now_ms=1_000)[0] <= TRAIN_MS[1]


def test_a_dead_child_takes_its_sessions_with_it_until_they_are_opened_again():
    bench = Bench()
    bench.run(OPEN)
    bench.ailments.append(Ailment("trainer-dies", "dies", 100))
    assert bench.run(jobs.Keep("s"))[1] == jobs.Failed("trainer restarted: it died")
    assert bench.children == 2
    bench.ailments.clear()
    lost = jobs.Failed("trainer restarted; session s is lost, open it again")
    assert bench.run(jobs.Keep("s"))[1] == lost
    assert isinstance(bench.run(jobs.Keep("other"))[1], jobs.Kept)
    bench.run(OPEN)
    assert isinstance(bench.run(jobs.Keep("s"))[1], jobs.Kept)
    assert bench.fired == {"trainer-dies": 1}


def test_one_that_hangs_is_killed_at_the_deadline():
    bench = Bench(Ailment("trainer-hangs", "hangs", 100))
    took_ms, result = bench.run(jobs.Keep("s"))
    assert took_ms == DEADLINES_S[jobs.Keep] * 1000
    assert result == jobs.Failed("trainer restarted: Keep took more than 120 s")


def test_a_slow_one_takes_its_time():
    bench = Bench(Ailment("trainer-slow", "slow", 100, factor=100))
    took_ms, result = bench.run(jobs.Keep("s"))
    assert took_ms >= 100 * TRAIN_MS[0]
    assert isinstance(result, jobs.Kept)
