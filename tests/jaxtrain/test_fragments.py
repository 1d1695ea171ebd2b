"""A client's file cut into fragments; what restores them, and what they hold."""

import re
from dataclasses import replace

import pytest
from asking import failed, prepare
from conftest import DIGITS, Shelf, digits_task

from p2pai import jobs
from p2pai.chain import shards
from p2pai.chain.training import ReedSolomon
from p2pai.jaxtrain.worker import Worker
from p2pai.primitives import merkle
from p2pai.primitives.ids import ZERO_HASH, BlobId, Hash32


def test_prepare_describes_the_dataset_and_shares_nothing(worker, shelf):
    prepared = worker.run(prepare())
    assert (prepared.samples, prepared.features, prepared.classes, prepared.targets) == (1797, 64, 10, 0)
    assert len(set(prepared.fragments)) == 10
    assert all(len(shelf.get(fragment)) == 6 for fragment in prepared.fragments)
    assert not shelf.shared


def test_prepare_takes_numbers_for_a_regression(worker):
    prepared = worker.run(prepare(regression=True))
    assert (prepared.samples, prepared.features, prepared.classes, prepared.targets) == (1797, 64, 0, 1)


def test_a_file_that_cannot_be_prepared_is_said(worker):
    assert "cannot be read" in failed(worker, prepare("/nowhere"))
    assert "at least 1" in failed(worker, prepare(batch_size=0))
    assert "at least 1" in failed(worker, prepare(fragment_count=0))
    assert "unknown data format" in failed(worker, prepare(form="parquet"))
    assert "cannot be cut" in failed(worker, prepare(fragment_count=1500))


@pytest.fixture
def sharded(worker):
    """A task on the digits whose fragments are cut into 2 + 1 shards."""
    scheme = ReedSolomon(2, 1)
    made = worker.run(jobs.Prepare(DIGITS, "npz", False, 30, 10, scheme))
    task = digits_task(made, redundancy=scheme)
    assert task.dataset.shards == made.shards is not None
    return task


def rows(shelf, task):
    return shards.read(task, b"".join(shelf.get(task.dataset.shards)))


def only(shelf, *names):
    """Another's shelf, with some of the blobs."""
    theirs = Shelf()
    for name in names:
        theirs.put(shelf.get(name), shared=False)
    return theirs


def test_shards_change_neither_the_fragments_nor_what_is_shared(shelf, worker, sharded):
    whole = worker.run(prepare())
    assert whole.shards is None
    assert whole.fragments == sharded.dataset.fragments
    assert shelf.shared == set()


def test_each_row_of_the_list_can_be_proven(shelf, sharded):
    listed = shelf.get(sharded.dataset.shards)
    leaves = [merkle.leaf_hash(chunk) for chunk in listed]
    for i, row in enumerate(rows(shelf, sharded)):
        path = merkle.inclusion_path(leaves, i)
        merkle.verify_inclusion(merkle.leaf_hash(b"".join(row)), i, 10, path, Hash32(sharded.dataset.shards))
        assert len(row) == 3


@pytest.mark.parametrize("here", [(0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_a_fragment_is_restored_from_any_two_shards(shelf, sharded, here):
    for fragment, row in zip(sharded.dataset.fragments, rows(shelf, sharded), strict=True):
        theirs = only(shelf, sharded.dataset.shards, *(row[i] for i in here))
        restored = Worker(theirs).run(jobs.Restore(sharded.encode(), fragment))
        assert restored == jobs.Restored(fragment, "")
        assert theirs.get(fragment) == shelf.get(fragment)
        assert theirs.shared == set()


def test_too_few_shards_are_nobodys_fault(shelf, sharded):
    fragment, row = sharded.dataset.fragments[3], rows(shelf, sharded)[3]
    theirs = Worker(only(shelf, sharded.dataset.shards, row[1]))
    assert "2 shards restore a fragment, 1 are here" in failed(
        theirs, jobs.Restore(sharded.encode(), fragment)
    )
    nothing = Worker(only(shelf, *row))
    assert "not arrived" in failed(nothing, jobs.Restore(sharded.encode(), fragment))


def lying(shelf, task, change):
    """The task of a client whose list names other shards for fragment 3."""
    found = list(rows(shelf, task))
    found[3] = change(found)
    listed = shelf.put(shards.write(found), shared=False)
    return replace(task, dataset=replace(task.dataset, shards=listed))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda found: found[4], "something else"),
        (lambda found: (found[3][1], found[3][0], found[3][2]), "something else|impossible|more than"),
        (lambda found: (found[3][0], found[4][1], found[3][2]), "something else|impossible|more than"),
        (lambda found: (found[3][0], found[9][1], found[3][2]), "differ in length"),
    ],
)
def test_shards_that_restore_something_else_are_a_lie(shelf, worker, sharded, change, reason):
    task = lying(shelf, sharded, change)
    fragment = task.dataset.fragments[3]
    result = worker.run(jobs.Restore(task.encode(), fragment))
    assert isinstance(result, jobs.Restored)
    assert re.search(reason, result.fault)


def test_only_a_tasks_own_fragments_are_restored(worker, task, sharded):
    assert "not one of the task's" in failed(worker, jobs.Restore(sharded.encode(), BlobId(ZERO_HASH)))
    assert "has no shards" in failed(worker, jobs.Restore(task.encode(), task.dataset.fragments[0]))


@pytest.mark.parametrize("scheme", [ReedSolomon(0, 1), ReedSolomon(1, 0), ReedSolomon(17, 16)])
def test_shards_that_cannot_be_made(worker, scheme):
    assert "at most 32" in failed(worker, replace(prepare(), redundancy=scheme))


def test_fragments_that_hold_what_the_task_says(worker, task):
    assert worker.run(jobs.Inspect(task.encode(), task.dataset.fragments)) == jobs.Inspected(None, "")
    assert "not arrived" in failed(Worker(Shelf()), jobs.Inspect(task.encode(), task.dataset.fragments))


def spoilt(shelf, task, change):
    """The task of a client whose fragment 3 was changed before its hash was taken."""
    fragments = list(task.dataset.fragments)
    fragments[3] = shelf.put(tuple(change(list(shelf.get(fragments[3])))), shared=False)
    return replace(task, dataset=replace(task.dataset, fragments=tuple(fragments)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda batches: batches[:-1], "not cut into mini-batches as the task defines"),
        (lambda batches: [*batches, batches[0]], "not cut into mini-batches as the task defines"),
        (lambda batches: [batches[0][:-1], *batches[1:]], "wrong size"),
        (lambda batches: [b"no data", *batches[1:]], "too short"),
        (lambda batches: [batches[0][:-2] + b"\x0a\x00", *batches[1:]], "a label is out of range"),
        (lambda batches: [batches[0][:5] + b"\x02" + batches[0][6:], *batches[1:]], "kind of feature"),
    ],
    ids=["samples are missing", "samples too many", "cut off", "garbage", "label", "dtype"],
)
def test_the_first_fragment_that_does_not_is_named(shelf, worker, task, change, reason):
    bad = spoilt(shelf, task, change)
    result = worker.run(jobs.Inspect(bad.encode(), bad.dataset.fragments))
    assert isinstance(result, jobs.Inspected)
    assert result.fragment == bad.dataset.fragments[3]
    assert reason in result.reason
    others = bad.dataset.fragments[:3] + bad.dataset.fragments[4:]
    assert worker.run(jobs.Inspect(bad.encode(), others)) == jobs.Inspected(None, "")
