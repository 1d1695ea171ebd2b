"""Mini-batches and their cutting, and data files that are wrong in every way."""

import gzip
import io
import zipfile

import numpy as np
import pytest
from conftest import DIGITS
from hypothesis import given
from hypothesis import strategies as st

from p2pai.jaxtrain import data_file, dataset
from p2pai.primitives.errors import InvalidInput, InvalidMessage

X = np.arange(24, dtype=np.uint8).reshape(6, 4) % 17
Y = np.array([0, 1, 2, 0, 1, 2])
CHUNK = dataset.serialise(X, Y, 4)


def parse(chunk):
    return dataset.parse(chunk, features=4, classes=3)


def test_a_batch_is_read_as_written_and_scaled_exactly():
    batch = parse(CHUNK)
    assert batch.x.dtype == np.float32
    assert np.array_equal(batch.x, X / 16)
    assert np.array_equal(batch.y, Y)
    floats = dataset.serialise((X / 3).astype(np.float32), Y, 0)
    assert np.array_equal(parse(floats).x, (X / 3).astype(np.float32))


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


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 65537.0])
def test_unreasonable_features_are_refused(value):
    x = X.astype(np.float32)
    x[2, 1] = value
    with pytest.raises(InvalidMessage, match="feature"):
        parse(dataset.serialise(x, Y, 0))


def test_labels_and_length_are_checked():
    with pytest.raises(InvalidMessage, match="label"):
        parse(dataset.serialise(X, Y + 1, 4))
    for chunk in (CHUNK[:-1], CHUNK + b"\0"):
        with pytest.raises(InvalidMessage, match="size"):
            parse(chunk)


def test_fragments_are_consecutive_and_equal_but_for_the_last():
    samples = data_file.read(DIGITS, "npz")
    fragments = dataset.cut(samples.x, samples.y, 10, 32)
    sizes = [[len(dataset.parse(c, features=64, classes=10).y) for c in f] for f in fragments]
    assert sizes == [[32] * 5 + [20]] * 9 + [[32] * 5 + [17]]
    batches = [dataset.parse(c, features=64, classes=10) for f in fragments for c in f]
    assert np.array_equal(np.concatenate([b.y for b in batches]), samples.y)
    assert np.array_equal(np.concatenate([b.x for b in batches]) * 16, samples.x)


def test_scale_is_the_smallest_that_reaches_one():
    shifts = [dataset.scale_shift(np.array([[v]], np.uint8)) for v in (0, 1, 2, 3, 16, 17, 255)]
    assert shifts == [0, 0, 1, 2, 4, 5, 8]
    assert dataset.scale_shift(np.array([[9.5]], np.float32)) == 0


def test_too_few_samples_and_too_large_batches_are_refused():
    with pytest.raises(InvalidInput, match="cannot be cut"):
        dataset.cut(X, Y, 5, 2)
    with pytest.raises(InvalidInput, match="1 MiB"):
        dataset.cut(np.zeros((20, 40_000), np.float32), np.zeros(20), 10, 10)


def test_all_formats_read_the_same_samples(tmp_path):
    np.savez(tmp_path / "d.npz", x=X.reshape(6, 2, 2), y=Y)
    lines = [",".join(map(str, [*row, label])) for row, label in zip(X, Y, strict=True)]
    (tmp_path / "d.csv").write_text("\n".join(lines))
    (tmp_path / "named.csv").write_text("\n".join(["a,b,c,d,label", *lines]))
    (tmp_path / "train-images-idx3-ubyte").write_bytes(
        bytes.fromhex("00000803000000060000000200000002") + X.tobytes()
    )
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(
        bytes.fromhex("0000080100000006") + Y.astype("u1").tobytes()
    )
    for name in ("d.npz", "d.csv", "named.csv", "train-images-idx3-ubyte"):
        form = name.split(".")[-1] if "." in name else "idx"
        samples = data_file.read(str(tmp_path / name), form)
        assert samples.x.dtype == np.uint8
        assert np.array_equal(samples.x, X)
        assert np.array_equal(samples.y, Y)
        assert samples.classes == 3


def test_fractions_stay_float32(tmp_path):
    (tmp_path / "d.csv").write_text("0.5,-1,0\n3.25,2,1\n")
    samples = data_file.read(str(tmp_path / "d.csv"), "csv")
    assert samples.x.dtype == np.float32
    assert samples.x.tolist() == [[0.5, -1], [3.25, 2]]


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def lying_npz():
    """An archive whose array says that it is huge."""
    file = io.BytesIO()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (1 << 62, 4)}
    )
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    return file.getvalue()


def truncated_npz():
    data = npz(x=np.random.default_rng(0).random((50, 4)), y=np.zeros(50))
    return data[:300] + bytes(40) + data[340:]


BAD = {
    "nothing.npz": b"",
    "text.npz": b"hello",
    "missing.npz": npz(x=X),
    "pickled.npz": npz(x=np.array([{}], object), y=Y),
    "lying.npz": lying_npz(),
    "corrupt.npz": truncated_npz(),
    "flat.npz": npz(x=X[:, 0], y=Y),
    "uneven.npz": npz(x=X, y=Y[:-1]),
    "empty.npz": npz(x=X[:0], y=Y[:0]),
    "words.npz": npz(x=np.full((6, 4), "a"), y=Y),
    "negative.npz": npz(x=X, y=Y - 1),
    "halves.npz": npz(x=X, y=Y / 2),
    "nan.npz": npz(x=np.full((6, 4), np.nan), y=Y),
    "nanlabel.npz": npz(x=X, y=np.full(6, np.nan)),
    "large.npz": npz(x=np.full((6, 4), 1e30), y=Y),
    "oneclass.npz": npz(x=X, y=Y * 0),
    "complex.npz": npz(x=X * 1j, y=Y),
    "nothing.csv": b"",
    "header.csv": b"a,b,label\n",
    "words.csv": b"1,2,0\n1,x,1\n",
    "ragged.csv": b"1,2,0\n1,1\n",
    "onecolumn.csv": b"1\n2\n",
    "binary.csv": b"\xff\xfe\x00\x01",
    "zipped.csv": gzip.compress(b"1,2,0"),
    "x-images-idx3.idx": b"\0\0\x08\x03" + bytes(12),
    "other.idx": b"\0\0\x08\x03" + bytes(12),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_clear_sentence(tmp_path, name):
    (tmp_path / name).write_bytes(BAD[name])
    with pytest.raises(InvalidInput) as caught:
        data_file.read(str(tmp_path / name), name.split(".")[-1])
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_missing_files_unknown_formats_and_bombs_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InvalidInput, match="cannot be read"):
        data_file.read(str(tmp_path / "none.npz"), "npz")
    with pytest.raises(InvalidInput, match="cannot be read"):
        data_file.read(str(tmp_path), "npz")
    with pytest.raises(InvalidInput, match="unknown data format"):
        data_file.read(DIGITS, "pickle")
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros((2000, 1000), np.uint8), y=np.zeros(2000))
    assert (tmp_path / "bomb.npz").stat().st_size < 100_000
    monkeypatch.setattr(data_file, "DATA_BYTES_MAX", 1 << 20)
    with pytest.raises(InvalidInput, match="more than"):
        data_file.read(str(tmp_path / "bomb.npz"), "npz")
