"""A blob store in memory, and tasks on the digits, for the tests of the trainer."""

from pathlib import Path

import pytest

import p2pai
from p2pai import jobs
from p2pai.chain.task import Dataset, Dense, Group, Reward, Sgd, TaskDefinition, check
from p2pai.jaxtrain.worker import Worker
from p2pai.primitives.blob import blob_id
from p2pai.primitives.errors import Unavailable
from p2pai.primitives.ids import PeerId

DIGITS = str(Path(p2pai.__file__).parent / "data" / "digits.npz")


class Shelf:
    """A content-addressed store."""

    def __init__(self):
        self.blobs = {}
        self.shared = set()

    def get(self, name):
        if name not in self.blobs:
            raise Unavailable("that blob has not arrived yet")
        return self.blobs[name]

    def put(self, chunks, shared):
        name = blob_id(chunks)
        self.blobs[name] = tuple(chunks)
        if shared:
            self.shared.add(name)
        return name


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
def worker(shelf):
    return Worker(shelf)


@pytest.fixture
def task(worker):
    """A small network on the digits, whose fragments are on the shelf."""
    prepared = worker.run(jobs.Prepare(DIGITS, "npz", 30, 10))
    assert isinstance(prepared, jobs.Prepared)
    return digits_task(prepared)


def digits_task(prepared: jobs.Prepared, *, hidden: int = 64, batch_size: int = 30) -> TaskDefinition:
    data = Dataset(
        "npz", prepared.samples, prepared.features, prepared.classes, batch_size, 80, 10, prepared.fragments
    )
    task = TaskDefinition(
        name="digits",
        layers=(Dense(hidden, "relu"), Dense(prepared.classes, "none")),
        loss="softmax_cross_entropy",
        optimiser=Sgd(250_000),
        tau_bits=6,
        epochs=20,
        metrics=("loss", "accuracy"),
        dataset=data,
        group=Group(3, 3, 3),
        reward=Reward(80, 10, 10),
        preferences=(1, 1, 1),
        client=PeerId("client"),
        expected_blocks=1000,
    )
    check(task)
    return task
