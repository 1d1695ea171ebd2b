"""Base58 against libp2p's own, and vectors of its draft."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.peer.id import ID

from p2pai.primitives.base58 import SIZE_MAX, encode


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"\0", "1"),
        (b"Hello World!", "2NEpo7TZRRrLZSi2U"),
        (bytes.fromhex("0000287fb4cd"), "11233QC4"),
    ],
)
def test_vectors(data, text):
    assert encode(data) == text


@given(st.binary(min_size=1, max_size=SIZE_MAX))
def test_peer_ids_are_written_as_libp2p_does(data):
    assert encode(data) == ID(data).to_base58()


def test_what_would_take_long_is_our_own_mistake():
    with pytest.raises(AssertionError):
        encode(bytes(SIZE_MAX + 1))
