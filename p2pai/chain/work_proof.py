"""What shows that a block's nonce was earned by a recorded iteration of training.

A work proof carries three IT_RES messages of one miner, each with its Merkle path into a certified slot: that
of iteration i, which committed to the zero-nonce block; that of iteration i+k, whose by-products are the
nonce; and the one just before it, which ties the lucky iteration's starting point to what was announced.
Every node checks all of this without training anything; verifiers also replay the lucky iteration.

The header names the three messages (`hash_msg`), because what a replay finds depends on `previous`: a miner
that signed two for one iteration, and got both recorded, would else have one block that some find false.

Source: PoUW §5.1, §5.2; PROTOCOL section 8.
"""

from dataclasses import dataclass

from p2pai.chain import it_res
from p2pai.chain.committee import SlotStatement
from p2pai.primitives import merkle
from p2pai.primitives.ids import BlsSignature, Hash32, Outpoint


@dataclass(frozen=True, slots=True)
class Recorded:
    """A message and its place in one of the proof's slots."""

    message: bytes
    slot: int
    """Index into `WorkProof.slots`."""
    index: int
    size: int
    """Messages in that slot."""
    path: tuple[Hash32, ...]


@dataclass(frozen=True, slots=True)
class WorkProof:
    """The proof, unchecked (see work.py)."""

    ticket: Outpoint
    slots: tuple[SlotStatement, ...]
    """Consecutive slots from the one with `committed` to the one with `lucky`."""
    certificate: BlsSignature
    """The sum of their certificates: one signature under all of them."""
    committed: Recorded
    previous: Recorded
    lucky: Recorded
    batch_path: tuple[Hash32, ...]
    """From the lucky iteration's batch to its fragment's root."""

    @property
    def messages_root(self) -> Hash32:
        """What the header's `hash_msg` must be."""
        recorded = (self.committed, self.previous, self.lucky)
        return merkle.root([it_res.message_id(r.message) for r in recorded])
