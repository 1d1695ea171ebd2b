"""What committees decide on chain, counted again by the rules as they are written.

I14: a checkpoint moves exactly when so many of the drawn validators as it takes have voted for the same block
and ledger. A task is concluded exactly when two thirds of its evaluators have revealed the same conclusion.

Source: RELIABILITY (4), I14; PROTOCOL sections 9, 10.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from p2pai.chain.state import Stage, Task, Vote
from p2pai.chain.supervision import ReportMalformed
from p2pai.chain.transaction import EvaluateReveal
from p2pai.chain.votes import CheckpointVote
from p2pai.primitives.ids import TaskId
from testnet.simulator.invariants.step import Step, require


def votes(step: Step) -> None:
    """I14: votes are counted as they are cast, and the checkpoint moves when there are enough."""
    before, after = step.before, step.after
    cast = [tx.data for tx in step.transactions if isinstance(tx.data, CheckpointVote)]
    voting = before.voting
    if voting is None:
        require(not cast, "I14: a vote counts, and nothing is voted on")
        require(after.checkpoint == before.checkpoint, "I14: a checkpoint moved that nobody voted on")
        return
    counted = [*voting.votes, *(Vote(vote.ticket, vote.snapshot) for vote in cast)]
    voters = [vote.ticket for vote in counted]
    require(len(dict.fromkeys(voters)) == len(voters), "I14: a validator's vote counts twice")
    require(all(v in voting.validators for v in voters), "I14: a vote counts of who was not drawn")
    same_draw = after.voting is not None and after.voting.validators == voting.validators
    if same_draw and after.voting is not None and after.voting.height == voting.height:
        require(list(after.voting.votes) == counted or not after.voting.votes, "I14: votes were not counted")
    for snapshot in dict.fromkeys(vote.snapshot for vote in counted):
        enough = sum(vote.snapshot == snapshot for vote in counted) >= step.params.checkpoint_votes
        there = after.checkpoint
        stands = (there.height, there.block, there.snapshot) == (voting.height, voting.block, snapshot)
        require(stands == enough, "I14: a checkpoint stands on too few votes, or enough votes count nothing")
    if after.checkpoint != before.checkpoint:
        stood = (after.checkpoint.height, after.checkpoint.block) == (voting.height, voting.block)
        require(stood and counted, "I14: a checkpoint moved that nobody voted on")


def conclusions(step: Step) -> None:
    """I14: a task's conclusion is what two thirds of its evaluators revealed."""
    for task_id, (old, new) in step.tasks.items():
        if old is None or new.conclusion == old.conclusion:
            if new.stage is Stage.EVALUATING and new.conclusion is None:
                found = agreed(new, [finding.conclusion for finding in new.findings])
                require(found is None, "I14: evaluators agree, and the task is not concluded")
        elif not _is_reported(step, task_id):
            require(old.conclusion is None, "I14: a task is concluded twice")
            earlier = [finding.conclusion for finding in old.findings]
            revealed = (*earlier, *_revealed(step, task_id))
            require(
                new.conclusion == agreed(old, revealed), "I14: a task is concluded as its evaluators did not"
            )


def agreed(task: Task, conclusions: Sequence[Any]) -> Any:  # noqa: ANN401
    """Return the conclusion that two thirds of the evaluators share; None without one."""
    for conclusion in conclusions:
        if 3 * conclusions.count(conclusion) >= 2 * len(task.evaluators):
            return conclusion
    return None


def _revealed(step: Step, task_id: TaskId) -> Iterable[Any]:
    data = (tx.data for tx in step.transactions)
    return (d.conclusion for d in data if isinstance(d, EvaluateReveal) and d.task == task_id)


def _is_reported(step: Step, task_id: TaskId) -> bool:
    data = (tx.data for tx in step.transactions)
    return any(isinstance(d, ReportMalformed) and d.task == task_id for d in data)
