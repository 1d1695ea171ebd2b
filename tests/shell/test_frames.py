"""Frames: round trips, and every malformed stream refused."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.primitives.errors import InvalidMessage
from p2pai.shell import frames


@given(st.lists(st.binary(max_size=100)))
def test_frames_come_back_in_order(bodies):
    stream = io.BytesIO()
    for body in bodies:
        frames.write(stream, body)
    assert stream.getvalue() == b"".join(map(frames.encode, bodies))
    stream.seek(0)
    assert [frames.read(stream) for _ in bodies] == bodies
    assert frames.read(stream) is None


@given(st.binary(max_size=12))
def test_any_bytes_give_a_frame_or_are_refused(data):
    try:
        body = frames.read(io.BytesIO(data))
    except InvalidMessage:
        return
    assert body is None if not data else frames.encode(body) == data[: 4 + len(body)]


@pytest.mark.parametrize("data", [b"\1", b"\1\0\0", b"\5\0\0\0abcd", b"\1\0\0\x10a", b"\xff\xff\xff\xff"])
def test_short_and_giant_frames_are_refused(data):
    with pytest.raises(InvalidMessage):
        frames.read(io.BytesIO(data))
