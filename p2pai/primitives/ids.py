"""Names for values that would otherwise all be `bytes` and `int`."""

from typing import Final, NamedTuple, NewType

Hash32 = NewType("Hash32", bytes)
"""A SHA-256 digest, 32 bytes."""

TaskId = NewType("TaskId", Hash32)
"""Identifies a task: the txid of its PAY_FOR_TASK, or a hash for a predefined task."""

BlobId = NewType("BlobId", Hash32)
"""A content id: RFC 6962 Merkle root over the blob's chunks."""

BlsPublicKey = NewType("BlsPublicKey", bytes)
"""A compressed point of G1, 48 bytes."""

BlsSignature = NewType("BlsSignature", bytes)
"""A compressed point of G2, 96 bytes."""

PublicKey = NewType("PublicKey", bytes)
"""A compressed secp256k1 point, 33 bytes: spending, and signing off-chain messages."""

VrfPublicKey = NewType("VrfPublicKey", bytes)
"""A compressed Ed25519 point, 32 bytes."""

KeyHash = NewType("KeyHash", bytes)
"""First 20 bytes of a tagged hash of a spending key; an address in binary form."""

PeerId = NewType("PeerId", str)
"""A libp2p peer id in its base58 text form."""

Height = NewType("Height", int)

Amount = NewType("Amount", int)
"""Money in atoms, 10^8 to a coin; never negative, never a float."""

Millis = NewType("Millis", int)
"""A time or a duration in milliseconds."""

HASH_SIZE: Final = 32
ZERO_HASH: Final = Hash32(bytes(HASH_SIZE))


class Outpoint(NamedTuple):
    """One output of one transaction; as a ticket's outpoint it identifies the ticket."""

    txid: Hash32
    position: int

    def encode(self) -> bytes:
        """Return the 36-byte form: txid, then the position as u32 little-endian."""
        return self.txid + self.position.to_bytes(4, "little")

    @classmethod
    def decode(cls, data: bytes) -> "Outpoint":
        """Read the 36-byte form."""
        assert len(data) == HASH_SIZE + 4
        return cls(Hash32(data[:HASH_SIZE]), int.from_bytes(data[HASH_SIZE:], "little"))

    def __str__(self) -> str:
        return f"{self.txid.hex()}:{self.position}"
