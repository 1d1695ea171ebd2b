"""IDX: images and the labels beside them, plain or packed, and headers that lie."""

import gzip
import io
import struct

import numpy as np
import pytest

from p2pai.jaxtrain import idx_file, reading
from p2pai.primitives.errors import InvalidInput

IMAGES = np.arange(24, dtype=np.uint8).reshape(6, 2, 2)
LABELS = np.array([0, 1, 2, 0, 1, 2], np.uint8)
CODES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def idx(array, dtype="u1", shape=None):
    """Return an IDX file's bytes, with a header of another shape if asked."""
    shape = array.shape if shape is None else shape
    header = bytes([0, 0, CODES[dtype], len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return header + array.astype(dtype).tobytes()


@pytest.fixture
def folder(tmp_path):
    """Write files by name; returns the folder."""

    def write(**files):
        for name, data in files.items():
            (tmp_path / name.replace("__", ".").replace("_", "-")).write_bytes(data)
        return tmp_path

    return write


@pytest.fixture
def pair(tmp_path):
    """Write images and labels; returns the images' file."""

    def write(images, labels=None, suffix=""):
        (tmp_path / f"train-labels-idx1-ubyte{suffix}").write_bytes(idx(LABELS) if labels is None else labels)
        file = tmp_path / f"train-images-idx3-ubyte{suffix}"
        file.write_bytes(images)
        return file

    return write


def refusal(file):
    with pytest.raises(InvalidInput) as caught:
        idx_file.read(file)
    return str(caught.value)


def test_images_and_labels(pair):
    x, y = idx_file.read(pair(idx(IMAGES)))
    assert np.array_equal(x, IMAGES)
    assert np.array_equal(y, LABELS)


@pytest.mark.parametrize("packed", ["images", "labels", "both"])
def test_either_may_be_packed(tmp_path, packed):
    for what, array, axes in (("images", IMAGES, 3), ("labels", LABELS, 1)):
        is_packed = packed in (what, "both")
        name = f"t10k-{what}-idx{axes}-ubyte" + (".gz" if is_packed else "")
        (tmp_path / name).write_bytes(gzip.compress(idx(array)) if is_packed else idx(array))
    file = next(tmp_path.glob("*images*"))
    x, y = idx_file.read(file)
    assert np.array_equal(x, IMAGES)
    assert np.array_equal(y, LABELS)


def test_a_packed_file_is_known_by_its_bytes_not_its_name(pair):
    assert np.array_equal(idx_file.read(pair(gzip.compress(idx(IMAGES))))[0], IMAGES)
    assert np.array_equal(idx_file.read(pair(idx(IMAGES), suffix=".gz"))[0], IMAGES)


@pytest.mark.parametrize(
    "name", ["train-images-idx3-ubyte", "train-images-idx3-ubyte.gz", "train-images.idx3-ubyte"]
)
def test_a_folder_stands_for_its_training_images(tmp_path, name):
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(IMAGES[:1]))
    (tmp_path / name).write_bytes(gzip.compress(idx(IMAGES)) if name.endswith("gz") else idx(IMAGES))
    (tmp_path / name.replace("images", "labels").replace("idx3", "idx1")).write_bytes(
        gzip.compress(idx(LABELS)) if name.endswith("gz") else idx(LABELS)
    )
    assert np.array_equal(idx_file.read(tmp_path)[0], IMAGES)


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(6, 4), (6, 2, 2), (6, 2, 2, 1)])
def test_every_type_and_number_of_axes(tmp_path, dtype, shape):
    (tmp_path / f"train-images-idx{len(shape)}-ubyte").write_bytes(idx(IMAGES.reshape(shape), dtype))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS, dtype))
    x, y = idx_file.read(tmp_path)
    assert np.array_equal(x, IMAGES.reshape(shape))
    assert np.array_equal(y, LABELS)


