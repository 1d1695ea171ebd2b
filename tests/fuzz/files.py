"""Doors for what lies on a disk, or comes from the local user: data, models, settings, journal, orders.

Files are written to memory-backed storage where there is any, because the reader wants a path.
"""

import gzip
import io
import json
import os
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from p2pai import effects
from p2pai.chain import genesis, shards, spec
from p2pai.chain.block import Block
from p2pai.chain.training import ReedSolomon
from p2pai.cli import definition, money
from p2pai.gossip import recording
from p2pai.jaxtrain import data_file, dataset, weights
from p2pai.jaxtrain.model import Architecture
from p2pai.numpyreplay import batch as second_batch
from p2pai.numpyreplay import model as second_model
from p2pai.primitives import address, blob, cbor, mnemonic, signed_message
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.mnemonic import KeyTree
from p2pai.shell import chain_file, config, faucet, frames, keystore, rpc, store
from tests.chain.ledger import CLIENT, VERIFIERS, Chain, devnet, key_hash, keys, label
from tests.fuzz.harness import Door, Form
from tests.fuzz.wire import check_refused
from tests.gossip import recordings
from tests.jaxtrain.kinds import KINDS
from tests.node.parts import Driven

ROOT = Path(__file__).parents[2]
PRESET = ROOT / "p2pai" / "chain" / "presets" / "devnet.toml"
EXAMPLES = ROOT / "examples"


@cache
def folder():
    """Return a directory of this process's own, in memory where that can be."""
    memory = Path("/dev/shm")
    made = tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)
    return made, Path(made.name)


def written(name, data, mode=0o600):
    """Write a file and return it."""
    file = folder()[1] / name
    file.write_bytes(data)
    file.chmod(mode)
    return file


# --- data of a task

TASK = KINDS["two classes"]


def batches():
    dice = np.random.Generator(np.random.Philox(1))
    features = dice.integers(0, 16, (4, TASK.dataset.features))
    labels = dice.integers(0, 2, 4)
    return (
        dataset.serialise(features.astype(np.uint8), labels, 4),
        dataset.serialise(features.astype(np.float32), labels, 0),
    )


def read_batch(data):
    """Two readers, written apart, must be of one mind."""
    form = TASK.dataset
    try:
        dataset.parse(data, features=form.features, classes=form.classes, targets=form.targets)
    except InvalidInput:
        check_refused(second_batch.decode, data, form)
        raise
    second_batch.decode(data, form)


@cache
def network():
    return Architecture.of(TASK)


def model_bytes():
    flat = np.arange(network().weight_count, dtype=np.float32) / np.float32(1 << 12)
    return (second_model.Model(np.zeros(0, np.int64), np.zeros(24, np.int64)).encode(), flat.tobytes())


def models():
    statistics, flat = model_bytes()
    return (flat + statistics,)


def read_model(data):
    try:
        weights.unpack_model(data, network())
    except InvalidInput:
        check_refused(second_model.decode, data, TASK)
        raise
    second_model.decode(data, TASK)


def idx(values):
    shape = b"".join(n.to_bytes(4, "big") for n in values.shape)
    return bytes([0, 0, 8, values.ndim]) + shape + values.astype(np.uint8).tobytes()


IMAGES = idx(np.arange(24).reshape(6, 2, 2))
LABELS = idx(np.arange(6) % 3)


def read_idx(data):
    """Read images that may be packed, beside sound labels."""
    written("train-labels-idx1-ubyte", LABELS)
    data_file.read(str(written("train-images-idx3-ubyte", data)), "idx", regression=False)


def read_csv(data):
    file = written("d.csv", data)
    data_file.read(str(file), "csv", regression=True)


def npzs():
    made = []
    for save in (np.savez, np.savez_compressed):
        file = io.BytesIO()
        save(file, x=np.arange(24, dtype=np.uint8).reshape(6, 4), y=np.arange(6) % 3)
        made.append(file.getvalue())
    return made


def read_npz(data):
    data_file.read(str(written("d.npz", data)), "npz", regression=False)


TABLE = b"a,b,target\n1,2.5,0\n-3,4e2,1\n\n.5,6,2\n"

# --- lists of shards

ROWS = shards.write([tuple(label(f, s) for s in range(6)) for f in range(10)])


def read_shards(data):
    task = devnet().tasks[0]
    form = replace(task.dataset, shards=blob.blob_id(ROWS))
    shards.read(replace(task, dataset=form, redundancy=ReedSolomon(4, 2)), data)


# --- settings, keys, orders


