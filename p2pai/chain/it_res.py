"""IT_RES: what a miner tells its task group after every iteration.

The layout is Table 1 of the paper, field by field, followed by an extension (version 2) that makes an
iteration checkable: who (ticket), which (iteration), the optimiser's state, the peers' messages applied, the
nonce, tau, and at the end of an epoch what the model scored on the validation data. Integers are
little-endian. Two fields of Table 1 differ, because they could not hold their values: the message map carries
its own length (the paper's two bytes overflow at 65,536 elements), and so does the DER signature (which is
not always 65 bytes).

A message's id is its RFC 6962 leaf hash, so a slot of the message history is a Merkle tree over messages.

Source: PoUW Table 1; PROTOCOL section 7; docs/adr/0003-it-res-extension.md.
"""

from dataclasses import dataclass
from typing import Final

from p2pai.chain.params import IT_RES_SIZE_MAX
from p2pai.primitives import ecdsa, merkle
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlobId, Hash32, Outpoint, PublicKey, TaskId
from p2pai.primitives.memo import Same, pure

VERSION: Final = 2
TYPE: Final = b"I"
TASK_PREFIX_SIZE: Final = 16
"""Table 1 has room for 16 bytes of the task id."""

METRIC_COUNT_MAX: Final = 16


@dataclass(frozen=True, slots=True)
class IterationResult:
    """One IT_RES message, decoded; field comments give Table 1's symbols."""

    task_prefix: bytes
    epoch: int  # xi, from 1
    message_map: bytes  # delta^(l)
    metrics: tuple[int, ...]  # K^(tr), bit patterns of float32
    started_s: int  # t^(s)
    finished_s: int  # t^(f)
    batch: Hash32  # hash(b_i)
    applied: BlobId  # hash(Delta^(p)): content id of the peers' messages applied
    weights: BlobId  # hash(theta), before the peers' updates
    residual: BlobId  # hash(g^(r))
    zero_nonce_block: Hash32  # hash(ZNB)
    queued: BlobId  # hash(delta^(p)): content id of the peers' messages for the next iteration
    ticket: Outpoint
    iteration: int  # of this ticket in this task, from 0
    optimiser: BlobId
    peer_count: int
    peer_ids: Hash32  # hash of the ids of the messages applied
    nonce: Hash32
    tau_bits: int  # tau = 2^-tau_bits
    moved: int  # elements of this miner's message maps in this epoch so far, without this one's
    validation: tuple[int, ...]  # of theta'', as metrics; in an epoch's last message where data are set apart
    platform: Hash32  # fingerprint of the machine, in native numerics; else zero
    signature: bytes = b""

    def encode_unsigned(self) -> bytes:
        """Return the bytes that the signature covers."""
        return b"".join(
            (
                _u(VERSION, 2),
                self.task_prefix,
                TYPE,
                _u(self.epoch, 2),
                _varint(len(self.message_map)),
                self.message_map,
                _u(len(self.metrics), 2),
                *(_u(m, 4) for m in self.metrics),
                _u(self.started_s, 4),
                _u(self.finished_s, 4),
                self.batch,
                self.applied,
                self.weights,
                self.residual,
                self.zero_nonce_block,
                self.queued,
                self.ticket.encode(),
                _u(self.iteration, 4),
                self.optimiser,
                _u(self.peer_count, 2),
                self.peer_ids,
                self.nonce,
                _u(self.tau_bits, 1),
                _u(self.moved, 8),
                _u(len(self.validation), 2),
                *(_u(v, 4) for v in self.validation),
                self.platform,
            )
        )

    def encode(self) -> bytes:
        """Return the message's bytes."""
        return self.encode_unsigned() + _u(len(self.signature), 1) + self.signature


@dataclass(frozen=True, slots=True)
class EndState:
    """What an iteration ended with, by content id: theta'', the residual, the optimiser's state.

    The next IT_RES names these ids, so they are public soon; `witness` is known only to who computed the
    iteration, so a verifier that shows the precursor has replayed it.
    """

    weights: BlobId
    residual: BlobId
    optimiser: BlobId
    witness: Hash32


def witness(residual: bytes) -> Hash32:
    """Return the witness of a residual, from the first chunk of its canonical bytes."""
    return tagged_hash("p2pai/witness", residual)


def precursor(after: EndState, message_map: bytes) -> Hash32:
    """Return the nonce precursor: all that an iteration ended with, and its message map.

    Source: PoUW Algorithm 2, line 2; docs/adr/0006-work-proof.md.
    """
    return tagged_hash(
        "p2pai/precursor", after.weights, after.residual, after.optimiser, after.witness, message_map
    )


