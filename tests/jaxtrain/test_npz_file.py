"""NPZ: arrays of numbers, nothing unpickled, and archives that lie about their size."""

import io
import zipfile

import numpy as np
import pytest

from p2pai.jaxtrain import npz_file, reading
from p2pai.primitives.errors import InvalidInput

X = np.arange(24, dtype=np.uint8).reshape(6, 4)
Y = np.array([0, 1, 2, 0, 1, 2])


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def header(shape, descr="|u1", version=(1, 0)):
    file = io.BytesIO()
    fields = {"descr": descr, "fortran_order": False, "shape": shape}
    write = {1: np.lib.format.write_array_header_1_0, 2: np.lib.format.write_array_header_2_0}[version[0]]
    write(file, fields)
    return file.getvalue()


@pytest.fixture
def packed(tmp_path):
    """Write an archive of members by name."""

    def write(members, method=zipfile.ZIP_DEFLATED):
        file = tmp_path / "d.npz"
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return file

    return write


def refusal(file):
    with pytest.raises(InvalidInput) as caught:
        npz_file.read(file)
    return str(caught.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["u1", "<i8", ">f8", "f2", "?"])
def test_what_numpy_saves_is_read(tmp_path, save, dtype):
    save(tmp_path / "d.npz", x=X.astype(dtype), y=Y, other=X)
    x, y = npz_file.read(tmp_path / "d.npz")
    assert x.dtype == np.dtype(dtype)
    assert np.array_equal(x, X.astype(dtype))
    assert np.array_equal(y, Y)


def test_fortrans_order_is_turned(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.asfortranarray(X.reshape(6, 2, 2)), y=Y)
    assert np.array_equal(npz_file.read(tmp_path / "d.npz")[0], X.reshape(6, 2, 2))


def test_later_versions_of_the_header_are_read(packed):
    member = header((6, 4), version=(2, 0)) + X.tobytes()
    assert np.array_equal(npz_file.read(packed({"x.npy": member, "y.npy": npy(Y)}))[0], X)


@pytest.mark.parametrize("descr", ["|O", [("a", "<i4")], "<U3", "|S4", "<M8[s]", "<c8"])
def test_nothing_but_numbers_is_read(packed, descr):
    member = header((6, 4), descr) + bytes(1000)
    assert "array 'x' does not hold numbers" in refusal(packed({"x.npy": member, "y.npy": npy(Y)}))


def test_nothing_is_unpickled(packed):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("it was unpickled",))

    assert "does not hold numbers" in refusal(packed({"x.npy": npy(np.array([Trap()])), "y.npy": npy(Y)}))


def test_missing_arrays_are_asked_for(packed):
    assert (
        refusal(packed({"x.npy": npy(X), "z.npy": npy(Y)})) == "it has no array 'y'; its arrays are 'x', 'z'"
    )
    assert refusal(packed({})) == "it has no array 'x'; its arrays are none"
    many = refusal(packed({f"{'name' * 20}{i}.npy": b"" for i in range(50)}))
    assert len(many) < 200


LYING = {
    "more": (header((600, 4)) + X.tobytes(), "declares 2,400 bytes of values and holds 24"),
    "less": (header((5, 4)) + X.tobytes(), "declares 20 bytes of values and holds 24"),
    "huge": (header((1 << 62, 4)), "bytes of values and holds 0"),
    "negative": (header((-6, -4)) + X.tobytes(), "array 'x' declares 24 bytes of values and holds 24"),
    "no header": (b"hello, world", "array 'x' has a malformed header"),
    "empty": (b"", "array 'x' has a malformed header"),
    "unknown version": (b"\x93NUMPY\x09\0" + bytes(100), "array 'x' has a malformed header"),
    "code": (header((6, 4)).replace(b"(6, 4)", b"exit()"), "array 'x' has a malformed header"),
    "cut off": (header((6, 4))[:40], "array 'x' has a malformed header"),
}


@pytest.mark.parametrize("name", LYING)
def test_headers_that_lie_are_found_out(packed, name):
    member, said = LYING[name]
    assert said in refusal(packed({"x.npy": member, "y.npy": npy(Y)}))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packing_that_cannot_be_stopped_at_a_limit_is_refused(packed, method):
    assert "packed in another way" in refusal(packed({"x.npy": npy(X), "y.npy": npy(Y)}, method))


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\3\4" + bytes(60), b"PK\5\6" + bytes(18)])
def test_what_is_no_archive_is_said(tmp_path, data):
    (tmp_path / "d.npz").write_bytes(data)
    sentence = refusal(tmp_path / "d.npz")
    assert "not a valid NPZ file" in sentence or "no array 'x'" in sentence


@pytest.mark.parametrize("cut", [10, 100, 300, -30])
def test_archives_that_are_cut_off_are_said(packed, cut):
    file = packed({"x.npy": npy(X), "y.npy": npy(Y)})
    file.write_bytes(file.read_bytes()[:cut])
    assert "not a valid NPZ file" in refusal(file)


def test_damage_shows_in_the_checksum(packed):
    file = packed({"x.npy": npy(X), "y.npy": npy(Y)}, zipfile.ZIP_STORED)
    data = bytearray(file.read_bytes())
    data[data.index(X.tobytes()) + 3] ^= 1
    file.write_bytes(data)
    assert "Bad CRC-32" in refusal(file)


def test_a_bomb_is_refused_whatever_its_directory_says(packed, monkeypatch):
    file = packed({"x.npy": npy(np.zeros((2000, 1000), np.uint8)), "y.npy": npy(Y)})
    assert file.stat().st_size < 10_000
    monkeypatch.setattr(reading, "DATA_BYTES_MAX", 1 << 20)
    monkeypatch.setattr(npz_file, "DATA_BYTES_MAX", 1 << 20)
    assert "more than 1,048,576 bytes" in refusal(file)


def test_a_directory_that_tells_a_small_size_gains_nothing(packed):
    file = packed({"x.npy": npy(np.zeros((2000, 1000), np.uint8)), "y.npy": npy(Y)})
    size = (2_000_128).to_bytes(4, "little")
    data = file.read_bytes()
    assert data.count(size) == 2
    file.write_bytes(data.replace(size, (100).to_bytes(4, "little")))
    assert "not a valid NPZ file" in refusal(file)


def test_bytes_are_counted_as_they_come_out(packed, monkeypatch):
    """The directory's word is not needed: no more is unpacked than the limit and one byte."""
    monkeypatch.setattr(npz_file, "DATA_BYTES_MAX", 1 << 20)
    checked = []
    monkeypatch.setattr(npz_file, "check_size", checked.append)
    file = packed({"x.npy": npy(np.zeros((2000, 1000), np.uint8)), "y.npy": npy(Y)})
    assert "declares 2,000,000 bytes of values and holds 1,048,449" in refusal(file)
    assert checked == [2_000_128, (1 << 20) + 1]
