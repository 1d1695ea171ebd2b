"""Targets: the header's 172 bytes, its three hashes, and no bytes that crash the reader."""

import contextlib
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain.block import (
    HEADER_SIZE,
    Block,
    Header,
    double_sha256,
    read_header_alone,
    transactions_root,
)
from p2pai.chain.genesis import genesis_block
from p2pai.chain.params import BLOCK_SIZE_MAX
from p2pai.primitives import cbor
from p2pai.primitives.errors import InvalidBlock, InvalidInput, InvalidMessage
from p2pai.primitives.ids import ZERO_HASH
from tests.chain.ledger import Chain, devnet, flip, label

HEADER = Header(
    1, label("prev"), label("root"), 0x01020304, 0x207FFFFF, label("nonce"), label("msg"), label("hist")
)
FIELDS = ("version", "prev", "merkle_root", "time", "bits", "nonce", "hash_msg", "hash_msg_hist")


@pytest.fixture(scope="module")
def block():
    chain = Chain()
    chain.post(0)
    return chain.draft()


def changed(header, field):
    value = getattr(header, field)
    return replace(header, **{field: value + 1 if isinstance(value, int) else flip(value)})


def test_the_header_has_172_bytes_in_order():
    expected = b"\x01\x00\x00\x00" + label("prev") + label("root") + b"\x04\x03\x02\x01" + b"\xff\xff\x7f\x20"
    expected += label("nonce") + label("msg") + label("hist")
    assert HEADER.encode() == expected
    assert len(expected) == HEADER_SIZE


def test_the_block_hash_is_double_sha_256():
    assert HEADER.hash == sha256(sha256(HEADER.encode()).digest()).digest() == double_sha256(HEADER.encode())


@pytest.mark.parametrize("field", FIELDS)
def test_the_block_hash_covers_every_field(field):
    assert changed(HEADER, field).hash != HEADER.hash


@pytest.mark.parametrize("field", FIELDS)
def test_the_work_hash_covers_all_but_the_message_hashes(field):
    same = changed(HEADER, field).work_hash == HEADER.work_hash
    assert same == (field in ("hash_msg", "hash_msg_hist"))


@pytest.mark.parametrize("field", FIELDS)
def test_the_zero_nonce_hash_covers_what_is_fixed_at_the_commitment(field):
    same = changed(HEADER, field).zero_nonce_hash == HEADER.zero_nonce_hash
    assert same == (field in ("nonce", "hash_msg", "hash_msg_hist"))


def test_the_zero_nonce_hash_is_of_the_template():
    template = replace(HEADER, nonce=ZERO_HASH, hash_msg=ZERO_HASH, hash_msg_hist=ZERO_HASH)
    assert template.hash == HEADER.zero_nonce_hash


def test_a_block_survives_the_wire(block):
    assert Block.decode(block.encoded) == block
    assert Block.decode(genesis_block(devnet()).encoded) == genesis_block(devnet())


def test_a_header_is_read_alone_from_the_first_bytes(block):
    for version in (0, 23, 24, 2**32 - 1):
        header = replace(block.header, version=version, time=version, bits=version)
        encoded = replace(block, header=header).encoded
        assert read_header_alone(encoded) == read_header_alone(encoded[:257]) == header


def test_transactions_travel_as_their_canonical_bytes(block):
    _, _, transactions = cbor.decode(block.encoded, size_max=BLOCK_SIZE_MAX)
    assert transactions == [tx.encoded for tx in block.transactions]
    for spoilt in (transactions[1] + b"\x00", transactions[1][:-1], b"\x9f" + transactions[1][1:] + b"\xff"):
        data = cbor.encode([*cbor.decode(block.encoded, size_max=BLOCK_SIZE_MAX)[:2], [spoilt]])
        with pytest.raises(InvalidMessage):
            Block.decode(data)


def test_a_known_transaction_is_not_read_again(block):
    known = {block.transactions[1].wtxid: block.transactions[1]}
    read = Block.decode(block.encoded, known)
    assert read == block
    assert read.transactions[1] is block.transactions[1]
    assert read.transactions[0] is not block.transactions[0]


def test_another_witness_makes_another_transaction(block):
    known = {block.transactions[1].wtxid: block.transactions[1]}
    stripped = replace(
        block, transactions=(block.transactions[0], replace(block.transactions[1], witnesses=()))
    )
    assert Block.decode(stripped.encoded, known) == stripped


def test_the_root_covers_order_and_witnesses(block):
    first, second = block.transactions
    assert transactions_root((first, second)) == block.header.merkle_root
    assert transactions_root((second, first)) != block.header.merkle_root
    assert transactions_root((first, replace(second, witnesses=()))) != block.header.merkle_root
    assert transactions_root((first, second, second)) != block.header.merkle_root


@pytest.mark.parametrize("field", ["version", "time", "bits"])
def test_a_field_beyond_its_bytes_is_refused(block, field):
    wide = replace(block, header=replace(block.header, **{field: 1 << 32}))
    with pytest.raises(InvalidBlock, match="does not fit in 4 bytes"):
        Block.decode(wide.encoded)
    widest = replace(block, header=replace(block.header, **{field: (1 << 32) - 1}))
    assert len(Block.decode(widest.encoded).header.encode()) == HEADER_SIZE


def test_a_block_beyond_the_limit_is_refused_unread():
    with pytest.raises(InvalidMessage, match=f"at most {BLOCK_SIZE_MAX}"):
        Block.decode(bytes(BLOCK_SIZE_MAX + 1))


@given(st.binary(max_size=400))
def test_any_bytes_give_a_block_or_invalid_input(data):
    with contextlib.suppress(InvalidInput):
        assert replace(Block.decode(data)).encoded == data  # encoded anew


@given(st.data())
def test_bytes_near_a_block_give_another_or_invalid_input(block, draw):
    good = block.encoded
    with pytest.raises(InvalidMessage):
        Block.decode(good[: draw.draw(st.integers(0, len(good) - 1))])
    with contextlib.suppress(InvalidInput):
        assert Block.decode(flip(good, draw.draw(st.integers(0, 8 * len(good) - 1)))) != block