def test_labels_of_several_numbers(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(IMAGES))
    (tmp_path / "train-labels-idx2-ubyte").write_bytes(idx(np.arange(12).reshape(6, 2) / 2, ">f4"))
    assert idx_file.read(tmp_path)[1].tolist() == (np.arange(12).reshape(6, 2) / 2).tolist()


FAULTS = {
    "cut off": (idx(IMAGES)[:-1], "its header declares 24 bytes of values, and it holds 23"),
    "too long": (idx(IMAGES) + b"\0", "its header declares 24 bytes of values, and it holds more"),
    "declares more": (idx(IMAGES, shape=(600, 2, 2)), "declares 2,400 bytes of values, and it holds 24"),
    "declares too much": (idx(IMAGES, shape=(2**31, 2, 2)), "more than 1,073,741,824 bytes"),
    "declares the impossible": (idx(IMAGES, shape=(2**32 - 1,) * 8), "more than 1,073,741,824 bytes"),
    "no axes": (b"\0\0\x08\0", "its header has 0 axes"),
    "too many axes": (b"\0\0\x08\xff" + bytes(2000), "its header has 255 axes"),
    "header cut off": (b"\0\0\x08\x03\0\0", "its header has 3 axes, or is cut off"),
    "wrong magic": (b"\1" + idx(IMAGES)[1:], "does not begin as an IDX file does"),
    "wrong type": (b"\0\0\x0a" + idx(IMAGES)[3:], "does not begin as an IDX file does"),
    "text": (b"hello", "does not begin as an IDX file does"),
    "short": (b"\0", "does not begin as an IDX file does"),
    "empty": (b"", "it is empty"),
    "damaged gzip": (gzip.compress(idx(IMAGES))[:-6] + bytes(6), "not a valid gzip file"),
    "gzip cut off": (gzip.compress(idx(IMAGES))[:-4], "not a valid gzip file"),
    "gzip of nothing": (gzip.compress(b""), "does not begin as an IDX file does"),
    "gzip header alone": (b"\x1f\x8b", "not a valid gzip file"),
    "gzip of noise": (b"\x1f\x8b\x08\0" + bytes(6) + b"\xff" * 40, "not a valid gzip file"),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("which", ["images", "labels"])
def test_faults_are_told_with_the_files_name(pair, name, which):
    data, said = FAULTS[name]
    file = pair(data) if which == "images" else pair(idx(IMAGES), data)
    sentence = refusal(file)
    assert said in sentence
    assert sentence.startswith(f"train-{which}-idx")


def test_labels_that_are_missing_are_asked_for(tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(IMAGES))
    said = "no file of labels beside it, train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz"
    assert said in refusal(tmp_path / "train-images-idx3-ubyte")
    (tmp_path / "data.idx").write_bytes(idx(IMAGES))
    assert "does not contain images-idx3" in refusal(tmp_path / "data.idx")


def test_a_folder_without_training_images_is_said(tmp_path):
    assert "holds no train-images-idx3-ubyte" in refusal(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").mkdir()
    (tmp_path / "train-labels-idx1-ubyte").mkdir()
    assert "it is a directory" in refusal(tmp_path)


def test_a_bomb_is_refused_after_what_its_header_declares(pair, monkeypatch):
    """64 MiB of zeros in 64 kB, of which no more is unpacked than was declared."""
    bomb = io.BytesIO()
    with gzip.open(bomb, "wb") as stream:
        stream.write(idx(IMAGES))
        for _ in range(64):
            stream.write(bytes(1 << 20))
    assert len(bomb.getvalue()) < 1 << 17
    taken = []

    def counted(stream, size):
        data = reading.read_at_most(stream, size)
        taken.append(len(data))
        return data

    monkeypatch.setattr(idx_file, "read_at_most", counted)
    assert "it holds more" in refusal(pair(bomb.getvalue()))
    assert sum(taken) == 4 + 12 + 25


def test_a_bomb_that_says_so_is_refused_unread(pair):
    assert "more than 1,073,741,824 bytes" in refusal(pair(gzip.compress(idx(IMAGES, shape=(2**31, 1, 1)))))
