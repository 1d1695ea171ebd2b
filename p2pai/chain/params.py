"""Every number the network agrees on, with unit, reason and source.

A chain spec sets them per network (see spec.py); the defaults are mainnet's where PROTOCOL section 1 gives
them. Limits that no network changes are module constants.
"""

from dataclasses import dataclass
from typing import Final

from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Amount

ATOMS_PER_COIN: Final = 10**8
"""Source: PROTOCOL, preamble."""

BLOCK_SIZE_MAX: Final = 1 << 20
"""Bytes of a block: some 4,000 transfers; half of what answers one question of a remote."""

TRANSACTION_SIZE_MAX: Final = 32 * 1024
"""Bytes: a task definition of 16 KiB with room for inputs and witnesses."""

DATA_SIZE_MAX: Final = 512
"""Bytes of a transaction's structured data. Source: docs/adr/0002-data-size.md."""

EVALUATE_REVEAL_SIZE_MAX: Final = 2 * 1024
"""Bytes of an EVALUATE_REVEAL's data: a score of up to 5 bytes for each of 256 miners."""

PAY_FOR_TASK_SIZE_MAX: Final = 16 * 1024
"""Bytes of a PAY_FOR_TASK's data. Source: PROTOCOL section 3."""

DKG_DEAL_SIZE_MAX: Final = 4 * 1024
"""Bytes of a DKG_DEAL's data: 84 for each of 31 supervisors, and 350."""

EQUIVOCATION_SIZE_MAX: Final = 1024
"""Bytes of two signed statements."""

VERIFY_REVEAL_SIZE_MAX: Final = 2 * 1024
"""Bytes of a whole VERIFY_REVEAL, a dozen inputs: those of all of a block's verifiers fit into one proof."""

FRAUD_PROOF_SIZE_MAX: Final = 21 * 1024
"""Bytes of a FRAUD_PROOF's data: ten approvals of 2 KiB, and room."""

INPUT_COUNT_MAX: Final = 256
OUTPUT_COUNT_MAX: Final = 1024
"""A CHARGE_FOR_TASK pays every participant of a task in one transaction."""

MEDIAN_TIME_BLOCKS: Final = 11
"""Headers whose median a new block's time must exceed. Source: Bitcoin."""

FUTURE_TIME_S_MAX: Final = 2 * 60 * 60
"""Seconds a block may run ahead of the local clock. Source: PROTOCOL section 8."""

MONEY_MAX: Final = 2**62
"""Atoms; no sum of valid amounts reaches 64 bits."""

MINERS_MIN: Final = 2
SUPERVISORS_MIN: Final = 3
EVALUATORS_MIN: Final = 3
"""Least members of a task group. Source: PoUW §4.1; three evaluators so that 2/3 means something."""

SLOT_MESSAGES_MAX: Final = 256
"""Messages that close a slot. Source: PROTOCOL section 6."""

HISTORY_SLOTS_MAX: Final = 4096
"""Slots registered by one MESSAGE_HISTORY, so that a slot's number stays a small integer."""

SLOTS_PER_TERM: Final = 64
"""Slots that one leader closes before the next takes over; about half a minute on devnet."""

VIEW_MAX: Final = 0xFFFF
"""Leaders of one epoch, counted: each view is a leader that the others replaced."""

PAUSE_WINDOW_BLOCKS: Final = 12
"""Blocks within which a majority must consider a pause, or its end. Source: PoUW §7.3, "time-frame"."""

PAUSED_BLOCKS_MAX: Final = 144
"""Blocks that a pause may last, a day on mainnet; then the task has failed."""

PAUSES_MAX: Final = 3
"""Pauses of one task, so that stakes and fee are never locked for ever."""

WORK_PROOF_SLOTS_MAX: Final = 32
"""Slots a work proof may span; k iterations of a healthy task span two or three."""

IT_RES_SIZE_MAX: Final = 64 * 1024
"""Bytes of an IT_RES that travels by gossip whole. Source: LIBP2P, decision 5."""


