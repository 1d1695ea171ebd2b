"""What researchers ask of an outcome, as numbers: how fast blocks spread, what mining loses, and so on.

Each measure is None where the outcome has nothing to take it from.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from testnet.outcome import Block, Mining, Outcome

T = TypeVar("T", int, float)


def quantile(values: Iterable[T], share: float) -> T | None:
    """Return the smallest value that at least this share of the values does not exceed; None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def delays_ms(outcome: Outcome) -> list[int]:
    """Return, for every block and every other node that came to have it, how long after the first."""
    return [delay for block in outcome.blocks for delay in block_delays_ms(block)]


def block_delays_ms(block: Block) -> list[int]:
    """Return how long after the first each other node had a block, in order."""
    return sorted(at_ms - block.found_ms for at_ms in block.seen_ms.values())[1:]


def pairs(outcome: Outcome) -> int:
    """Return how many delays there would be if every node had come to have every block."""
    return len(outcome.blocks) * max(0, len(outcome.nodes) - 1)


def mining(outcome: Outcome) -> Mining:
    """Return what became of the nonces of all honest nodes together."""
    total = Mining()
    for node in outcome.nodes:
        if node.mining is not None and node.is_honest:
            total = _add(total, node.mining)
    return total


def _add(a: Mining, b: Mining) -> Mining:
    return Mining(*(getattr(a, name) + getattr(b, name) for name in Mining.__slots__))


@dataclass(frozen=True)
class Losses:
    """Which share of mining was lost, and to what; see docs/SIMULATOR.md, "What mining loses"."""

    untried: float
    """Of the nonces earned, those that were never hashed in time: stale, uncommitted, crowded out."""
    stale: float
    """The part of it that is stale."""
    overtaken: float | None
    """Of the blocks found, those that are not on the best chain: late, or left by a fork."""
    total: float | None
    """1 - (1 - untried) * (1 - overtaken)."""


def losses(outcome: Outcome) -> Losses | None:
    """Return what mining lost; None where no iteration's nonces have met their end."""
    known = mining(outcome)
    lost = known.stale + known.uncommitted + known.crowded
    ended = known.tried + lost
    if not ended:
        return None
    untried = lost / ended
    overtaken = _overtaken(outcome, known)
    total = None if overtaken is None else 1 - (1 - untried) * (1 - overtaken)
    return Losses(untried, known.stale / ended, overtaken, total)


def _overtaken(outcome: Outcome, known: Mining) -> float | None:
    """Blocks that are on their way when the history ends are neither lost nor not."""
    honest = {node.name: None for node in outcome.nodes if node.is_honest}
    won = sum(block.is_best for block in outcome.blocks if block.miner in honest)
    forked = sum(not block.is_best for block in outcome.blocks if block.miner in honest)
    ended = won + forked + known.late
    return (forked + known.late) / ended if ended else None


def left_share(outcome: Outcome) -> float | None:
    """Return which share of all blocks are not on the best chain."""
    blocks = outcome.blocks
    return sum(not block.is_best for block in blocks) / len(blocks) if blocks else None


def spacing_s(outcome: Outcome) -> float | None:
    """Return the mean time between blocks of the best chain, seconds."""
    found = [block.found_ms for block in outcome.blocks if block.is_best]
    return (found[-1] - found[0]) / (len(found) - 1) / 1000 if len(found) > 1 else None


def approved_share(outcome: Outcome) -> float | None:
    """Return which share of the verifiers drawn approved, of the best chain's blocks that are settled."""
    window = outcome.head.params.get("verification_window_blocks", 0)
    best = [block for block in outcome.blocks if block.is_best]
    settled = [block for block in best if block.height + window <= best[-1].height]
    drawn = sum(block.drawn for block in settled)
    approvals = sum(
        approval.is_approving and approval.height is not None
        for block in settled
        for approval in block.approvals
    )
    return approvals / drawn if drawn else None


def kib_per_node_s(outcome: Outcome) -> float | None:
    """Return what a node received, KiB a second."""
    seconds = outcome.head.length_ms / 1000
    received = sum(traffic.received_bytes for traffic in outcome.traffic)
    return received / 1024 / seconds / len(outcome.nodes) if seconds and outcome.nodes else None


