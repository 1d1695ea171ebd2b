"""A client's data file: all formats give the same samples, and what does not fit is one clear sentence."""

import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import DIGITS

from p2pai.chain.task import CLASS_COUNT_MAX, TARGET_COUNT_MAX
from p2pai.jaxtrain import data_file, dataset
from p2pai.jaxtrain.dataset import FEATURE_MAX
from p2pai.jaxtrain.exact.loss import OUTPUT_MAX
from p2pai.primitives.errors import InvalidInput

X = np.arange(24, dtype=np.uint8).reshape(6, 4) % 17
Y = np.array([0, 1, 2, 0, 1, 2])
MNIST = Path(__file__).parents[3] / "shared" / "data" / "mnist"


def read(path, form=None, *, regression=False):
    return data_file.read(str(path), form or path.suffix[1:], regression=regression)


def read_or_refused(path, form, *, regression=False):
    """Read a file that may be damaged; any other error than a refusal of one line goes on."""
    try:
        read(path, form, regression=regression)
    except InvalidInput as error:
        return "\n" not in str(error)
    return True


def refusal(path, form=None, *, regression=False):
    """Return the sentence that a file is refused with, without the file's name."""
    with pytest.raises(InvalidInput) as caught:
        read(path, form, regression=regression)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 450
    return sentence.removeprefix(f"{path}: ")


@pytest.fixture
def saved(tmp_path):
    """Write x and y as an NPZ file."""

    def save(x=X, y=Y):
        np.savez(tmp_path / "d.npz", x=x, y=y)
        return tmp_path / "d.npz"

    return save


def write_all(folder, x, y):
    """Write the same samples in every format."""
    np.savez(folder / "d.npz", x=x.reshape(6, 2, 2), y=y)
    lines = [",".join(map(str, [*row, label])) for row, label in zip(x, y, strict=True)]
    (folder / "d.csv").write_text("\n".join(lines))
    (folder / "named.csv").write_text("\n".join(["a,b,c,d,label", *lines]))
    (folder / "train-images-idx3-ubyte").write_bytes(
        bytes.fromhex("00000803000000060000000200000002") + x.tobytes()
    )
    (folder / "train-labels-idx1-ubyte").write_bytes(
        bytes.fromhex("0000080100000006") + y.astype("u1").tobytes()
    )
    return (
        ("d.npz", "npz"),
        ("d.csv", "csv"),
        ("named.csv", "csv"),
        ("train-images-idx3-ubyte", "idx"),
        (".", "idx"),
    )


def test_all_formats_read_the_same_samples(tmp_path):
    for name, form in write_all(tmp_path, X, Y):
        samples = read(tmp_path / name, form)
        assert samples.x.dtype == np.uint8
        assert samples.y.dtype == np.int64
        assert np.array_equal(samples.x, X)
        assert np.array_equal(samples.y, Y)
        assert (samples.classes, samples.targets) == (3, 0)


def test_all_formats_give_a_regression_the_same_targets(tmp_path):
    for name, form in write_all(tmp_path, X, Y + 3):
        samples = read(tmp_path / name, form, regression=True)
        assert samples.y.dtype == np.float32
        assert samples.y.tolist() == [[y + 3] for y in Y.tolist()]
        assert (samples.classes, samples.targets) == (0, 1)


def test_several_targets(saved):
    y = np.random.default_rng(1).normal(size=(6, 3))
    samples = read(saved(y=y), regression=True)
    assert samples.targets == 3
    assert np.array_equal(samples.y, y.astype(np.float32))


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i4", ">i8", "<u8", "<f4", ">f8", "f2", "?"])
def test_small_whole_numbers_are_bytes_however_they_were_written(saved, dtype):
    x = (X % 2).astype(dtype)
    samples = read(saved(x=x))
    assert samples.x.dtype == np.uint8
    assert np.array_equal(samples.x, X % 2)


@pytest.mark.parametrize("change", [0.5, -1, 300])
def test_other_numbers_are_float32(saved, change):
    x = X.astype(np.float64)
    x[2, 3] = change
    samples = read(saved(x=x))
    assert samples.x.dtype == np.float32
    assert np.array_equal(samples.x, x)


