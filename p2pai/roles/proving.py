"""When a replay found a block false: who says so, and when.

A proof takes the stakes of those verifiers whose approval it shows. Whoever proves at once lets all others of
them go free: a bribed verifier would wait, and reveal nothing once it hears of the proof. So a prover lets
those who committed to a verdict show it first, as long as the block's window is open.

Source: PROTOCOL section 9; docs/adr/0029-fraud-proofs.md.
"""

from p2pai.chain.fraud import Judgement
from p2pai.primitives.ids import Hash32
from p2pai.roles.base import Node


def prove(node: Node) -> None:
    """Accuse the blocks that our replays found false."""
    for block, judgement in sorted(node.judged.items(), key=lambda item: item[0]):
        if judgement.reason and _is_open(node, block, judgement) and is_due(node, block):
            node.accuse(block)


def _is_open(node: Node, block: Hash32, judgement: Judgement) -> bool:
    """Return whether the block stands still, or its miner's stake does."""
    stands = node.block(block) is not None or judgement.ticket in node.pool.utxos
    return stands and judgement.height > node.state.checkpoint.height


def is_due(node: Node, block: Hash32) -> bool:
    """Return whether everybody who will has shown a verdict on the block."""
    pooled = node.pool.verifications.get(block)
    if pooled is None:
        return True
    window = node.params.verification_window_blocks
    if node.state.height + 1 >= pooled.height + window - 1:
        return True
    return commits_closed(node, block) and len(pooled.reveals) >= len(pooled.commits)


def commits_closed(node: Node, block: Hash32) -> bool:
    """Return whether verdicts on a block may be revealed, as far as the chain itself says."""
    confirmed = node.state.verifications.get(block)
    if confirmed is None:
        return False
    half = node.params.verification_window_blocks // 2
    return confirmed.collected or node.state.height + 1 > confirmed.height + half
