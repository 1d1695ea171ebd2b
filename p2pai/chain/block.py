"""Blocks: a header of 172 bytes, a work proof, and transactions.

Two hashes of one header matter. The *work hash* must lie under the target; it is taken with `hash_msg` and
`hash_msg_hist` zero, because the messages they name are certified only after the nonce was found. The *block
hash* is of the whole header and identifies the block. The *zero-nonce hash* is the commitment of k iterations
before: nonce, hash_msg and hash_msg_hist all zero.

Source: PoUW §5 and figure 6; PROTOCOL section 8.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from p2pai.chain.params import BLOCK_SIZE_MAX
from p2pai.chain.transaction import Transaction
from p2pai.chain.work_proof import WorkProof
from p2pai.primitives import cbor, merkle, record
from p2pai.primitives.errors import InvalidBlock, InvalidMessage
from p2pai.primitives.ids import ZERO_HASH, Hash32
from p2pai.primitives.memo import pure

HEADER_SIZE: Final = 172
VERSION: Final = 1
_HEADER_FRONT: Final = 256
"""More than a header's record takes; a block's record begins with one byte, and its header."""

NONE_KNOWN: Final[Mapping[Hash32, Transaction]] = MappingProxyType({})


@dataclass(frozen=True)
class Header:
    """A block's header; all integers little-endian on the wire."""

    version: int
    prev: Hash32
    merkle_root: Hash32
    time: int
    """Unix seconds."""
    bits: int
    nonce: Hash32
    hash_msg: Hash32
    hash_msg_hist: Hash32

    def encode(self) -> bytes:
        """Return the 172 bytes."""
        return b"".join(
            (
                self.version.to_bytes(4, "little"),
                self.prev,
                self.merkle_root,
                self.time.to_bytes(4, "little"),
                self.bits.to_bytes(4, "little"),
                self.nonce,
                self.hash_msg,
                self.hash_msg_hist,
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> "Header":
        """Read a header.

        Raises:
          InvalidMessage: not 172 bytes.
        """
        if len(data) != HEADER_SIZE:
            raise InvalidMessage(f"a header of {len(data)} bytes")
        hashes = [Hash32(data[start : start + 32]) for start in (4, 36, 76, 108, 140)]
        version, time, bits = (int.from_bytes(data[at : at + 4], "little") for at in (0, 68, 72))
        return cls(version, hashes[0], hashes[1], time, bits, *hashes[2:])

    @cached_property
    def hash(self) -> Hash32:
        """The block hash."""
        return double_sha256(self.encode())

    @property
    def work_hash(self) -> Hash32:
        """What is compared with the target."""
        return replace(self, hash_msg=ZERO_HASH, hash_msg_hist=ZERO_HASH).hash

    @property
    def zero_nonce_hash(self) -> Hash32:
        """What was committed to k iterations before."""
        return replace(self, nonce=ZERO_HASH, hash_msg=ZERO_HASH, hash_msg_hist=ZERO_HASH).hash


@dataclass(frozen=True)
class Block:
    """A block as it travels; nothing in it is checked (see transition.apply_block)."""

    header: Header
    work_proof: WorkProof | None
    """None only in the genesis block."""
    transactions: tuple[Transaction, ...]

    @property
    def hash(self) -> Hash32:
        """The block hash."""
        return self.header.hash

    @cached_property
    def encoded(self) -> bytes:
        """The canonical bytes."""
        return record.encode(
            _Wire(self.header, self.work_proof, tuple(tx.encoded for tx in self.transactions))
        )

    @property
    def size(self) -> int:
        """Length of the canonical bytes."""
        return len(self.encoded)

    @classmethod
    @pure(lambda _, data, *__: data)  # what is known makes it faster, and not another block
    def decode(cls, data: bytes, known: Mapping[Hash32, Transaction] = NONE_KNOWN) -> "Block":
        """Read a block's shape.

        Args:
          data: as received.
          known: transactions read before, by wtxid; they are not read again.

        Raises:
          InvalidMessage: malformed or too large.
          InvalidBlock: a header field does not fit its bytes.
        """
        wire = _read(data)
        transactions = (known.get(merkle.leaf_hash(tx)) or Transaction.decode(tx) for tx in wire.transactions)
        block = cls(wire.header, wire.work_proof, tuple(transactions))
        vars(block)["encoded"] = data  # only the canonical bytes can be read
        return block


@dataclass(frozen=True, slots=True)
class _Wire:
    """A block's record: each transaction is its canonical bytes, so that they can be hashed unread."""

    header: Header
    work_proof: WorkProof | None
    transactions: tuple[bytes, ...]


def read_header(data: bytes) -> Header:
    """Read the header of an encoded block, and no transaction.

    Raises:
      InvalidInput: malformed or too large.
    """
    return _read(data).header


def read_header_alone(data: bytes) -> Header:
    """Read the header of an encoded block that was checked before, in a time that does not grow with it."""
    front = cbor.decode_front(data[1 : 1 + _HEADER_FRONT])
    return record.decode(Header, cbor.encode(front), size_max=_HEADER_FRONT)


def read_front(data: bytes) -> Block:
    """Read an encoded block with its first transaction alone, for what the others have no part in.

    Raises:
      InvalidInput: malformed or too large.
    """
    wire = _read(data)
    return Block(wire.header, wire.work_proof, tuple(map(Transaction.decode, wire.transactions[:1])))


def _read(data: bytes) -> _Wire:
    wire = record.decode(_Wire, data, size_max=BLOCK_SIZE_MAX)
    header = wire.header
    if max(header.version, header.time, header.bits) >= 1 << 32:
        raise InvalidBlock("a header field does not fit in 4 bytes")
    return wire


def double_sha256(data: bytes) -> Hash32:
    """Return SHA-256 of SHA-256."""
    return Hash32(sha256(sha256(data).digest()).digest())


def transactions_root(transactions: tuple[Transaction, ...]) -> Hash32:
    """Return the Merkle root over whole transactions, witnesses included."""
    return merkle.root([tx.wtxid for tx in transactions])


def has_its_transactions(block: Block) -> bool:
    """Return whether a block's transactions are those that its header commits to."""
    found = block.transactions
    return bool(found) and transactions_root(found) == block.header.merkle_root
