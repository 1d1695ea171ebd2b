"""Transactions: unspent outputs in, outputs and one structured record out.

A transaction spends outputs and makes new ones; its last output is *data*, a record that says what the
transaction is for. Witnesses (public key and signature) stand apart, so a txid does not depend on them.

Output kinds: `Pay` to a key hash; `Stake`, locked while a ticket or a task holds it, then its owner's again;
and the data record.

Source: PoUW §3.2 and Appendix A; PROTOCOL section 3.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from p2pai.chain.params import (
    DATA_SIZE_MAX,
    DKG_DEAL_SIZE_MAX,
    EQUIVOCATION_SIZE_MAX,
    EVALUATE_REVEAL_SIZE_MAX,
    FRAUD_PROOF_SIZE_MAX,
    INPUT_COUNT_MAX,
    MONEY_MAX,
    OUTPUT_COUNT_MAX,
    PAY_FOR_TASK_SIZE_MAX,
    TRANSACTION_SIZE_MAX,
    VERIFY_REVEAL_SIZE_MAX,
)
from p2pai.chain.supervision import (
    ConsiderPause,
    ConsiderResume,
    DkgComplaint,
    DkgDeal,
    DkgSuccessful,
    Equivocation,
    MessageHistory,
    NodeStatus,
    Pause,
    ReplaceLeader,
    ReportMalformed,
    Resume,
)
from p2pai.chain.task import TaskDefinition
from p2pai.chain.votes import CheckpointVote, VoteEquivocation
from p2pai.primitives import cbor, ecdsa, merkle, record
from p2pai.primitives.errors import InvalidTransaction
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import (
    Amount,
    BlobId,
    BlsPublicKey,
    BlsSignature,
    Hash32,
    KeyHash,
    Outpoint,
    PeerId,
    PublicKey,
    TaskId,
    VrfPublicKey,
)

VERSION: Final = 1
_NO_WITNESSES: Final = cbor.encode([])
ROLES: Final = ("miner", "supervisor", "evaluator", "verifier")
"""Roles that a ticket can be bought for."""


@dataclass(frozen=True, slots=True)
class Pay:
    """Money anyone with the key may spend."""

    value: Amount
    key_hash: KeyHash


@dataclass(frozen=True, slots=True)
class Stake:
    """Money locked by a ticket or a task."""

    value: Amount
    key_hash: KeyHash


Output = Pay | Stake


@dataclass(frozen=True, slots=True)
class Transfer:
    """TRANSFER: plain payment."""


@dataclass(frozen=True, slots=True)
class Coinbase:
    """The first transaction of a block: who mined it, by which ticket, on which task."""

    height: int
    task: TaskId
    ticket: Outpoint


@dataclass(frozen=True, slots=True)
class BuyTickets:
    """BUY_TICKETS: every leading Stake output is one ticket; keys are fixed before any draw is known."""

    role: str
    preferences: tuple[int, ...]
    vrf_key: VrfPublicKey
    bls_key: BlsPublicKey
    possession: BlsSignature
    """Proof of possession of the BLS key."""
    peer: PeerId


@dataclass(frozen=True, slots=True)
class PayForTask:
    """PAY_FOR_TASK: output 0 is the fee, staked."""

    definition: TaskDefinition
    timestamp: int
    """Unix seconds; not after the median of the last blocks, hence before the block that holds it."""
    replaces: TaskId | None = None
    """A task of the same client, not started yet, that this one is posted instead of."""


@dataclass(frozen=True, slots=True)
class RevokeTask:
    """REVOKE_TASK: the client takes back a task that has not started."""

    task: TaskId


@dataclass(frozen=True, slots=True)
class JoinTask:
    """JOIN_TASK: a ticket's proof that it was drawn."""

    task: TaskId
    definition_block: Hash32
    """The task definition block that its owner saw, perhaps on another fork. Source: PoUW Appendix B."""
    ticket: Outpoint
    proof: bytes


@dataclass(frozen=True, slots=True)
class VerifyCommit:
    """VERIFY_COMMIT: a verifier's hidden verdict on a block."""

    block: Hash32
    ticket: Outpoint
    commitment: Hash32


@dataclass(frozen=True, slots=True)
class CollectVerifications:
    """COLLECT_VERIFICATIONS: the block's miner closes the commits, so that verifiers may reveal."""

    block: Hash32


@dataclass(frozen=True, slots=True)
class VerifyReveal:
    """VERIFY_REVEAL: opens a VERIFY_COMMIT."""

    block: Hash32
    ticket: Outpoint
    precursor: Hash32
    approved: bool
    salt: Hash32


@dataclass(frozen=True, slots=True)
class FraudProof:
    """FRAUD_PROOF: a replay of a block's lucky iteration does not give what its miner recorded (fraud.py)."""

    block: Hash32
    height: int
    ticket: Outpoint
    """Of its miner."""
    found: Hash32
    """The nonce precursor that the replay gives."""
    approvals: tuple[bytes, ...]
    """Transactions VERIFY_REVEAL, signed, that approve the block."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What an evaluator found: each miner's score (in ticket order), and the best model.

    Without scores: the test data are not what the task says.
    """

    scores: tuple[int, ...]
    """Of the final models by the task's first metric: 1 to 2^32 - 1, more is better; 0 without a model."""
    samples: int
    """Test samples that they were scored on."""
    model: BlobId

    @property
    def is_malformed(self) -> bool:
        """Whether it says that the data are malformed."""
        return not self.scores


