"""Target: a list of shards survives the wire, and nothing else than the task's own list is read."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain import shards
from p2pai.chain.training import ReedSolomon
from p2pai.primitives import blob
from p2pai.primitives.errors import InvalidMessage
from tests.chain.ledger import definition, label

ROWS = tuple(tuple(label("shard", i, j) for j in range(3)) for i in range(10))


def task(listed):
    dataset = replace(definition().dataset, shards=blob.blob_id(listed))
    return definition(redundancy=ReedSolomon(2, 1), dataset=dataset)


TASK = task(shards.write(ROWS))


def test_a_list_survives_the_wire():
    chunks = shards.write(ROWS)
    assert [len(chunk) for chunk in chunks] == [96] * 10
    assert shards.read(TASK, b"".join(chunks)) == ROWS


@pytest.mark.parametrize("rows", [ROWS[:9], (*ROWS, ROWS[0]), tuple(row[:2] for row in ROWS), ((),) * 10])
def test_it_has_a_row_for_each_fragment(rows):
    chunks = shards.write(rows)
    with pytest.raises(InvalidMessage, match="row for each fragment"):
        shards.read(task(chunks), b"".join(chunks))


def test_another_list_is_refused():
    with pytest.raises(InvalidMessage, match="not the task's"):
        shards.read(TASK, b"".join(shards.write(ROWS[::-1])))


def test_a_list_that_is_cut_otherwise_is_refused():
    whole = b"".join(shards.write(ROWS))
    with pytest.raises(InvalidMessage, match="cut into rows"):
        shards.read(task((whole,)), whole)


@given(st.binary(max_size=1000))
def test_any_bytes_are_a_list_or_invalid(data):
    with pytest.raises(InvalidMessage):
        shards.read(TASK, data)
