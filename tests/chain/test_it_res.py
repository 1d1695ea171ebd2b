"""Targets: the layout byte for byte, one encoding per message, and no bytes that crash the reader."""

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.chain import it_res
from p2pai.chain.it_res import METRIC_COUNT_MAX, EndState, IterationResult, decode
from p2pai.chain.params import IT_RES_SIZE_MAX
from p2pai.primitives import ecdsa, merkle
from p2pai.primitives.errors import InvalidInput, InvalidMessage, InvalidProof
from p2pai.primitives.ids import Outpoint, TaskId
from tests.chain.ledger import flip, keys, label, public, sign_message

TASK = TaskId(label("task"))
hashes = st.binary(min_size=32, max_size=32)
u16, u32 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
messages = st.builds(
    IterationResult,
    task_prefix=st.binary(min_size=16, max_size=16),
    epoch=u16,
    message_map=st.binary(max_size=300),
    metrics=st.lists(u32, max_size=METRIC_COUNT_MAX).map(tuple),
    started_s=u32,
    finished_s=u32,
    batch=hashes,
    applied=hashes,
    weights=hashes,
    residual=hashes,
    zero_nonce_block=hashes,
    queued=hashes,
    ticket=st.builds(Outpoint, hashes, u32),
    iteration=u32,
    optimiser=hashes,
    peer_count=u16,
    peer_ids=hashes,
    nonce=hashes,
    tau_bits=st.integers(0, 255),
    moved=st.integers(0, 2**64 - 1),
    validation=st.lists(u32, max_size=METRIC_COUNT_MAX).map(tuple),
    platform=hashes,
    signature=st.binary(max_size=255),
)
MESSAGE = sign_message(
    IterationResult(
        task_prefix=TASK[:16],
        epoch=1,
        message_map=b"\x01\x02\x03",
        metrics=(0x3F000000, 0x3F800000),
        started_s=2,
        finished_s=3,
        batch=label("batch"),
        applied=label("applied"),
        weights=label("weights"),
        residual=label("residual"),
        zero_nonce_block=label("block"),
        queued=label("queued"),
        ticket=Outpoint(label("ticket"), 4),
        iteration=5,
        optimiser=label("optimiser"),
        peer_count=6,
        peer_ids=label("peers"),
        nonce=label("nonce"),
        tau_bits=9,
        moved=10,
        validation=(0x3F400000,),
        platform=label("platform"),
    ),
    TASK,
    account=4,
)


def test_the_layout_is_table_1_then_the_extension():
    layout = (
        b"\x02\x00",  # version
        TASK[:16],
        b"I",
        b"\x01\x00",  # epoch
        b"\x03\x01\x02\x03",  # message map behind its length
        b"\x02\x00" + b"\x00\x00\x00\x3f" + b"\x00\x00\x80\x3f",  # metrics behind their number
        b"\x02\x00\x00\x00" + b"\x03\x00\x00\x00",  # start and finish
        label("batch"),
        label("applied"),
        label("weights"),
        label("residual"),
        label("block"),
        label("queued"),
        label("ticket") + b"\x04\x00\x00\x00",
        b"\x05\x00\x00\x00",  # iteration
        label("optimiser"),
        b"\x06\x00",  # peers
        label("peers"),
        label("nonce"),
        b"\x09",  # tau
        b"\x0a" + bytes(7),  # moved in this epoch
        b"\x01\x00" + b"\x00\x00\x40\x3f",  # validation metrics behind their number
        label("platform"),
        bytes([len(MESSAGE.signature)]) + MESSAGE.signature,
    )
    assert MESSAGE.encode() == b"".join(layout)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384])
def test_a_message_map_of_any_length_survives(size):
    message = replace(MESSAGE, message_map=bytes(size))
    assert decode(message.encode()) == message


@given(messages)
def test_a_message_survives_the_wire(message):
    assert decode(message.encode()) == message


@given(st.binary(max_size=500))
def test_any_bytes_give_a_message_or_invalid_message(data):
    with contextlib.suppress(InvalidMessage):
        assert decode(data).encode() == data


@given(messages, st.data())
def test_bytes_near_a_message_give_another_or_invalid_message(message, draw):
    data = message.encode()
    cut = draw.draw(st.integers(0, len(data) - 1))
    with pytest.raises(InvalidMessage):
        decode(data[:cut])
    changed = flip(data, draw.draw(st.integers(0, 8 * len(data) - 1)))
    with contextlib.suppress(InvalidMessage):
        assert decode(changed).encode() == changed


@pytest.mark.parametrize("cut", range(0, len(MESSAGE.encode()), 7))
def test_a_message_cut_short_is_refused(cut):
    with pytest.raises(InvalidMessage, match="cut short"):
        decode(MESSAGE.encode()[:cut])


