"""Mini-batches as bytes: read as written, everything else refused; and how a dataset is cut into them."""

import numpy as np
import pytest
from conftest import DIGITS
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pai.jaxtrain import data_file, dataset
from p2pai.primitives.errors import InvalidInput, InvalidMessage

X = np.arange(24, dtype=np.uint8).reshape(6, 4) % 17
Y = np.array([0, 1, 2, 0, 1, 2])
CHUNK = dataset.serialise(X, Y, 4)
NUMBERS = np.random.default_rng(1).normal(size=(6, 2)).astype(np.float32)


def parse(chunk, classes=3, targets=0):
    return dataset.parse(chunk, features=4, classes=classes, targets=targets)


def test_a_batch_is_read_as_written_and_scaled_exactly():
    batch = parse(CHUNK)
    assert batch.x.dtype == np.float32
    assert np.array_equal(batch.x, X / 16)
    assert np.array_equal(batch.y, Y)
    floats = dataset.serialise((X / 3).astype(np.float32), Y, 0)
    assert np.array_equal(parse(floats).x, (X / 3).astype(np.float32))


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_other_bytes_are_refused(data):
    with pytest.raises(InvalidMessage):
        parse(data)


@pytest.mark.parametrize("position", range(16))
def test_every_byte_of_the_header_counts(position):
    changed = bytearray(CHUNK)
    changed[position] ^= 0x21
    try:
        batch = parse(bytes(changed))
    except InvalidMessage:
        return
    assert position == 6, "only the scale may change without being malformed"
    assert not np.array_equal(batch.x, parse(CHUNK).x)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 65_537.0, -65_537.0, -0.0, 2.0**-101, 1e-45])
@pytest.mark.parametrize("where", ["feature", "label"])
def test_numbers_out_of_range_are_refused(where, value):
    x, y = X.astype(np.float32), NUMBERS
    good = dataset.serialise(x, y, 0)
    offset = 16 + 4 * 9 if where == "feature" else len(good) - 4
    bad = good[:offset] + np.float32(value).tobytes() + good[offset + 4 :]
    with pytest.raises(InvalidMessage, match=f"{where} is out of range"):
        parse(bad, classes=0, targets=2)


@pytest.mark.parametrize("value", [65_536.0, -65_536.0, 0.0, 2.0**-100, -(2.0**-100)])
def test_numbers_at_the_edges_pass(value):
    x, y = X.astype(np.float32), NUMBERS.copy()
    x[2, 1] = y[5, 1] = value
    batch = parse(dataset.serialise(x, y, 0), classes=0, targets=2)
    assert batch.x[2, 1] == batch.y[5, 1] == value


def test_what_is_too_small_to_count_is_written_as_zero():
    tiny = np.array([[-0.0, 2.0**-101, -(2.0**-149), 1]], np.float64)
    batch = parse(dataset.serialise(tiny, tiny[:, :2], 0), classes=0, targets=2)
    assert batch.x.tolist() == [[0, 0, 0, 1]]
    assert not np.any(np.signbit(batch.x) | np.signbit(batch.y).any())


def test_a_batch_of_numbers_is_read_as_written():
    batch = parse(dataset.serialise(X, NUMBERS, 8), classes=0, targets=2)
    assert np.array_equal(batch.y, NUMBERS)
    assert batch.y.dtype == np.float32
    assert np.array_equal(batch.x, X / 256)


def test_a_batch_of_the_other_kind_is_refused():
    with pytest.raises(InvalidMessage, match="2 numbers in a label, expected 0"):
        parse(dataset.serialise(X, NUMBERS, 4))
    with pytest.raises(InvalidMessage, match="0 numbers in a label, expected 2"):
        parse(CHUNK, classes=0, targets=2)
    with pytest.raises(InvalidMessage, match="4 features, expected 5"):
        dataset.parse(CHUNK, features=5, classes=3, targets=0)


@pytest.mark.parametrize(
    ("offset", "value", "said"),
    [
        (0, b"P2MC", "not a mini-batch"),
        (4, b"\1", "not a mini-batch"),
        (5, b"\2", "unknown kind"),
        (6, b"\x09", "unknown kind"),
        (8, bytes(4), "wrong size"),
        (8, b"\xff\xff\xff\xff", "wrong size"),
        (12, b"\xff\xff\xff\xff", "features, expected 4"),
    ],
)
def test_headers_that_are_wrong_are_named(offset, value, said):
    with pytest.raises(InvalidMessage, match=said):
        parse(CHUNK[:offset] + value + CHUNK[offset + len(value) :])
    floats = dataset.serialise(X.astype(np.float32), Y, 0)
    with pytest.raises(InvalidMessage, match="unknown kind"):
        parse(floats[:6] + b"\1" + floats[7:])