def test_labels_may_be_whole_floats_or_a_column(saved):
    assert read(saved(y=Y.astype(np.float64))).y.tolist() == Y.tolist()
    assert read(saved(y=Y.reshape(6, 1))).y.tolist() == Y.tolist()
    assert read(saved(y=Y % 2 == 1)).classes == 2


def at(x, row, column, value):
    changed = x.astype(np.float64)
    changed[row, column] = value
    return changed


BAD_CLASSES = {
    "half": (X, Y / 2, "label 0.5 of sample 2 is not a whole number"),
    "negative": (X, Y - 1, "label -1 of sample 1 is not a whole number from 0 to 999"),
    "too high": (X, Y + CLASS_COUNT_MAX - 2, "label 1000 of sample 3 is not a whole number from 0 to 999"),
    "nan": (X, np.where(Y == 1, np.nan, Y), "label nan of sample 2"),
    "inf": (X, np.where(Y == 1, np.inf, Y), "label inf of sample 2"),
    "from 1": (X, Y + 1, "no sample has label 0, and the highest is 3: number the classes from 0"),
    "gap": (X, Y * 2, "no sample has label 1, and the highest is 4"),
    "one class": (X, Y * 0, "two classes or more"),
    "columns": (X, np.stack([Y, Y], 1), "a label is one class"),
    "uneven": (X, Y[:-1], "there are 6 samples and 5 labels"),
    "no labels": (X, np.int64(3), "there are 6 samples and 0 labels"),
    "flat": (X[:, 0], Y, "one row for each sample"),
    "none": (X[:0], Y[:0], "no number in them"),
    "no columns": (X[:, :0], Y, "no number in them"),
    "feature nan": (at(X, 3, 1, np.nan), Y, "feature 2 of sample 4 is nan, not a number"),
    "feature inf": (at(X, 3, 1, -np.inf), Y, "feature 2 of sample 4 is -inf, not a number"),
    "feature too large": (at(X, 5, 3, 65_537), Y, "feature 4 of sample 6 is 65537.0, beyond 65,536"),
    "feature too small": (at(X, 0, 0, -1e30), Y, "feature 1 of sample 1 is -1e+30, beyond 65,536; scale"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_CLASSES)
def test_samples_that_do_not_fit_a_classification_are_named(saved, name):
    x, y, said = BAD_CLASSES[name]
    assert said in refusal(saved(x, y))


BAD_NUMBERS = {
    "nan": (np.where(Y == 1, np.nan, Y), "label 1 of sample 2 is nan, not a number"),
    "too large": (np.where(Y == 1, -16_385.0, Y), "label 1 of sample 2 is -16385.0, beyond 16,384; scale"),
    "too many": (np.zeros((6, TARGET_COUNT_MAX + 1)), "a label has 256 numbers; 1 to 255 are possible"),
    "none": (np.zeros((6, 0)), "a label has 0 numbers"),
    "uneven": (Y[:3], "there are 6 samples and 3 labels"),
}


@pytest.mark.parametrize("name", BAD_NUMBERS)
def test_labels_that_do_not_fit_a_regression_are_named(saved, name):
    y, said = BAD_NUMBERS[name]
    assert said in refusal(saved(y=y), regression=True)


def test_the_largest_numbers_pass(saved):
    x = at(X, 0, 0, -FEATURE_MAX)
    samples = read(saved(x, np.full((6, TARGET_COUNT_MAX), data_file.TARGET_MAX)), regression=True)
    assert samples.x[0, 0] == -FEATURE_MAX
    assert samples.targets == TARGET_COUNT_MAX
    assert data_file.TARGET_MAX == OUTPUT_MAX
    for fragment in dataset.cut(samples.x, samples.y, 2, 2):
        for chunk in fragment:
            dataset.parse(chunk, features=4, classes=0, targets=TARGET_COUNT_MAX)


def test_numbers_are_checked_a_few_rows_at_a_time(saved, monkeypatch):
    monkeypatch.setattr(data_file, "BLOCK_VALUES", 8)
    assert "feature 4 of sample 6" in refusal(saved(at(X, 5, 3, np.nan)))
    assert read(saved(at(X, 5, 3, 0.5))).x.dtype == np.float32


def test_what_cannot_be_read_is_said(tmp_path):
    assert refusal(tmp_path / "none.npz") == "it cannot be read: No such file or directory"
    assert refusal(tmp_path, "npz") == refusal(tmp_path, "csv") == "it is a directory"
    assert refusal(Path("/dev/zero"), "csv") == "it is not a regular file"
    assert refusal(tmp_path / "none.npz" / "x", "csv").startswith("it cannot be read: ")
    (tmp_path / "locked.csv").write_text("1,0\n2,1\n")
    (tmp_path / "empty.npz").touch()
    assert refusal(tmp_path / "empty.npz") == "it is empty"
    with pytest.raises(InvalidInput, match="unknown data format 'pickle'; use one of npz, csv, idx"):
        data_file.read(DIGITS, "pickle", regression=False)
    for name in ("a\0b", "\udcff"):
        with pytest.raises(InvalidInput):
            data_file.read(name, "csv", regression=False)


def test_an_unreadable_file_is_said(tmp_path, monkeypatch):
    (tmp_path / "d.csv").write_text("1,0\n2,1\n")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert refusal(tmp_path / "d.csv") == "it cannot be read: Permission denied"


def test_memory_that_runs_out_is_the_files_fault(saved, monkeypatch):
    def grow(*_, **__):
        raise MemoryError

    monkeypatch.setattr(np, "frombuffer", grow)
    assert refusal(saved()) == "it holds more data than fits in memory"


def test_files_that_ship_are_found_by_name():
    samples = data_file.read("package:digits.npz", "npz", regression=False)
    assert samples.x.shape == (1797, 64)
    assert samples.classes == 10
    for name in ("package:none.npz", "package:../digits.npz", "package:"):
        with pytest.raises(InvalidInput, match="ships with p2pai"):
            data_file.read(name, "npz", regression=False)


def test_long_names_leave_room_for_the_reason():
    with pytest.raises(InvalidInput, match="cannot be read") as caught:
        data_file.read("x" * 5000, "npz", regression=False)
    assert len(str(caught.value)) < 450


@pytest.mark.parametrize("seed", range(3))
def test_damaged_files_are_read_or_refused_and_nothing_else(tmp_path, seed):
    dice = random.Random(seed)
    files = write_all(tmp_path, X, Y)[:4]
    originals = {name: (tmp_path / name).read_bytes() for name, _ in files}
    for _ in range(60):
        for name, form in files:
            data = bytearray(originals[name])
            for _ in range(dice.randint(1, 3)):
                place = dice.randrange(len(data))
                data[place : place + dice.randint(0, 2)] = dice.randbytes(dice.randint(0, 2))
            (tmp_path / name).write_bytes(data)
            assert read_or_refused(tmp_path / name, form, regression=dice.random() < 0.5)
            (tmp_path / name).write_bytes(originals[name])


@pytest.mark.parametrize("seed", range(3))
def test_damaged_arrays_in_sound_archives_too(tmp_path, seed, saved):
    """A checksum that holds lets the damage reach NumPy's header."""
    dice = random.Random(seed)
    with zipfile.ZipFile(saved()) as archive:
        x, y = archive.read("x.npy"), archive.read("y.npy")
    for _ in range(100):
        data = bytearray(x)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(130)] = dice.choice(b"\0 (),'{}:<>1239fuibOVS\xff")
        with zipfile.ZipFile(tmp_path / "e.npz", "w") as archive:
            archive.writestr("x.npy", data)
            archive.writestr("y.npy", y)
        assert read_or_refused(tmp_path / "e.npz", "npz")


@pytest.mark.skipif(not MNIST.is_dir(), reason="MNIST is not here")
def test_mnist_as_it_is_distributed():
    samples = read(MNIST / "t10k-images-idx3-ubyte.gz", "idx")
    assert samples.x.shape == (10_000, 784)
    assert samples.x.dtype == np.uint8
    assert samples.classes == 10
    assert samples.y[:5].tolist() == [7, 2, 1, 0, 4]
