"""The same blocks give the same state, on whichever node, however it came by them.

I7: a chain replays from genesis on a fresh node, every check included. I11: nodes on one tip have one state,
and a node restored from what another one wrote has it too. At the end of a history also: one tip (I20), and
nothing waits that the tip does not allow (I18).

Source: RELIABILITY (4), I7, I11, I18, I20.
"""

from collections.abc import Iterable, Mapping

from p2pai.chain import snapshot
from p2pai.chain.block import Block
from p2pai.chain.fork_choice import BlockTree
from p2pai.chain.fraud import NOTHING_JUDGED, Judgements
from p2pai.chain.mempool import Mempool
from p2pai.chain.spec import ChainSpec
from p2pai.chain.state import State
from p2pai.node.core import NodeCore
from p2pai.primitives import memo
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import PeerId
from testnet.simulator.invariants.money import audit_money
from testnet.simulator.invariants.step import Broken, require
from testnet.simulator.invariants.tasks import audit_tasks


def check_replay(
    spec: ChainSpec, blocks: Iterable[Block], state: State, judged: Judgements = NOTHING_JUDGED
) -> None:
    """I7: a fresh tree that is given the blocks, oldest first, comes to the same state.

    What replays said of false blocks (`judged`) is no part of the chain. The blocks are read again, and no
    result is taken that nodes of this process share: it would prove nothing about them.
    """
    with memo.shared(is_on=False):
        _check_replay(spec, blocks, state, judged)


def _check_replay(spec: ChainSpec, blocks: Iterable[Block], state: State, judged: Judgements) -> None:
    fresh = BlockTree(spec)
    fresh.judged.update(judged)
    for block in blocks:
        try:
            fresh.add(Block.decode(block.encoded))
        except InvalidInput as error:
            raise Broken(f"I7: block {block.hash.hex()[:8]} does not replay from genesis: {error}") from error
    require(digest(fresh.state) == digest(state), "I7: the chain replays to another state")


def check_equal(states: Iterable[State]) -> None:
    """I11: whoever is on one tip has one state."""
    by_tip: dict[bytes, bytes] = {}
    for state in states:
        first = by_tip.setdefault(state.tip, digest(state))
        require(first == digest(state), "I11: one tip, but different states")


def digest(state: State) -> bytes:
    """Return the content id of a state."""
    return snapshot.snapshot_id(state)


def check_ledgers(spec: ChainSpec, cores: Mapping[PeerId, NodeCore]) -> None:
    """Check that all nodes are of one mind, and that the mind is sound."""
    states = [core.state for core in cores.values()]
    require(len({state.tip for state in states}) == 1, "I20: the nodes are on different tips")
    check_equal(states)
    core = next(iter(cores.values()))
    audit_money(core.state)
    audit_tasks(core.state)
    check_replay(spec, chain_of(core), core.state, core.judged)
    for core in cores.values():
        again = Mempool(core.state, spec.params, core.judged)
        for tx in core.ledger.mempool.transactions():
            again.add(tx)


def chain_of(core: NodeCore) -> Iterable[Block]:
    """Yield the blocks of a node's best chain above genesis."""
    for height in range(1, core.state.height + 1):
        block = core.ledger.tree.block_at(height)
        assert block is not None
        yield block
