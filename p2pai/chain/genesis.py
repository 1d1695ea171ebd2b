"""The genesis block, and the state after it: what a chain spec says, as the ledger has it.

Source: PROTOCOL section 1; PoUW §5.1.
"""

from dataclasses import replace
from typing import Final

from immutables import Map

from p2pai.chain import dkg
from p2pai.chain.block import Block, Header
from p2pai.chain.committee import Committee, Dealt
from p2pai.chain.params import quorum
from p2pai.chain.spec import ChainSpec, genesis_context, genesis_deal_context
from p2pai.chain.state import Candidate, Checkpoint, Stage, State, Task, Ticket
from p2pai.chain.transaction import Output, Pay, Stake
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import ZERO_HASH, Amount, BlobId, KeyHash, Outpoint, TaskId
from p2pai.primitives.memo import Same, pure

GENESIS_VERSION: Final = 0
"""Of the block, which nobody mined."""


def genesis_block(spec: ChainSpec) -> Block:
    """Return the first block: its Merkle root is the chain id."""
    header = Header(
        GENESIS_VERSION,
        ZERO_HASH,
        spec.id,
        spec.genesis_time,
        spec.params.genesis_bits,
        ZERO_HASH,
        ZERO_HASH,
        ZERO_HASH,
    )
    return Block(header, None, ())


def predefined_task_id(spec: ChainSpec, index: int) -> TaskId:
    """Return the id of a predefined task."""
    return TaskId(tagged_hash("p2pai/predefined-task", spec.id, index.to_bytes(4, "little")))


@pure(lambda spec: Same(spec))
def genesis_state(spec: ChainSpec) -> State:
    """Return the state after the genesis block."""
    block = genesis_block(spec)
    first = predefined_task_id(spec, 0) if spec.tasks else None
    outputs: dict[Outpoint, Output] = {
        Outpoint(spec.id, i): Pay(a.value, a.key_hash) for i, a in enumerate(spec.allocations)
    }
    tickets: dict[Outpoint, Ticket] = {}
    for i, bootstrap in enumerate(spec.tickets):
        outpoint = Outpoint(block.hash, i)
        outputs[outpoint] = Stake(Amount(spec.params.ticket_price_atoms), bootstrap.ticket.key_hash)
        tickets[outpoint] = replace(bootstrap.ticket, task=first if bootstrap.in_task else None)
    return State(
        chain=spec.id,
        height=0,
        tip=block.hash,
        times=(spec.genesis_time,),
        bits=spec.params.genesis_bits,
        anchor=None,
        weight=0,
        issued=Amount(sum(output.value for output in outputs.values())),
        burned=Amount(0),
        checkpoint=Checkpoint(0, block.hash, BlobId(ZERO_HASH)),
        candidate=Candidate(0, block.hash),
        approvals=(0, 0),
        voting=None,
        ticket_price=Amount(spec.params.ticket_price_atoms),
        ticket_pool=0,
        utxos=Map(outputs),
        tickets=Map(tickets),
        tasks=Map(_genesis_tasks(spec, tickets)),
    )


def _genesis_committee(spec: ChainSpec, members: tuple[Outpoint, ...]) -> Committee | None:
    if not members:
        return None
    context = genesis_context(spec.name)
    dealt = tuple(
        Dealt(member, i, genesis_deal_context(context, i), deal, b"")
        for i, (member, deal) in enumerate(zip(members, spec.deals, strict=True), 1)
    )
    key, shares = dkg.public_keys({d.index: d.deal for d in dealt}, len(members), renewed=False)
    return Committee(members, quorum(len(members)), key, shares, dealt, context, renewed=False)


def _genesis_tasks(spec: ChainSpec, tickets: dict[Outpoint, Ticket]) -> dict[TaskId, Task]:
    tasks: dict[TaskId, Task] = {}
    for i, definition in enumerate(spec.tasks):
        task_id = predefined_task_id(spec, i)

        def of_role(role: str, task_id: TaskId = task_id) -> tuple[Outpoint, ...]:
            return tuple(sorted(o for o, t in tickets.items() if t.role == role and t.task == task_id))

        tasks[task_id] = Task(
            definition=definition,
            client=KeyHash(bytes(20)),
            fee=Amount(0),
            stake=None,
            definition_block=spec.id,
            stage=Stage.TRAINING,
            since=0,
            history=((Stage.TRAINING.value, 0),),
            miners=of_role("miner"),
            supervisors=of_role("supervisor"),
            committee=_genesis_committee(spec, of_role("supervisor")),
        )
    return tasks