@dataclass(frozen=True, slots=True)
class EvaluateCommit:
    """EVALUATE_COMMIT: an evaluator's hidden conclusion."""

    task: TaskId
    ticket: Outpoint
    commitment: Hash32


@dataclass(frozen=True, slots=True)
class EvaluateReveal:
    """EVALUATE_REVEAL: opens an EVALUATE_COMMIT."""

    task: TaskId
    ticket: Outpoint
    conclusion: Conclusion
    salt: Hash32


@dataclass(frozen=True, slots=True)
class ChargeForTask:
    """CHARGE_FOR_TASK: pays by the agreed conclusion; result is `RESULT:task:cid`, or `MALFORMED:task`."""

    task: TaskId
    result: str


Data = (
    Transfer
    | Coinbase
    | BuyTickets
    | PayForTask
    | RevokeTask
    | JoinTask
    | DkgDeal
    | DkgComplaint
    | DkgSuccessful
    | ReplaceLeader
    | Equivocation
    | ReportMalformed
    | NodeStatus
    | ConsiderPause
    | Pause
    | ConsiderResume
    | Resume
    | MessageHistory
    | VerifyCommit
    | CollectVerifications
    | VerifyReveal
    | FraudProof
    | CheckpointVote
    | VoteEquivocation
    | EvaluateCommit
    | EvaluateReveal
    | ChargeForTask
)


@dataclass(frozen=True, slots=True)
class Witness:
    """Who spends an input."""

    key: PublicKey
    signature: bytes


@dataclass(frozen=True)
class Transaction:
    """A transaction; `witnesses` pair up with `inputs`, or are empty where none is needed.

    A value never changes, so its bytes and hashes are computed once.
    """

    version: int
    inputs: tuple[Outpoint, ...]
    outputs: tuple[Output, ...]
    data: Data
    witnesses: tuple[Witness, ...] = ()

    @classmethod
    def decode(cls, data: bytes) -> "Transaction":
        """Read a transaction's shape; `check_form` has its rules."""
        tx = record.decode(cls, data, size_max=TRANSACTION_SIZE_MAX)
        vars(tx)["encoded"] = data  # only the canonical bytes can be read
        return tx

    @cached_property
    def encoded(self) -> bytes:
        """The canonical bytes."""
        return record.encode(self)

    @property
    def size(self) -> int:
        """Length of the canonical bytes."""
        return len(self.encoded)

    @cached_property
    def txid(self) -> Hash32:
        """Hash of everything but the witnesses, which stand last: of the bytes of the same without any."""
        witnesses = cbor.encode([record.to_value(witness) for witness in self.witnesses])
        return tagged_hash("p2pai/txid", self.encoded.removesuffix(witnesses) + _NO_WITNESSES)

    @cached_property
    def wtxid(self) -> Hash32:
        """Hash of everything, the witnesses too: the transaction's leaf in its block's Merkle tree."""
        return merkle.leaf_hash(self.encoded)

    @property
    def kind(self) -> str:
        """The type's name as the protocol writes it, e.g. BUY_TICKETS."""
        name = type(self.data).__name__
        return "".join("_" + c if c.isupper() else c for c in name)[1:].upper()


def signing_digest(tx: Transaction, chain: Hash32) -> Hash32:
    """Return what a witness signs: the transaction on one chain."""
    return tagged_hash("p2pai/sighash", chain, tx.txid)


def sign(tx: Transaction, chain: Hash32, secret: bytes) -> Transaction:
    """Return `tx` with every input signed by one key."""
    digest = signing_digest(tx, chain)
    witness = Witness(ecdsa.public_key(secret), ecdsa.sign(secret, digest))
    return replace(tx, witnesses=(witness,) * len(tx.inputs))


def check_form(tx: Transaction) -> None:
    """Check what can be checked without a ledger: version, counts, sizes, amounts.

    Raises:
      InvalidTransaction: the first rule that it breaks.
    """
    if tx.version != VERSION:
        raise InvalidTransaction(f"version {tx.version}, expected {VERSION}")
    if len(tx.inputs) > INPUT_COUNT_MAX or len(tx.outputs) > OUTPUT_COUNT_MAX:
        raise InvalidTransaction("too many inputs or outputs")
    if len(dict.fromkeys(tx.inputs)) != len(tx.inputs):
        raise InvalidTransaction("an input is named twice")
    if not tx.inputs and not isinstance(tx.data, Coinbase):
        raise InvalidTransaction("no inputs")
    if any(not 0 < output.value <= MONEY_MAX for output in tx.outputs):
        raise InvalidTransaction("an output's value is out of range")
    limit = _DATA_SIZES_MAX.get(type(tx.data), DATA_SIZE_MAX)
    if tx.size > limit and len(record.encode_tagged(tx.data)) > limit:  # the data are a part of the whole
        raise InvalidTransaction(f"data is larger than {limit} bytes")
    size_max = VERIFY_REVEAL_SIZE_MAX if isinstance(tx.data, VerifyReveal) else TRANSACTION_SIZE_MAX
    if tx.size > size_max:
        raise InvalidTransaction(f"the transaction is larger than {size_max} bytes")


_DATA_SIZES_MAX: Final[dict[type, int]] = {
    PayForTask: PAY_FOR_TASK_SIZE_MAX,
    EvaluateReveal: EVALUATE_REVEAL_SIZE_MAX,
    DkgDeal: DKG_DEAL_SIZE_MAX,
    Equivocation: EQUIVOCATION_SIZE_MAX,
    FraudProof: FRAUD_PROOF_SIZE_MAX,
}
"""Bytes of the data of the types that need more than the others."""
