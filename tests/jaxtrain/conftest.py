"""A blob store in memory, and tasks on the digits, for the tests of the trainer."""

from dataclasses import replace
from pathlib import Path

import pytest
from kinds import DENSE

import p2pai
from p2pai import jobs
from p2pai.chain.layers import Activation, Dense, Function
from p2pai.chain.task import TaskDefinition, check
from p2pai.chain.training import FULL_REPLICAS, Holdout, Redundancy, Sgd, Tau
from p2pai.jaxtrain.worker import Worker
from p2pai.primitives.blob import blob_id
from p2pai.primitives.errors import Unavailable

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
    prepared = worker.run(jobs.Prepare(DIGITS, "npz", False, 30, 10))
    assert isinstance(prepared, jobs.Prepared)
    return digits_task(prepared)


def digits_task(
    prepared: jobs.Prepared, *, hidden: int = 64, batch_size: int = 30, redundancy: Redundancy = FULL_REPLICAS
) -> TaskDefinition:
    draft = replace(
        DENSE,
        name="digits",
        layers=(Dense(hidden), Activation(Function.RELU), Dense(prepared.classes)),
        optimiser=Sgd(250_000),
        tau=Tau(6, 0),
        epochs=20,
        validation=Holdout(10),
        dataset=replace(DENSE.dataset, batch_size=batch_size),
        redundancy=redundancy,
    )
    found = prepared
    task = draft.with_data(
        found.samples, found.features, found.classes, found.targets, found.fragments, found.shards
    )
    check(task)
    return task
