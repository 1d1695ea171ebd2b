"""Jobs for a trainer of either kind, in few words."""

from conftest import DIGITS

from p2pai import jobs
from p2pai.primitives.ids import Hash32

SEED = Hash32(bytes(range(32)))
TAU_BITS = 6


def opened(worker, task, name="a", state=None):
    result = worker.run(jobs.Open(name, task.encode(), SEED, task.dataset.fragments[:8], state))
    assert isinstance(result, jobs.Opened), result
    return result


def step_of(i, batch=0, peers=(), name="a"):
    updates = tuple(jobs.PeerUpdate(TAU_BITS, data) for data in peers)
    return jobs.Step(name, jobs.Position(1, i, TAU_BITS), batch, updates)


def stepped(worker, i, batch=0, peers=(), name="a"):
    result = worker.run(step_of(i, batch, peers, name))
    assert isinstance(result, jobs.Stepped), result
    return result


def failed(worker, job):
    result = worker.run(job)
    assert isinstance(result, jobs.Failed), result
    assert "\n" not in result.reason
    return result.reason


def prepare(path=DIGITS, form="npz", *, regression=False, batch_size=30, fragment_count=10):
    return jobs.Prepare(path, form, regression, batch_size, fragment_count)
