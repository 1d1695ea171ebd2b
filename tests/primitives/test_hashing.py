"""Tagged hashes: the construction, and that neither tags nor parts run together."""

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from p2pai.primitives.hashing import tagged_hash

parts = st.lists(st.binary(max_size=5), max_size=4)


def test_the_construction():
    tag = sha256(b"p2pai/test").digest()
    body = (1).to_bytes(8, "big") + b"a" + (0).to_bytes(8, "big")
    assert tagged_hash("p2pai/test", b"a", b"") == sha256(tag + tag + body).digest()
    assert tagged_hash("p2pai/test") == sha256(tag + tag).digest()


@given(parts, parts)
def test_only_equal_parts_hash_alike(left, right):
    assert (tagged_hash("t", *left) == tagged_hash("t", *right)) == (left == right)


@given(parts)
def test_a_tag_is_a_world_of_its_own(items):
    assert tagged_hash("a", *items) != tagged_hash("b", *items)