def text_of(data):
    """Return the text of a file as the readers get it."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput("not text") from error


def read_spec(data):
    genesis.genesis_state(spec.parse(text_of(data)))


def tasks():
    return tuple(file.read_bytes() for file in sorted(EXAMPLES.glob("*.yaml")))


def read_task(data):
    file = written("task.yaml", data)
    definition.load(file, EXAMPLES / "projectile.csv")


def settings():
    config.save(config.NodeRecord(config.Config(folder()[1], "devnet", ("miner",)), "12D3", bytes(33)))
    return ((folder()[1] / config.FILE_NAME).read_bytes(),)


def read_settings(data):
    written(config.FILE_NAME, data)
    config.load(folder()[1])


def read_address(data):
    address.decode("dpai", data.decode("latin-1"))


def read_coins(data):
    money.parse_coins(data.decode("latin-1"))


@cache
def node():
    """Return a node with a chain behind it, to be asked."""
    chain = Chain()
    chain.approve(chain.mine(), VERIFIERS)
    chain.mine()
    driven = Driven(CLIENT, roles=("client",))
    driven.hear_chain(chain)
    return driven.core


def requests():
    task = next(iter(node().state.tasks)).hex()
    asked = {
        "node.status": {},
        "block.list": {"count": 3},
        "block.show": {"block": "1"},
        "task.show": {"task": task},
        "task.progress": {"task": task[:6]},
        "dkg.transcript": {"task": task},
        "replay.job": {"block": "1"},
        "wallet.quote": {
            "address": address.encode("dpai", key_hash(3)),
            "atoms": 7,
            "account": 0,
            "fee_rate": 2,
        },
        "wallet.history": {"count": 3, "account": 0},
        "ticket.list": {"own": True},
        "ticket.refundable": {"account": 0},
        "wallet.send": {"address": address.encode("dpai", key_hash(3)), "atoms": 7},
        "task.submit": {"definition": devnet().tasks[0].encode().hex(), "data": "d.csv", "fee": 10**9},
    }
    return tuple(
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        for method, params in asked.items()
    )


def read_request(data):
    """Read a request, and let a node answer it or say what is wrong with it."""
    call = rpc.parse(data)
    if call.method in rpc.SUBMIT_METHODS:
        cbor.decode(cbor.encode(call.params), size_max=rpc.BODY_BYTES_MAX)
    else:
        json.dumps(node().query(call.method, call.params))


def read_frames(data):
    stream = io.BytesIO(data)
    while frames.read(stream) is not None:
        pass


def sound_journal():
    """Return a journal's file with a few records in it."""
    with tempfile.TemporaryDirectory() as made:
        opened = store.Store.open(Path(made))
        opened.write_all([effects.Persist(0, data) for data in (b"a record", b"", bytes(5_000), b"the last")])
        opened.close()
        return ((Path(made) / store.FILE_NAME).read_bytes(),)


def read_journal_file(data):
    """Open a damaged journal: for reading, then for writing, and read what that kept."""
    for rest in ("-wal", "-shm"):
        (folder()[1] / f"{store.FILE_NAME}{rest}").unlink(missing_ok=True)
    written(store.FILE_NAME, data)
    seen, archive = store.read_store(folder()[1])
    archive.close()
    opened = store.Store.open(folder()[1])
    try:
        assert opened.started() == seen
    finally:
        opened.close()


@cache
def exported():
    """Return a file of two real blocks, as `p2pai chain export` writes it."""
    chain = Chain()
    stream = io.BytesIO()
    chain_file.write(stream, chain.spec.id, [chain.mine().encoded for _ in range(2)])
    return (stream.getvalue(),)


def read_exported(data):
    """Read all blocks, as far as that needs no ledger."""
    return [Block.decode(block) for block in chain_file.read(io.BytesIO(data), devnet().id)]


def read_recording(data):
    """Read all entries; what was read whole has exactly these bytes."""
    reading = recording.Reading([data])
    entries = tuple(reading)
    again = recording.begin(reading.head) + b"".join(map(recording.encode, entries))
    assert again == data[: reading.position]


@cache
def sound_keys():
    with tempfile.TemporaryDirectory() as made:
        keystore.create(Path(made), KeyTree(bytes(32)), "password", scrypt_n=2)
        return ((Path(made) / keystore.FILE_NAME).read_bytes(),)


def read_keys(data):
    written(keystore.FILE_NAME, data)
    keystore.unlock(folder()[1], "password")


def read_words(data):
    mnemonic.entropy_of(text_of(data))


def read_signature(data):
    signed_message.verify_message(key_hash(3), "hello", text_of(data))


def signatures():
    return (signed_message.sign_message(keys(3).spending, "hello").encode(),)


def read_claim(data):
    """Read what is posted to a faucet, as a form and as JSON."""
    try:
        faucet._read(data, is_json=False)
    except InvalidInput:
        faucet._read(data, is_json=True)


DOORS = (
    Door("batch", read_batch, batches, Form.BYTES),
    Door("weights", read_model, models, Form.BYTES),
    Door("idx", read_idx, lambda: (IMAGES, gzip.compress(IMAGES, mtime=0)), Form.BYTES),
    Door("csv", read_csv, lambda: (TABLE,), Form.LINES),
    Door("npz", read_npz, npzs, Form.BYTES),
    Door("shards", read_shards, lambda: (b"".join(ROWS),), Form.BYTES),
    Door("chain_spec", read_spec, lambda: (PRESET.read_bytes(),), Form.LINES),
    Door("task_file", read_task, tasks, Form.LINES),
    Door("config", read_settings, settings, Form.JSON),
    Door("key_store", read_keys, sound_keys, Form.JSON),
    Door("words", read_words, lambda: (mnemonic.words_of(bytes(16)).encode(),), Form.LINES),
    Door("signature", read_signature, signatures, Form.BYTES),
    Door("claim", read_claim, lambda: (b'{"address": "dpai1xyz"}', b"address=dpai1xyz"), Form.JSON),
    Door("address", read_address, lambda: (address.encode("dpai", key_hash(3)).encode(),), Form.BYTES),
    Door("coins", read_coins, lambda: (b"12.5", b"0.00000001"), Form.BYTES),
    Door("rpc", read_request, requests, Form.JSON, (InvalidInput, Unavailable, rpc._Refused)),
    Door("chain_file", read_exported, exported, Form.BYTES),
    Door("recording", read_recording, lambda: (recordings.written(),), Form.FRAMES),
    Door("frames", read_frames, lambda: (frames.encode(b"one") + frames.encode(b""),), Form.BYTES),
    Door("journal_file", read_journal_file, sound_journal, Form.BYTES),
)