def nonce(nonce_precursor: Hash32) -> Hash32:
    """Return the nonce that IT_RES announces. Source: PoUW Algorithm 2, line 3."""
    return tagged_hash("p2pai/nonce", nonce_precursor)


def first_nonce(announced: Hash32, commitment_slot: Hash32) -> Hash32:
    """Return the first nonce that may be tried for the block committed to k iterations before.

    It depends on the root of the slot that recorded the commitment, which no miner knows when it commits: a
    block can't be fitted to training that was done ahead and held back. Source: docs/adr/0006-work-proof.md.
    """
    return tagged_hash("p2pai/first-nonce", announced, commitment_slot)


def message_id(data: bytes) -> Hash32:
    """Return the id of an encoded message."""
    return merkle.leaf_hash(data)


def hash_ids(ids: tuple[Hash32, ...]) -> Hash32:
    """Return the hash of a list of message ids."""
    return tagged_hash("p2pai/message-ids", *ids)


def signing_digest(task: TaskId, unsigned: bytes) -> Hash32:
    """Return what a miner signs; the whole task id is covered, though only a prefix travels."""
    return tagged_hash("p2pai/it-res", task, unsigned)


@pure(lambda message, task, key: (Same(message), task, key))
def verify_signature(message: IterationResult, task: TaskId, key: PublicKey) -> None:
    """Check that `key` sent this message in this task.

    Raises:
      InvalidMessage: it names another task.
      InvalidProof: the signature does not hold.
    """
    if message.task_prefix != task[:TASK_PREFIX_SIZE]:
        raise InvalidMessage("IT_RES names another task")
    ecdsa.verify(key, signing_digest(task, message.encode_unsigned()), message.signature)


@pure()
def decode(data: bytes) -> IterationResult:
    """Read a message.

    Raises:
      InvalidMessage: malformed, too large, of another version, or with bytes left over.
    """
    if len(data) > IT_RES_SIZE_MAX:
        raise InvalidMessage(f"IT_RES of {len(data)} bytes, at most {IT_RES_SIZE_MAX}")
    read = _Reader(data)
    message = _read(read)
    read.end()
    return message


@pure()
def split(data: bytes) -> tuple[bytes, ...]:
    """Cut messages that stand one after the other apart, as in the blob of a slot.

    Raises:
      InvalidMessage: one of them is malformed or too large.
    """
    read, messages = _Reader(data), []
    while read.left:
        start = len(data) - read.left
        _read(read)
        messages.append(data[start : len(data) - read.left])
    if any(len(message) > IT_RES_SIZE_MAX for message in messages):
        raise InvalidMessage(f"an IT_RES is larger than {IT_RES_SIZE_MAX} bytes")
    return tuple(messages)


def _read(read: "_Reader") -> IterationResult:
    if read.integer(2) != VERSION:
        raise InvalidMessage("IT_RES of another version")
    prefix = read.take(TASK_PREFIX_SIZE)
    if read.take(1) != TYPE:
        raise InvalidMessage("not an IT_RES")
    return IterationResult(
        task_prefix=prefix,
        epoch=read.integer(2),
        message_map=read.take(read.varint()),
        metrics=read.metrics(),
        started_s=read.integer(4),
        finished_s=read.integer(4),
        batch=read.hash(),
        applied=BlobId(read.hash()),
        weights=BlobId(read.hash()),
        residual=BlobId(read.hash()),
        zero_nonce_block=read.hash(),
        queued=BlobId(read.hash()),
        ticket=Outpoint.decode(read.take(36)),
        iteration=read.integer(4),
        optimiser=BlobId(read.hash()),
        peer_count=read.integer(2),
        peer_ids=read.hash(),
        nonce=read.hash(),
        tau_bits=read.integer(1),
        moved=read.integer(8),
        validation=read.metrics(),
        platform=read.hash(),
        signature=read.take(read.integer(1)),
    )


class _Reader:
    """Takes fields off the front of a message."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, size: int) -> bytes:
        end = self._position + size
        if end > len(self._data):
            raise InvalidMessage("IT_RES is cut short")
        part = self._data[self._position : end]
        self._position = end
        return part

    def integer(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def hash(self) -> Hash32:
        return Hash32(self.take(32))

    def metrics(self) -> tuple[int, ...]:
        count = self.integer(2)
        if count > METRIC_COUNT_MAX:
            raise InvalidMessage("too many metrics")
        return tuple(self.integer(4) for _ in range(count))

    def varint(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            byte = self.integer(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift:
                    raise InvalidMessage("IT_RES has a padded length")
                return value
        raise InvalidMessage("IT_RES has an endless length")

    @property
    def left(self) -> int:
        return len(self._data) - self._position

    def end(self) -> None:
        if self._position != len(self._data):
            raise InvalidMessage("IT_RES has bytes left over")


def _u(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