def test_a_batch_without_samples_is_refused():
    with pytest.raises(InvalidMessage, match="wrong size"):
        parse(dataset.serialise(X[:0], Y[:0], 4))


def test_labels_and_length_are_checked():
    with pytest.raises(InvalidMessage, match="label"):
        parse(dataset.serialise(X, Y + 1, 4))
    for chunk in (CHUNK[:-1], CHUNK + b"\0"):
        with pytest.raises(InvalidMessage, match="size"):
            parse(chunk)


def test_fragments_are_consecutive_and_equal_but_for_the_last():
    samples = data_file.read(DIGITS, "npz", regression=False)
    fragments = dataset.cut(samples.x, samples.y, 10, 32)
    sizes = [[len(dataset.parse(c, features=64, classes=10, targets=0).y) for c in f] for f in fragments]
    assert sizes == [[32] * 5 + [20]] * 9 + [[32] * 5 + [17]]
    batches = [dataset.parse(c, features=64, classes=10, targets=0) for f in fragments for c in f]
    assert np.array_equal(np.concatenate([b.y for b in batches]), samples.y)
    assert np.array_equal(np.concatenate([b.x for b in batches]) * 16, samples.x)


def test_scale_is_the_smallest_that_reaches_one():
    shifts = [dataset.scale_shift(np.array([[v]], np.uint8)) for v in (0, 1, 2, 3, 16, 17, 255)]
    assert shifts == [0, 0, 1, 2, 4, 5, 8]
    assert dataset.scale_shift(np.array([[9.5]], np.float32)) == 0


def test_bytes_are_scaled_to_one_at_most_and_exactly():
    x = np.array([[0, 1, 128, 255]] * 4, np.uint8)
    (chunk,), _ = dataset.cut(x, np.array([0, 1, 2, 0]), 2, 2)
    assert parse(chunk).x.tolist() == [[0, 1 / 256, 0.5, 255 / 256]] * 2


def test_one_scale_serves_a_whole_dataset():
    x = np.repeat(np.arange(1, 7, dtype=np.uint8), 4).reshape(6, 4)
    fragments = dataset.cut(x, Y, 3, 1)
    found = np.concatenate([parse(chunk).x for fragment in fragments for chunk in fragment])
    assert np.array_equal(found * 8, x)


def test_a_regression_is_cut_like_a_classification():
    fragments = dataset.cut(X.astype(np.float32) / 3, NUMBERS, 2, 2)
    batches = [parse(chunk, classes=0, targets=2) for fragment in fragments for chunk in fragment]
    assert [len(b.y) for b in batches] == [2, 1, 2, 1]
    assert np.array_equal(np.concatenate([b.y for b in batches]), NUMBERS)
    assert np.array_equal(np.concatenate([b.x for b in batches]), X.astype(np.float32) / 3)


def test_too_few_samples_and_too_large_batches_are_refused():
    with pytest.raises(InvalidInput, match="cannot be cut"):
        dataset.cut(X, Y, 5, 2)
    with pytest.raises(InvalidInput, match="1 MiB"):
        dataset.cut(np.zeros((20, 40_000), np.float32), np.zeros(20), 10, 10)
    with pytest.raises(InvalidInput, match="1 MiB"):
        dataset.cut(np.zeros((20, 4), np.uint8), np.zeros((20, 255), np.float32), 10, 1100)
    assert dataset.cut(np.zeros((20, 4), np.uint8), np.zeros((20, 255), np.float32), 10, 1000)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 9))
def test_every_sample_is_in_one_batch(samples, fragment_count, batch_size):
    x = np.arange(4 * samples, dtype=np.float32).reshape(samples, 4)
    try:
        fragments = dataset.cut(x, np.zeros(samples), fragment_count, batch_size)
    except InvalidInput:
        assert samples <= -(-samples // fragment_count) * (fragment_count - 1)
        return
    assert len(fragments) == fragment_count
    assert all(fragments)
    found = [parse(chunk, classes=1).x for fragment in fragments for chunk in fragment]
    assert all(1 <= len(rows) <= batch_size for rows in found)
    assert np.array_equal(np.concatenate(found), x)
