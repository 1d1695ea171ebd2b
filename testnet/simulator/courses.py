"""How the tasks of a simulated world went: what miners said of their iterations, and what came of it."""

import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from p2pai.chain import it_res
from p2pai.chain.rewards import task_shares
from p2pai.chain.state import Task as Ledger
from p2pai.node.definitions import value_of
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Outpoint, TaskId
from testnet.outcome import Entered, Iteration, Payout, Task
from testnet.simulator.chains import Chains
from testnet.thinning import Thinned

POINTS_MAX: Final = 600
"""Iterations of a task that are kept one by one."""


class _Course:
    """What was said in one task."""

    def __init__(self) -> None:
        self.points: Thinned[Iteration] = Thinned(POINTS_MAX)
        self.validations: list[Iteration] = []
        self.map_bytes = 0
        self._said: dict[tuple[Outpoint, int], None] = {}

    def is_new(self, message: it_res.IterationResult) -> bool:
        """Whether it was not said before: messages that may be lost are said again, not always in order."""
        place = message.ticket, message.iteration
        if place in self._said:
            return False
        self._said[place] = None
        return True

    def add(self, message: it_res.IterationResult, miner: str, at_ms: int) -> None:
        self.map_bytes += len(message.message_map)
        point = Iteration(
            at_ms=at_ms,
            miner=miner,
            iteration=message.iteration,
            epoch=message.epoch,
            map_bytes=self.map_bytes,
            metrics=tuple(map(_number, message.metrics)),
            validation=tuple(map(_number, message.validation)),
        )
        self.points.add(point)
        if point.validation:
            self.validations.append(point)

    def all(self) -> tuple[Iteration, ...]:
        """Return what was kept, in order."""
        kept = {(p.miner, p.iteration): p for p in (*self.points.items, *self.validations)}
        return tuple(sorted(kept.values(), key=lambda p: (p.at_ms, p.map_bytes)))


class Courses:
    """All tasks."""

    def __init__(self, chains: Chains) -> None:
        self._chains = chains
        self._courses: dict[TaskId, _Course] = {}

    def say(self, task: TaskId, body: bytes, at_ms: int) -> None:
        """Take note of a message that a miner published; of nonsense, none."""
        try:
            message = it_res.decode(body)
        except InvalidInput:
            return
        course = self._courses.setdefault(task, _Course())
        if course.is_new(message):
            course.add(message, self._chains.owner_of(message.ticket), at_ms)

    def tasks(self, ledger: Mapping[TaskId, Ledger], found_ms: Mapping[int, int]) -> tuple[Task, ...]:
        """Return all tasks of a ledger, whose blocks were found at these times by height, oldest first."""
        first = sorted(ledger.items(), key=lambda item: (item[1].history[0][1], item[0]))
        return tuple(self._task(task_id, task, found_ms) for task_id, task in first)

    def _task(self, task_id: TaskId, task: Ledger, found_ms: Mapping[int, int]) -> Task:
        course = self._courses.get(task_id) or _Course()
        conclusion = task.conclusion
        metric = task.definition.metrics[0]
        return Task(
            id=task_id.hex(),
            name=task.definition.name,
            is_predefined=task.is_predefined,
            stages=tuple(Entered(stage, found_ms.get(at, 0), at) for stage, at in task.history),
            fee_atoms=task.fee,
            client="" if task.is_predefined else self._chains.name_of(task.client),
            miners=self._names(task.miners),
            supervisors=self._names(task.supervisors),
            evaluators=self._names(task.evaluators),
            metrics=task.definition.metrics,
            score=value_of(metric, max(conclusion.scores)) if conclusion and conclusion.scores else None,
            iterations=course.points.count,
            map_bytes=course.map_bytes,
            points=course.all(),
            payouts=tuple(self._payouts(task)),
        )

    def _names(self, tickets: Iterable[Outpoint]) -> tuple[str, ...]:
        return tuple(map(self._chains.owner_of, tickets))

    def _payouts(self, task: Ledger) -> Iterator[Payout]:
        if task.conclusion is None or not task.stage.is_over:
            return
        for role, ticket, atoms in task_shares(task, task.conclusion):
            yield Payout(self._chains.owner_of(ticket), role, atoms)


def _number(bits: int) -> float | None:
    value: float = struct.unpack("<f", bits.to_bytes(4, "little"))[0]
    return value if math.isfinite(value) else None
