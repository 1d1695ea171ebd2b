"""Target: where nothing slows miners down, the trainer computes an iteration while it ends the one before."""

from dataclasses import replace

import pytest

from p2pai import jobs
from p2pai.chain import it_res
from p2pai.chain.committee import StatusStatement
from p2pai.chain.supervision import NodeStatus
from p2pai.jaxtrain.worker import Worker
from p2pai.roles.session import RETRY_MS
from testnet.simulator.host import Blobs
from tests.chain.ledger import MINERS, SUPERVISORS, Chain, devnet
from tests.roles.lone import Lone, iteration
from tests.roles.trained import prepared, spec, start_task


@pytest.fixture
def lone():
    """A miner whose jobs the test runs one by one."""
    fast = replace(spec(), params=replace(spec().params, iteration_ms_min=0))
    blobs = Blobs()
    for chunks in prepared().values():
        blobs.put(chunks, shared=False)
    return Lone(Chain(fast), MINERS[0], ("miner",), blobs=blobs)


def work(lone, worker, until):
    """Run the miner's jobs in order; return them with their results."""
    done = []
    while lone.jobs and not until(done):
        job = lone.jobs[0].job
        done.append((job, worker.run(job)))
        lone.trained(done[-1][1])
    return done


def steps(done):
    return [(job, result) for job, result in done if isinstance(job, jobs.Step)]


def test_each_iteration_begins_before_the_one_before_is_brought_to_its_end(lone):
    done = work(lone, Worker(lone.blobs), lambda d: len(steps(d)) == 4)
    order = [
        (type(job).__name__, (job.step if isinstance(job, jobs.Begin) else job).position.iteration)
        for job, _ in done
        if isinstance(job, jobs.Begin | jobs.Step)
    ]
    assert order[:3] == [("Begin", 0), ("Begin", 1), ("Step", 0)]
    assert order[3:] == [("Begin", 2), ("Step", 1), ("Begin", 3), ("Step", 2), ("Begin", 4), ("Step", 3)]


def test_what_comes_out_is_what_one_step_after_another_gives(lone):
    said = [iteration(lone.chain, MINERS[1], n) for n in range(3)]
    worker = Worker(lone.blobs)
    done = work(lone, worker, lambda d: len(steps(d)) == 2)
    for data in said:
        lone.hear_iteration(data)
    done += work(lone, worker, lambda d: len(steps(d)) == 4)
    alone = Worker(lone.blobs)
    alone.run(next(job for job, _ in done if isinstance(job, jobs.Open)))
    assert [alone.run(job) for job, _ in steps(done)] == [result for _, result in steps(done)]
    messages = [it_res.decode(data) for data in lone.take("it_res")]
    assert [m.peer_count for m in messages] == [0, 0, 0, 0, 3, 0]
    assert [m.applied for m in messages[1:]] == [m.queued for m in messages[:-1]]


def test_the_next_epoch_waits_for_its_peers(lone):
    session = lone.role().session
    last = session.place.turn(0).last
    done = work(lone, Worker(lone.blobs), lambda d: len(steps(d)) == last + 1)
    begun = [job.step.position.iteration for job, _ in done if isinstance(job, jobs.Begin)]
    assert begun == list(range(last + 1))
    assert [type(effect.job) for effect in lone.jobs] == [jobs.Validate]


def test_a_state_that_is_kept_is_the_one_that_was_announced(lone):
    worker = Worker(lone.blobs)
    done = work(lone, worker, lambda d: len(steps(d)) == 1)
    following = worker.run(jobs.Keep(lone.role().session.name))
    assert following.end == steps(done)[0][1].after


def test_a_lost_trainer_is_opened_again(lone):
    done = work(lone, Worker(lone.blobs), lambda d: len(steps(d)) == 2)
    lost = Worker(lone.blobs)
    work(lone, lost, lambda _: False)
    lone.wait(5_000)
    done = work(lone, lost, lambda d: len(steps(d)) == 2)
    assert [type(r) for _, r in steps(done)] == [jobs.Stepped] * 2
    numbers = [it_res.decode(data).iteration for data in lone.take("it_res")]
    assert sorted(dict.fromkeys(numbers)) == [0, 1, 2, 3]


def test_what_was_begun_before_a_miner_left_is_begun_anew():
    """The miner hears of it so late that it is in the epoch already."""
    chain = Chain(replace(devnet(), params=replace(devnet().params, iteration_ms_min=0)))
    task = start_task(chain, epochs=3)
    blobs = Blobs()
    for chunks in prepared().values():
        blobs.put(chunks, shared=False)
    lone, worker = Lone(chain, MINERS[0], ("miner",), blobs=blobs), Worker(blobs)
    lone.hear_iteration(iteration(chain, MINERS[1], 14, task), task)
    work(lone, worker, lambda d: len(steps(d)) == 20)
    lost = chain.tickets("miner", MINERS[2], task=task)[0]
    certificate = chain.certify(task, StatusStatement(task, lost, 2))
    chain.post(SUPERVISORS[0], NodeStatus(task, lost, 2, certificate))
    lone.mine()
    done = []
    for _ in range(6):
        done += work(lone, worker, lambda d: len(steps(d)) == 4)
        lone.wait(RETRY_MS + 1)
    assert any(isinstance(result, jobs.Failed) for _, result in done), "the trainer was ahead"
    messages = {m.iteration: m for m in map(it_res.decode, lone.take("it_res"))}
    assert list(messages) == list(range(len(messages)))
    assert max(messages) > 30
    assert messages[30].epoch == lone.role().session.place.turn(30).epoch == 2, "the third, as it was before"
