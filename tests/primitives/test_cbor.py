"""One value, one encoding: published examples, and the bombs."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.primitives.cbor import DEPTH_MAX, decode, decode_front, encode
from p2pai.primitives.errors import InvalidMessage

PUBLISHED = Path(__file__).parents[3] / "shared/vectors/cbor/rfc8949_appendix_a.json"
VECTORS = json.loads(PUBLISHED.read_text()) if PUBLISHED.exists() else []

# Source: RFC 8949, appendix A.
EXAMPLES = [
    ("00", 0),
    ("17", 23),
    ("1818", 24),
    ("1b000000e8d4a51000", 1_000_000_000_000),
    ("1bffffffffffffffff", 2**64 - 1),
    ("3903e7", -1000),
    ("f5", True),
    ("f6", None),
    ("4401020304", b"\x01\x02\x03\x04"),
    ("62c3bc", "\u00fc"),
    ("8301820203820405", [1, [2, 3], [4, 5]]),
    ("a26161016162820203", {"a": 1, "b": [2, 3]}),
]

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64) + 1, 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)

BOMBS = {
    "deep": b"\x81" * (DEPTH_MAX + 1) + b"\x00",
    "deeper": b"\x81" * 100_000 + b"\x00",
    "huge_bytes": bytes.fromhex("5b0000010000000000") + b"x",
    "huge_array": bytes.fromhex("9b0000000100000000"),
    "hugest_array": bytes.fromhex("9bffffffffffffffff"),
    "huge_map": bytes.fromhex("bb0000000100000000"),
    "unterminated": b"\x9f" + b"\x00" * 10,
    "duplicate_keys": bytes.fromhex("a2616102616103"),
    "decimal": bytes.fromhex("c4821a3b9aca0001"),
    "bignum_1MB": bytes.fromhex("c25a00100000") + b"\xff" * (1 << 20),
    "negative_beyond_64_bits": bytes.fromhex("3bffffffffffffffff"),
    "cycle": bytes.fromhex("d81c81d81d00"),
    "regex": bytes.fromhex("d8236a28612b292b2461616161"),
    "date": bytes.fromhex("c11a514b67b0"),
    "set": bytes.fromhex("d901028101"),
    "self_described": bytes.fromhex("d9d9f700"),
    "unknown_tag": bytes.fromhex("db123456789abcdef000"),
    "nan_keys": bytes.fromhex("a1f97e0001"),
    "float": bytes.fromhex("f93c00"),
    "simple": bytes.fromhex("f8ff"),
    "undefined": bytes.fromhex("f7"),
    "break": b"\xff",
    "reserved_length": b"\x1c",
    "long_int": b"\x18\x17",
    "longer_int": bytes.fromhex("1900ff"),
    "long_length": b"\x58\x01a",
    "unsorted_keys": bytes.fromhex("a2616201616102"),
    "int_keys": bytes.fromhex("a10102"),
    "trailing": b"\x00\xff",
    "indefinite_bytes": bytes.fromhex("5f41004100ff"),
    "indefinite_map": bytes.fromhex("bfff"),
    "bad_utf8": bytes.fromhex("61ff"),
    "surrogate": bytes.fromhex("63eda080"),
    "empty": b"",
    "too_long": b"\x5a\x00\x40\x00\x00" + bytes(1 << 22),
}


@pytest.mark.parametrize(("text", "value"), EXAMPLES)
def test_examples(text, value):
    assert encode(value).hex() == text
    decoded = decode(bytes.fromhex(text), size_max=100)
    assert decoded == value
    assert type(decoded) is type(value)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["hex"])
def test_published_examples_are_decoded_right_or_refused(vector):
    data = bytes.fromhex(vector["hex"])
    try:
        value = decode(data, size_max=1 << 20)
    except InvalidMessage:
        return
    assert encode(value) == data
    if "decoded" in vector:
        assert value == vector["decoded"]
    else:
        assert data[0] >> 5 == 2  # byte strings have no JSON form


@pytest.mark.skipif(not VECTORS, reason="published vectors are not here")
def test_the_published_examples_within_our_types_are_accepted():
    accepted = 0
    for vector in VECTORS:
        try:
            decode(bytes.fromhex(vector["hex"]), size_max=1 << 20)
        except InvalidMessage:
            continue
        accepted += 1
    assert len(VECTORS) == 82
    assert accepted == 35


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_at_once(name):
    started = time.process_time()
    with pytest.raises(InvalidMessage):
        decode(BOMBS[name], size_max=2 << 20)
    assert time.process_time() - started < 0.5


def test_the_limits_themselves_are_allowed():
    deepest = b"\x81" * (DEPTH_MAX - 1) + b"\x80"
    assert encode(decode(deepest, size_max=DEPTH_MAX)) == deepest
    with pytest.raises(InvalidMessage):
        decode(deepest, size_max=DEPTH_MAX - 1)


@given(values)
def test_a_round_trip_is_the_identity(value):
    assert decode(encode(value), size_max=1 << 20) == value


@given(values, st.binary(max_size=20))
def test_the_value_in_front_is_read_whatever_follows(value, behind):
    assert decode_front(encode(value) + behind) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_canonical_or_refused(data):
    try:
        value = decode(data, size_max=200)
    except InvalidMessage:
        return
    assert encode(value) == data


@given(values, st.data())
def test_a_changed_encoding_is_another_value_or_refused(value, data):
    raw = bytearray(encode(value))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        other = decode(bytes(raw), size_max=1 << 20)
    except InvalidMessage:
        return
    assert encode(other) == bytes(raw) != encode(value)


@pytest.mark.parametrize("value", [1.5, 2**64, -(2**64), {1: 2}, (1,), bytearray(b"x"), {"a": {1}}])
def test_encoding_another_type_is_our_own_fault(value):
    with pytest.raises(AssertionError):
        encode(value)
