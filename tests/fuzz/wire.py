"""Doors for what remotes send: each takes the bytes, and what it took must have exactly these bytes.

The transaction and the block are followed to the end: onto a chain on which the sound one is valid. There
signatures and work are taken for granted (`trusted`), because who holds a key signs what he likes.
"""

from dataclasses import replace
from functools import cache

from p2pai.chain import it_res, message_map, snapshot, transition
from p2pai.chain.block import Block
from p2pai.chain.task import TaskDefinition
from p2pai.chain.transaction import Transaction
from p2pai.gossip import sync, topics
from p2pai.gossip.envelope import open_envelope, seal
from p2pai.node import journal
from p2pai.numpyreplay import message_map as second_map
from p2pai.primitives import cbor, merkle, record
from p2pai.primitives.errors import InvalidInput
from p2pai.roles import slots
from tests.chain.assembly import Assembly
from tests.chain.ledger import devnet, keys, label
from tests.chain.play import play
from tests.fuzz.harness import Door, Form
from tests.node.parts import grown, iteration, slot
from tests.node.test_journal import SAMPLES as JOURNAL
from tests.roles.test_slots import SAID

CBOR_SIZE_MAX = 1 << 20
TOPIC = str(topics.Topic(devnet().short_id, None, "tx"))


def record_kinds(chain, found):
    """Let a chain note one transaction of each kind, with the state that it is valid on."""
    plain = chain.add

    def add(tx):
        before = chain.pool
        plain(tx)
        found.setdefault(tx.kind, (before, tx))
        return tx

    chain.add = add
    return chain


@cache
def played():
    """Return states with transactions by kind, of a few histories."""
    found = {}
    for seed in (17, 0, 12):
        chain = Assembly.training(4, reserves=1, expected_blocks=20, ticket_expiry_blocks=6)
        play(record_kinds(chain, found), seed, blocks=16)
    return found


@cache
def chain():
    return grown(3)


def read_cbor(data):
    value = cbor.decode(data, size_max=CBOR_SIZE_MAX)
    assert cbor.encode(value) == data


def read_envelope(data):
    open_envelope(data, TOPIC)


def read_transaction(data):
    tx = Transaction.decode(data)
    assert replace(tx).encoded == data  # a copy, which remembers no bytes
    state = played().get(tx.kind, (chain().state, tx))[0]
    transition.apply_transaction(state, tx, devnet().params, trusted=True)


def read_block(data):
    block = Block.decode(data)
    assert replace(block).encoded == data  # a copy, which remembers no bytes
    transition.apply_block(chain().state, block, devnet().params)
    transition.apply_block(chain().state, block, devnet().params, trusted=True)


def read_it_res(data):
    message = it_res.decode(data)
    assert message.encode() == data


def read_it_res_list(data):
    assert b"".join(it_res.split(data)) == data


def read_definition(data):
    found = TaskDefinition.decode(data)
    assert found.encode() == data


WEIGHTS = 320
"""Of the network that message maps are of: a list has at most 20 elements."""


def read_message_map(data):
    """Two readers, written apart, must be of one mind."""
    try:
        message_map.check(data, WEIGHTS)
    except InvalidInput:
        check_refused(second_map.decode, data, WEIGHTS)
        raise
    second_map.decode(data, WEIGHTS)


def check_refused(read, *given):
    """Check that a second reader refuses what the first one did."""
    try:
        read(*given)
    except InvalidInput:
        return
    raise AssertionError("one reader takes what another refuses")


def proof():
    """Return a leaf's proof in a tree of five, as bytes: index, size, leaf, root, path."""
    leaves = [merkle.leaf_hash(bytes([i])) for i in range(5)]
    path = merkle.inclusion_path(leaves, 2)
    return (cbor.encode([2, 5, leaves[2], merkle.root(leaves), list(path)]),)


def read_proof(data):
    value = cbor.decode(data, size_max=CBOR_SIZE_MAX)
    match value:
        case [int(index), int(size), bytes(leaf), bytes(root), list(path)]:
            if all(isinstance(part, bytes) for part in path):
                merkle.verify_inclusion(leaf, index, size, path, root)