@dataclass(frozen=True, slots=True)
class Params:
    """The parameters of one network."""

    spacing_s: int = 600
    """Seconds between blocks. Source: PoUW §8."""

    commitment_distance: int = 5
    """k: iterations between committing to a block and mining it. Source: PoUW §5.1."""

    nonces_per_batch_kib: int = 1
    """wB of PoUW §5.1."""

    weights_per_nonce: int = 256
    """1 / wM of PoUW §5.1: hashing stays insignificant beside the training."""

    genesis_bits: int = 0x1E00FFFF
    """Compact target of the first block."""

    limit_bits: int = 0x200FFFFF
    """Easiest compact target."""

    half_life_s: int = 43_200
    """ASERT half-life. Source: DCP-0011."""

    subsidy_atoms: int = 150 * ATOMS_PER_COIN
    halving_blocks: int = 1_050_000
    """0: never."""

    verification_window_blocks: int = 6
    """W: a block's subsidy is paid by the coinbase W blocks later. Source: PROTOCOL section 9."""

    verifiers_per_block_max: int = 10
    """Source: PoUW §5.2."""

    verifier_share_percent: int = 10
    """Of the subsidy, to the verifiers who approved the block."""

    supervisor_share_percent: int = 10
    """Of the subsidy of a predefined task's blocks, to its supervisors. Source: PoUW §5.1."""

    ticket_price_atoms: int = 10 * ATOMS_PER_COIN
    """Least stake per ticket, and the first one; then the demand moves it. Source: DCP-0001."""

    ticket_pool_target: int = 40_960
    """Tickets that the price aims at. Source: PoUW §3.3."""

    ticket_window_blocks: int = 144
    """Blocks between two prices. Source: DCP-0001."""

    ticket_maturity_blocks: int = 128
    """Source: PoUW §3.3."""

    tickets_per_block_max: int = 50
    """Source: PoUW §3.3."""

    trait_count: int = 2
    """Traits of tickets and tasks: with a number of its own a task would draw its client's tickets alone."""

    ticket_expiry_blocks: int = 40_960
    """A mature ticket not drawn for so long is worth its stake again; 0: never. Source: PoUW §3.3."""

    miners_per_mib: int = 8
    """wD of PoUW §4.1: miners that a task may have for each MiB of its dataset."""

    miners_per_block: int = 1
    """wt of PoUW §4.1: and for each block that its training may take."""

    miners_per_coin: int = 1
    """wF of PoUW §4.1: and for each coin of its fee."""

    join_blocks: int = 6
    """Blocks in which JOIN_TASKs of a task are accepted."""

    keying_blocks: int = 6
    """Blocks in which supervisors deal, and again in which they confirm the key. Source: PoUW Appendix C."""

    evaluate_commit_blocks: int = 6
    """Blocks in which evaluators commit, counted from the end of training."""

    evaluate_reveal_blocks: int = 6
    """Blocks in which they reveal, counted from the end of the commits."""

    evaluate_rounds_max: int = 3
    """Rounds of evaluation before the fee returns to the client."""

    offline_penalty_percent: int = 10
    """Of the stake, for drawn work not done: no deal, no revealed verdict, no model. Source: PoUW §3.3."""

    skip_penalty_percent: int = 5
    """Of the stake, for a miner that left its task before the end. Source: PoUW §4.3."""

    checkpoint_blocks: int = 1024
    """Blocks from one checkpoint to the next. Source: PoUW §7.3."""

    validators: int = 12
    """Drawn to vote on a checkpoint. Source: PoUW §7.3."""

    checkpoint_votes: int = 9
    """Votes that make a checkpoint. Source: PoUW §7.3."""

    prover_share_percent: int = 50
    """Of the stakes that a FRAUD_PROOF takes, to who proved it; the rest is destroyed."""

    slot_ms: int = 2_000
    """The leader closes a slot at this age. Source: PROTOCOL section 6."""

    iteration_ms_min: int = 0
    """Pace of iterations, so that spacing >= 20 k iterations. Source: PROTOCOL section 1."""


UPGRADABLE: Final = (
    "nonces_per_batch_kib",
    "weights_per_nonce",
    "subsidy_atoms",
    "verifiers_per_block_max",
    "verifier_share_percent",
    "supervisor_share_percent",
    "ticket_price_atoms",
    "ticket_pool_target",
    "tickets_per_block_max",
    "miners_per_mib",
    "miners_per_block",
    "miners_per_coin",
    "offline_penalty_percent",
    "skip_penalty_percent",
    "prover_share_percent",
)
"""Parameters that may change while a chain goes on: what a block's rules read at that block alone. Others are
part of deadlines under way, of what headers show, or of what nodes have agreed on before."""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """An announced change of rules: what holds from a block on."""

    height: int
    """Of the first block under the new rules."""
    params: Params


def future_time_s_max(params: Params) -> int:
    """Return how far a block may run ahead of the local clock, seconds.

    Not so far that its time alone eases the next target by more than a twelfth (2^(1/8)).
    """
    return min(FUTURE_TIME_S_MAX, params.half_life_s // 8)


def quorum(members: int) -> int:
    """Return t = ceil(2n/3), the number of committee members that certifies. Source: PROTOCOL section 6."""
    return (2 * members + 2) // 3


def subsidy(params: Params, height: int) -> Amount:
    """Return the full subsidy of the block at `height`, atoms."""
    if params.halving_blocks == 0:
        return Amount(params.subsidy_atoms)
    return Amount(params.subsidy_atoms >> min(height // params.halving_blocks, 63))


def check_params(params: Params) -> None:
    """Refuse what would stop the chain later.

    Raises:
      InvalidInput: with these parameters there is no chain.
    """
    for name in _POSITIVE:
        if getattr(params, name) == 0:
            raise InvalidInput(f"the chain spec's parameter {name!r} must be positive")
    if params.verifier_share_percent + params.supervisor_share_percent > 100:
        raise InvalidInput("the chain spec gives away more than the subsidy")
    if max(params.offline_penalty_percent, params.skip_penalty_percent, params.prover_share_percent) > 100:
        raise InvalidInput("the chain spec takes more than the stake, or rewards with more than it takes")
    if not params.checkpoint_votes <= params.validators < 2 * params.checkpoint_votes:
        raise InvalidInput("the chain spec's checkpoint needs the votes of more than half of the validators")
    if params.checkpoint_blocks < params.verification_window_blocks:
        raise InvalidInput("the chain spec's checkpoints come before their blocks are verified")


_POSITIVE: Final = (
    "spacing_s",
    "commitment_distance",
    "weights_per_nonce",
    "half_life_s",
    "verification_window_blocks",
    "verifiers_per_block_max",
    "ticket_price_atoms",
    "ticket_pool_target",
    "ticket_window_blocks",
    "checkpoint_blocks",
    "validators",
    "tickets_per_block_max",
    "trait_count",
    "join_blocks",
    "keying_blocks",
    "evaluate_commit_blocks",
    "evaluate_reveal_blocks",
    "evaluate_rounds_max",
)
"""Parameters with which zero makes no chain."""
