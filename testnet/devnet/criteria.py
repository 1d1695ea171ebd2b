"""What the demonstration has to show, judged on what the nodes answered.

Pure: takes `Findings`, gives one `Criterion` after the other, each with the figure that decided it.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

from p2pai.cli.money import format_atoms

ACCURACY_MIN: Final = 0.95
BLOCKS_MIN: Final = 5
MINERS_MIN: Final = 2
SUPERVISORS_MIN: Final = 3
APPROVED_MIN: Final = Fraction(2, 3)
"""Share of a block's verifiers whose replay must have agreed; the same quorum as everywhere else."""

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Findings:
    """What the nodes said at the end."""

    task: Answer
    """The task's entry of task.list, as the client sees it."""
    fee: int
    """Atoms that the client paid in."""
    payouts: tuple[Answer, ...]
    blocks: tuple[Answer, ...]
    """block.show of each block from the task's submission to its payment."""
    supply: Answer
    tips: dict[str, str]
    """Hash of the tip by name of the node."""
    keys: Answer
    """The checked transcript of the supervisors' common key, as `p2pai dkg verify` has it."""
    model: str
    """Path of the delivered model, empty when there is none."""


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing that must hold."""

    name: str
    holds: bool
    figure: str


def judge(found: Findings) -> tuple[Criterion, ...]:
    """Return every criterion with its figure."""
    return (
        _accuracy(found),
        _blocks(found),
        _miners(found),
        _approvals(found),
        _keys(found),
        _payment(found),
        _supply(found),
        _tips(found),
        Criterion("the trained model was delivered", bool(found.model), found.model or "no file"),
    )


def _accuracy(found: Findings) -> Criterion:
    accuracy = found.task.get("score") if found.task.get("metric") == "accuracy" else None
    holds = accuracy is not None and accuracy >= ACCURACY_MIN
    figure = "not scored" if accuracy is None else f"{accuracy:.4f}"
    return Criterion(f"accuracy on held-out test data is at least {ACCURACY_MIN}", holds, figure)


def _proven(found: Findings) -> list[Answer]:
    return [b for b in found.blocks if b.get("miner") and b.get("iteration") is not None]


def _blocks(found: Findings) -> Criterion:
    proven = _proven(found)
    own = sum(b.get("task") == found.task.get("task") for b in proven)
    figure = f"{len(proven)}, {own} of them by training this task"
    return Criterion(
        f"at least {BLOCKS_MIN} blocks mined with work proofs", len(proven) >= BLOCKS_MIN and own > 0, figure
    )


def _miners(found: Findings) -> Criterion:
    miners = dict.fromkeys(b["miner"] for b in _proven(found))
    name = f"by at least {MINERS_MIN} different miners"
    return Criterion(name, len(miners) >= MINERS_MIN, str(len(miners)))


def others(block: Answer) -> int:
    """Count the distinct approvers of a block other than its miner."""
    return len([a for a in dict.fromkeys(block["approvals_by"]) if a != block["miner"]])


def is_approved(block: Answer) -> bool:
    """Tell whether enough other processes replayed the block and agreed; verdicts are never taken back."""
    asked = int(block["verifiers"])
    return asked > 0 and others(block) >= APPROVED_MIN * asked


def _approvals(found: Findings) -> Criterion:
    proven = _proven(found)
    approved = [b for b in proven if is_approved(b)]
    given, asked = sum(map(others, proven)), sum(b["verifiers"] for b in proven)
    figure = f"{len(approved)} of {len(proven)} blocks, {given} of {asked} approvals"
    holds = bool(proven) and len(approved) == len(proven)
    return Criterion("all of them approved by replay in other processes", holds, figure)


def _keys(found: Findings) -> Criterion:
    kinds = [step["type"] for step in found.keys.get("steps", ())]
    dealt, confirmed = kinds.count("DKG_DEAL"), kinds.count("DKG_SUCCESSFUL")
    members = found.keys.get("members", 0)
    figure = f"{dealt} deals, {confirmed} confirmations, {found.keys.get('threshold', 0)} of {members} sign"
    holds = members >= SUPERVISORS_MIN and dealt >= members and confirmed >= members
    return Criterion("the supervisors made a key together, and its transcript holds", holds, figure)


def _payment(found: Findings) -> Criterion:
    paid = sum(p["atoms"] for p in found.payouts)
    figure = f"{format_atoms(paid)} of {format_atoms(found.fee)} coins to {len(found.payouts)} participants"
    holds = str(found.task.get("state")).upper() == "PAID" and paid == found.fee > 0
    return Criterion("the fee was paid out to the atom", holds, figure)


def _supply(found: Findings) -> Criterion:
    supply = found.supply
    balance = supply["issued"] - supply["burned"] == supply["unspent"]
    figure = (
        f"issued {format_atoms(supply['issued'])} - burned {format_atoms(supply['burned'])}"
        f" = unspent {format_atoms(supply['unspent'])}"
    )
    return Criterion("the coin supply is conserved", bool(supply["holds"]) and balance, figure)


def _tips(found: Findings) -> Criterion:
    different = dict.fromkeys(found.tips.values())
    figure = f"{len(found.tips)} nodes, {len(different)} tip{'s' if len(different) != 1 else ''}"
    return Criterion("all nodes are on one tip", len(found.tips) > 0 and len(different) == 1, figure)
