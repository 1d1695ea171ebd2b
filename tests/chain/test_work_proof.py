"""Target: a work proof survives the wire, and the largest one leaves room in a block."""

from dataclasses import replace

from p2pai.chain.params import BLOCK_SIZE_MAX, IT_RES_SIZE_MAX, WORK_PROOF_SLOTS_MAX
from p2pai.chain.work_proof import WorkProof
from p2pai.primitives import record
from p2pai.primitives.ids import ZERO_HASH
from tests.chain.ledger import Chain


def test_a_work_proof_survives_the_wire():
    proof = Chain().draft().work_proof
    assert record.decode(WorkProof, record.encode(proof), size_max=BLOCK_SIZE_MAX) == proof


def test_the_largest_work_proof_leaves_room_for_transactions():
    proof = Chain().draft().work_proof
    largest = replace(proof.lucky, message=bytes(IT_RES_SIZE_MAX), path=(ZERO_HASH,) * 8)
    proof = replace(
        proof,
        slots=(proof.slots[0],) * WORK_PROOF_SLOTS_MAX,
        committed=largest,
        previous=largest,
        lucky=largest,
        batch_path=(ZERO_HASH,) * 32,
    )
    assert len(record.encode(proof)) < BLOCK_SIZE_MAX - 50 * 1024
