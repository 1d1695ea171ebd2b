"""The same blocks give the same state, on whichever node, however it came by them.

I7: a chain replays from genesis on a fresh node, every check included; while a history goes on, each stretch
of a hundred blocks from the bytes of the ledger before it. I11: nodes on one tip have one state, and a node
restored from what another one wrote has it too; what a block could change is compared with each block, all of
it in the end, when also all blocks are given to a fresh tree in another order.

Source: RELIABILITY (4), I7, I11.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from p2pai.chain import snapshot, transition
from p2pai.chain.block import Block
from p2pai.chain.fork_choice import BlockTree
from p2pai.chain.fraud import NOTHING_JUDGED, Judgements
from p2pai.chain.mempool import Mempool
from p2pai.chain.spec import ChainSpec
from p2pai.chain.state import State
from p2pai.node.core import NodeCore
from p2pai.primitives import memo
from p2pai.primitives.errors import InvalidBlock, InvalidInput, Unavailable
from p2pai.primitives.ids import Hash32, PeerId
from testnet.simulator.invariants.money import audit_money
from testnet.simulator.invariants.step import Broken, Step, require
from testnet.simulator.invariants.tasks import audit_tasks

STRETCH_BLOCKS: Final = 100
"""Blocks between two replays while a history goes on."""

TABLES: Final = ("utxos", "tickets", "tasks", "verifications", "pending")
VALUES: Final = tuple(name for name in State.__dataclass_fields__ if name not in TABLES)


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


def check_same(name: PeerId, step: Step, state: State) -> None:
    """I11: a node's state after a block is as at who connected it first, where the block could change it."""
    first = step.after
    if state is first:
        return
    differs = [value for value in VALUES if getattr(state, value) != getattr(first, value)]
    differs += [table for table in TABLES if len(getattr(state, table)) != len(getattr(first, table))]
    if any(state.utxos.get(o) != first.utxos.get(o) for o in step.touched):
        differs.append("utxos")
    if any(state.tickets.get(o) != first.tickets.get(o) for o in step.touched):
        differs.append("tickets")
    if any(state.tasks.get(task_id) != new for task_id, (_, new) in step.tasks.items()):
        differs.append("tasks")
    if state.verifications != first.verifications:
        differs.append("verifications")
    require(not differs, f"I11: one tip, but different {', '.join(dict.fromkeys(differs))}", name)


def check_stretch(core: NodeCore, height: int, steps: Mapping[Hash32, Step]) -> None:
    """I7: the last blocks of a node's best chain up to a height, as bytes, lead to the state that it has."""
    tip = core.ledger.tree.hash_at(height)
    stretch: list[Step] = []
    while tip is not None and tip in steps and len(stretch) < STRETCH_BLOCKS:
        stretch.append(steps[tip])
        tip = stretch[-1].block.header.prev
    if len(stretch) < STRETCH_BLOCKS:
        return  # the history began later
    with memo.shared(is_on=False):
        state = snapshot.decode(snapshot.encode(stretch[-1].before))
    for step in reversed(stretch):
        try:
            with memo.shared(is_on=False):
                block = Block.decode(step.block.encoded)
                state = transition.apply_block(state, block, step.params, judged=core.judged)
        except (InvalidInput, Unavailable) as error:
            raise Broken(f"I7: block {step.block.hash.hex()[:8]} does not replay: {error}") from error
    require(digest(state) == digest(stretch[0].after), "I7: a stretch of the chain replays to another state")


def check_arrival(spec: ChainSpec, blocks: Sequence[Block], state: State, judged: Judgements) -> None:
    """I11: a fresh tree that is given blocks in whatever order comes to the same state."""
    fresh, waiting = BlockTree(spec), list(blocks)
    fresh.judged.update(judged)
    random.Random(0).shuffle(waiting)
    while waiting:
        late = [block for block in waiting if not _is_taken(fresh, block)]
        require(len(late) < len(waiting), "I11: in another order blocks don't connect")
        waiting = late
    require(digest(fresh.state) == digest(state), "I11: in another order blocks lead to another state")


def _is_taken(tree: BlockTree, block: Block) -> bool:
    try:
        tree.add(block, trusted=True)
    except Unavailable:
        return False
    except InvalidBlock:
        pass  # proven false by a block that came before
    return True


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
    chain = list(chain_of(core))
    check_replay(spec, chain, core.state, core.judged)
    side = [b.block for b in core.ledger.tree.branches() if not core.ledger.tree.is_best(b.state.tip)]
    check_arrival(spec, [*chain, *side], core.state, core.judged)
    for name, each in cores.items():
        _check_pool(name, each, spec)


def _check_pool(name: PeerId, core: NodeCore, spec: ChainSpec) -> None:
    """I18: a fresh mempool takes all that waits, every check included."""
    again = Mempool(core.state, spec.params_at(core.state.height + 1), core.judged)
    for tx in core.ledger.mempool.transactions():
        try:
            again.add(tx)
        except InvalidInput as error:
            raise Broken(f"I18: {name} has a {tx.kind} waiting that is invalid: {error}", name) from error


def chain_of(core: NodeCore) -> Iterable[Block]:
    """Yield the blocks of a node's best chain above genesis."""
    for height in range(1, core.state.height + 1):
        block = core.ledger.tree.block_at(height)
        assert block is not None
        yield block