BODY = MESSAGE.encode()
AFTER_EPOCH = 21


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x01" + BODY[1:], "another version"),
        (BODY[:18] + b"J" + BODY[19:], "not an IT_RES"),
        (BODY + b"\x00", "bytes left over"),
        (BODY[:AFTER_EPOCH] + b"\x83\x00" + BODY[AFTER_EPOCH + 1 :], "padded length"),
        (BODY[:AFTER_EPOCH] + b"\xff" * 5 + BODY[AFTER_EPOCH + 1 :], "endless length"),
        (BODY[:AFTER_EPOCH] + b"\xff\xff\xff\xff\x7f" + BODY[AFTER_EPOCH + 1 :], "cut short"),
        (BODY[: AFTER_EPOCH + 4] + b"\x11\x00" + BODY[AFTER_EPOCH + 6 :], "too many metrics"),
        (bytes(IT_RES_SIZE_MAX + 1), "at most 65536"),
    ],
)
def test_malformed_messages_are_refused(data, reason):
    with pytest.raises(InvalidMessage, match=reason):
        decode(data)


def test_the_largest_message_passes():
    message = replace(MESSAGE, message_map=bytes(IT_RES_SIZE_MAX - len(BODY) + 1))
    assert len(message.encode()) == IT_RES_SIZE_MAX  # the length of the map takes two bytes more
    assert decode(message.encode()) == message


class TestSplit:
    """Messages that stand one after the other, as in the blob of a slot."""

    @given(st.lists(messages, max_size=4))
    def test_cuts_them_apart(self, several):
        parts = tuple(m.encode() for m in several)
        assert it_res.split(b"".join(parts)) == parts

    @pytest.mark.parametrize("junk", [b"\x00", BODY[:-1], b"\x01" + BODY[1:]])
    def test_refuses_what_is_no_message(self, junk):
        with pytest.raises(InvalidMessage):
            it_res.split(BODY + junk)

    def test_refuses_a_message_that_is_too_large(self):
        large = replace(MESSAGE, message_map=bytes(IT_RES_SIZE_MAX)).encode()
        with pytest.raises(InvalidMessage, match="larger than 65536 bytes"):
            it_res.split(BODY + large)

    @given(st.binary(max_size=600))
    def test_any_bytes_give_messages_or_invalid_message(self, data):
        with contextlib.suppress(InvalidMessage):
            assert b"".join(it_res.split(data)) == data


class TestSignature:
    def test_of_the_miner_holds(self):
        it_res.verify_signature(MESSAGE, TASK, public(4))

    def test_of_another_key_does_not(self):
        with pytest.raises(InvalidProof, match="does not match"):
            it_res.verify_signature(MESSAGE, TASK, public(5))

    @pytest.mark.parametrize("field", [f for f in IterationResult.__slots__ if f != "signature"])
    def test_covers_every_field(self, field):
        value = getattr(MESSAGE, field)
        changed = {int: 7, tuple: (1,), Outpoint: Outpoint(label("other"), 1)}.get(type(value)) or flip(value)
        with pytest.raises(InvalidInput, match=r"does not match|names another task"):
            it_res.verify_signature(replace(MESSAGE, **{field: changed}), TASK, public(4))

    def test_covers_the_part_of_the_task_id_that_does_not_travel(self):
        twin = TaskId(TASK[:16] + bytes(16))
        with pytest.raises(InvalidProof, match="does not match"):
            it_res.verify_signature(MESSAGE, twin, public(4))

    def test_of_another_task_is_told_apart(self):
        with pytest.raises(InvalidMessage, match="names another task"):
            it_res.verify_signature(MESSAGE, TaskId(label("another")), public(4))

    def test_has_one_form(self):
        twice = sign_message(replace(MESSAGE, signature=b""), TASK, 4)
        assert twice == MESSAGE
        assert len(MESSAGE.signature) <= ecdsa.SIGNATURE_SIZE_MAX


def test_the_id_is_the_messages_leaf_in_its_slot():
    data = MESSAGE.encode()
    assert it_res.message_id(data) == merkle.root([merkle.leaf_hash(data)])


END = EndState(label("weights"), label("residual"), label("optimiser"), label("witness"))


@pytest.mark.parametrize("field", ["weights", "residual", "optimiser", "witness"])
def test_the_precursor_covers_the_whole_end_state(field):
    assert it_res.precursor(replace(END, **{field: label("other")}), b"map") != it_res.precursor(END, b"map")


def test_the_precursor_covers_the_message_map():
    assert it_res.precursor(END, b"map") != it_res.precursor(END, b"mop")


def test_the_witness_is_not_the_public_id_of_the_residual():
    residual = bytes(40)
    assert it_res.witness(residual) not in (merkle.leaf_hash(residual), it_res.witness(bytes(41)))


def test_the_first_nonce_depends_on_announcement_and_slot():
    nonce = it_res.nonce(it_res.precursor(END, b"map"))
    first = it_res.first_nonce(nonce, label("slot"))
    assert (
        len(
            {
                first,
                nonce,
                it_res.first_nonce(nonce, label("other")),
                it_res.first_nonce(END.witness, label("slot")),
            }
        )
        == 4
    )


def test_the_hash_of_ids_depends_on_their_order_and_number():
    a, b = label("a"), label("b")
    assert len({it_res.hash_ids(ids) for ids in ((), (a,), (a, b), (b, a), (a, a))}) == 5


def test_secrets_do_not_stand_in_a_message():
    assert keys(4).spending not in MESSAGE.encode()
