"""Reading no further than a limit."""

import io

import pytest

from p2pai.jaxtrain import reading
from p2pai.primitives.errors import InvalidInput


class Endless:
    """A stream without an end, which counts what was taken from it."""

    def __init__(self):
        self.taken = 0

    def read(self, size):
        self.taken += size
        return bytes(size)


def test_a_stream_is_read_to_its_end_or_to_the_limit():
    assert reading.read_at_most(io.BytesIO(b"abc"), 10) == b"abc"
    assert reading.read_at_most(io.BytesIO(b"abc"), 2) == b"ab"
    assert reading.read_at_most(io.BytesIO(b""), 2) == b""


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_no_more_is_taken_than_asked_for(size):
    endless = Endless()
    assert len(reading.read_at_most(endless, size)) == endless.taken == size


def test_short_reads_are_no_end():
    class Drops(io.BytesIO):
        def read(self, size):
            return super().read(min(size, 1))

    assert reading.read_at_most(Drops(b"abc"), 10) == b"abc"


def test_sizes_up_to_the_limit_pass():
    reading.check_size(reading.DATA_BYTES_MAX)
    with pytest.raises(InvalidInput, match="more than 1,073,741,824 bytes"):
        reading.check_size(reading.DATA_BYTES_MAX + 1)


def test_only_regular_files_with_something_in_them_pass(tmp_path, monkeypatch):
    (tmp_path / "full").write_bytes(b"abc")
    (tmp_path / "empty").touch()
    reading.check_file(tmp_path / "full")
    with pytest.raises(InvalidInput, match="empty"):
        reading.check_file(tmp_path / "empty")
    with pytest.raises(InvalidInput, match="directory"):
        reading.check_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        reading.check_file(tmp_path / "none")
    monkeypatch.setattr(reading, "DATA_BYTES_MAX", 2)
    with pytest.raises(InvalidInput, match="more than 2 bytes"):
        reading.check_file(tmp_path / "full")
