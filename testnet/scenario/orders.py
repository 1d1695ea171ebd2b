"""What a client orders for a task plan: the parameters of `task.submit`, simulated or over RPC."""

from dataclasses import replace
from typing import Final

from p2pai.chain.params import ATOMS_PER_COIN
from p2pai.chain.spec import ChainSpec
from p2pai.chain.task import FRAGMENT_COUNT_MIN, Group, Reward, TaskDefinition, check
from p2pai.primitives import cbor
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import ZERO_HASH, BlobId
from testnet.scenario.model import TaskPlan

REWARD: Final = Reward(miners=70, supervisors=15, evaluators=15)


def name_of_task(number: int) -> str:
    """Return what a scenario's task is called on the chain, the first being 1."""
    return f"task {number}"


def draft_of(plan: TaskPlan, spec: ChainSpec, number: int = 1) -> TaskDefinition:
    """Return a task like the chain's first, its data yet to be cut by the client.

    Args:
      plan: what is wanted.
      spec: of the chain.
      number: of the task in its scenario; tasks of other numbers are other tasks.
    """
    task = spec.tasks[0]
    data = replace(
        task.dataset,
        samples=0,
        features=0,
        classes=0,
        fragments=(BlobId(ZERO_HASH),) * FRAGMENT_COUNT_MIN,
        batch_size=plan.batch_samples,
    )
    return replace(
        task,
        name=name_of_task(number),
        input_shape=(),
        epochs=plan.epochs,
        dataset=data,
        group=Group(plan.miners, plan.supervisors, plan.evaluators),
        reward=REWARD,
        expected_blocks=plan.blocks,
    )


def order_of(plan: TaskPlan, spec: ChainSpec, number: int = 1) -> bytes:
    """Return the order itself.

    Raises:
      InvalidInput: no chain takes such a task, whatever its data are.
    """
    draft = draft_of(plan, spec, number)
    like = spec.tasks[0]
    data = replace(like.dataset, batch_size=plan.batch_samples)
    try:
        check(replace(draft, input_shape=like.input_shape, dataset=data))
    except InvalidInput as error:
        raise InvalidInput(f"{name_of_task(number)} would be refused, {error}") from error
    wanted = draft.encode().hex()
    fee = plan.fee_coins * ATOMS_PER_COIN
    return cbor.encode({"definition": wanted, "data": plan.data, "fee": fee})
