"""Content ids: where bytes are cut, and what an id depends on."""

from hashlib import sha256

import pytest

from p2pai.primitives import merkle
from p2pai.primitives.blob import CHUNK_SIZE_MAX, blob_id, blob_id_of, cut


@pytest.mark.parametrize(
    ("size", "lengths"),
    [
        (0, [0]),
        (1, [1]),
        (CHUNK_SIZE_MAX, [CHUNK_SIZE_MAX]),
        (CHUNK_SIZE_MAX + 1, [CHUNK_SIZE_MAX, 1]),
        (3 * CHUNK_SIZE_MAX, [CHUNK_SIZE_MAX] * 3),
    ],
)
def test_bytes_are_cut_every_mebibyte_and_nothing_is_lost(size, lengths):
    data = bytes(i % 251 for i in range(1000)) * (size // 1000 + 1)
    chunks = cut(data[:size])
    assert [len(chunk) for chunk in chunks] == lengths
    assert b"".join(chunks) == data[:size]


def test_the_id_of_one_chunk_is_its_leaf_hash():
    assert blob_id_of(b"p2pai") == sha256(b"\x00p2pai").digest()
    # SHA-256 of one zero byte.
    assert blob_id_of(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


def test_the_id_of_several_chunks_is_their_root():
    chunks = [b"a", b"bc", b""]
    assert blob_id(chunks) == merkle.root([merkle.leaf_hash(chunk) for chunk in chunks])
    assert blob_id_of(bytes(CHUNK_SIZE_MAX) + b"y") == blob_id([bytes(CHUNK_SIZE_MAX), b"y"])


def test_the_id_depends_on_content_order_and_cuts():
    ids = [blob_id(chunks) for chunks in ([b"ab"], [b"a", b"b"], [b"b", b"a"], [b"ab", b""], [b"", b"ab"])]
    assert len(set(ids)) == len(ids)


def test_a_blob_without_chunks_or_with_a_long_one_is_our_own_fault():
    with pytest.raises(AssertionError):
        blob_id([])
    with pytest.raises(AssertionError):
        blob_id([bytes(CHUNK_SIZE_MAX + 1)])