def questions():
    asked = (
        sync.AskHeaders(tuple(label(i) for i in range(3))),
        sync.AskBodies(tuple(label(i) for i in range(3))),
        sync.AskSlots(chain().predefined, 2),
        sync.AskMessages(chain().predefined, (label("a"), label("b"))),
        sync.AskUnrecorded(chain().predefined, 3, b"abcdefgh"),
    )
    return tuple(record.encode_tagged(question) for question in asked)


def replies():
    message = iteration(chain(), 0)
    given = (
        sync.Headers(b"".join(b.header.encode() for b in chain().blocks)),
        sync.Blocks(tuple(b.encoded for b in chain().blocks)),
        sync.Slots((slot(chain(), 0, [message]), slot(chain(), 1, [message]))),
        sync.Messages((message,)),
        sync.Unrecorded((label("a"), label("b"))),
    )
    return tuple(record.encode_tagged(reply) for reply in given)


def read_answer(data):
    match sync.read_reply(data):
        case sync.Headers():
            sync.read_headers(data)
        case sync.Blocks():
            sync.read_blocks(data)


def said():
    return tuple(record.encode_tagged(message) for message in SAID)


def read_said(data):
    record.decode_tagged(slots.Said, data, size_max=slots.SAID_SIZE_MAX)


def read_topic(data):
    text = data.decode("latin-1")
    assert str(topics.parse(text)) == text


def lists():
    indices = (0, 1, 7, 319)
    elements = b"".join((i | (i & 1) << 31).to_bytes(4, "big") for i in indices)
    bitmap = bytearray(80)
    bitmap[:7] = b"\x55\xff\x55\xff\x11\x33\xdd"
    moved = sum(bool(b >> s & 3) for b in bitmap for s in (0, 2, 4, 6))
    return b"\0\0", b"\0\4" + elements, bytes([1, moved]) + bytes(bitmap)


def read_journal(data):
    entry = journal.read(data)
    assert journal.write(entry) == data


def states():
    """Return the encodings of a young state, and of one with tasks in several stages."""
    return tuple(snapshot.encode(state) for state in (chain().state, played()["EVALUATE_COMMIT"][0]))


def read_snapshot(data):
    assert snapshot.encode(snapshot.decode(data)) == data


VALUES = (
    [1, "a", b"b", None, True, [], {}, {"x": [2**64 - 1, -(2**63)]}, [[[["deep"]]]]],
    {"": 0, "a": 1, "b": {"c": b"\0" * 30}},
)

DOORS = (
    Door("cbor", read_cbor, lambda: tuple(cbor.encode(value) for value in VALUES), Form.BYTES),
    Door(
        "envelope",
        read_envelope,
        lambda: (seal(keys(1).spending, TOPIC, 7, b"body"),),
    ),
    Door("transaction", read_transaction, lambda: tuple(tx.encoded for _, tx in played().values())),
    Door("block", read_block, lambda: (next_block().encoded,)),
    Door("snapshot", read_snapshot, states, Form.FRAMES),
    Door("merkle_proof", read_proof, proof),
    Door("sync_question", sync.read_question, questions),
    Door("sync_answer", read_answer, replies),
    Door("slot_message", read_said, said),
    Door("topic", read_topic, lambda: (TOPIC.encode(),), Form.BYTES),
    Door("it_res", read_it_res, lambda: (iteration(chain(), 0),), Form.BYTES),
    Door("it_res_list", read_it_res_list, lambda: (iteration(chain(), 0) * 2,), Form.BYTES),
    Door("message_map", read_message_map, lists, Form.BYTES),
    Door("task_definition", read_definition, lambda: (devnet().tasks[0].encode(),)),
    Door("journal_record", read_journal, lambda: tuple(journal.write(sample) for sample in JOURNAL)),
)


@cache
def next_block():
    """Return a block of four payments that follows `chain()`."""
    draft = chain().fork()
    for account in range(4):
        draft.post(account)
    return draft.draft()