def duplicate_share(outcome: Outcome) -> float | None:
    """Return which share of all copies of gossip was of no use."""
    copies = sum(traffic.received + traffic.duplicates for traffic in outcome.traffic)
    return sum(traffic.duplicates for traffic in outcome.traffic) / copies if copies else None


def cheated_share(outcome: Outcome) -> float | None:
    """Return which share of the best chain's blocks dishonest nodes mined; None where all are honest."""
    dishonest = {node.name: None for node in outcome.nodes if not node.is_honest}
    best = [block for block in outcome.blocks if block.is_best]
    return sum(block.miner in dishonest for block in best) / len(best) if dishonest and best else None


def task_s(outcome: Outcome) -> float | None:
    """Return how long the slowest paid task of a client took, from the chain's first word to pay, seconds."""
    lives = [
        task.stages[-1].at_ms - task.stages[0].at_ms
        for task in outcome.tasks
        if not task.is_predefined and task.stages and task.stages[-1].stage == "paid"
    ]
    return max(lives) / 1000 if lives else None


def score(outcome: Outcome) -> float | None:
    """Return the worst score of the clients' paid tasks."""
    return min((t.score for t in outcome.tasks if t.score is not None and not t.is_predefined), default=None)


def _delay(share: float) -> Callable[[Outcome], float | None]:
    def measure(outcome: Outcome) -> float | None:
        found = quantile(delays_ms(outcome), share)
        return None if found is None else found / 1000

    return measure


def _reached(outcome: Outcome) -> float | None:
    return len(delays_ms(outcome)) / pairs(outcome) if pairs(outcome) else None


def _loss(part: str) -> Callable[[Outcome], float | None]:
    def measure(outcome: Outcome) -> float | None:
        known = losses(outcome)
        return None if known is None else getattr(known, part)

    return measure


@dataclass(frozen=True)
class Measure:
    """One number of an outcome."""

    key: str
    """What a table calls it."""
    about: str
    take: Callable[[Outcome], float | None]
    unit: str = ""
    """`%` for a share, which is between 0 and 1."""


MEASURES: Final[Mapping[str, Measure]] = {
    measure.key: measure
    for measure in (
        Measure("blocks", "blocks on the best chain", lambda o: sum(b.is_best for b in o.blocks)),
        Measure("spacing_s", "mean time between blocks of the best chain", spacing_s, unit="s"),
        Measure("lost", "share of mining that is lost", _loss("total"), unit="%"),
        Measure("stale", "share of nonces lost because the tip moved", _loss("stale"), unit="%"),
        Measure("untried", "share of nonces lost for whatever reason", _loss("untried"), unit="%"),
        Measure("overtaken", "share of blocks found that were late or forked", _loss("overtaken"), unit="%"),
        Measure("left", "share of announced blocks that are not on the best chain", left_share, unit="%"),
        Measure("delay50_s", "time until half of the nodes have a block", _delay(0.5), unit="s"),
        Measure("delay99_s", "time until 99 % of the nodes have a block", _delay(0.99), unit="s"),
        Measure("reached", "share of nodes that came to have a block", _reached, unit="%"),
        Measure("approved", "share of the verifiers drawn that approved", approved_share, unit="%"),
        Measure("reorgs", "times that a node left blocks", lambda o: len(o.reorganisations)),
        Measure(
            "depth",
            "most blocks left at once",
            lambda o: max((r.depth for r in o.reorganisations), default=0),
        ),
        Measure("node_kib_s", "what a node received", kib_per_node_s, unit="KiB/s"),
        Measure("duplicates", "copies of gossip that came for nothing", duplicate_share, unit="%"),
        Measure("cheated", "share of the best chain's blocks by dishonest miners", cheated_share, unit="%"),
        Measure("task_s", "time of the slowest paid task", task_s, unit="s"),
        Measure("score", "worst score of a paid task's model", score, unit="%"),
    )
}
"""By key."""


def shown(measure: Measure, value: float | None) -> str:
    """Return a measure's value as text with its unit."""
    if value is None:
        return "-"
    if measure.unit == "%":
        return f"{100 * value:.1f} %"
    return f"{value:.3g} {measure.unit}" if measure.unit else f"{value:g}"
