"""Evaluators that do not score, flatter a miner, or keep their conclusion to themselves.

Source: PoUW §4.4, §7.3; RELIABILITY (2), "Byzantine evaluator".
"""

from __future__ import annotations

from dataclasses import replace

from p2pai import jobs
from p2pai.chain.training import SCORE_MAX
from p2pai.node.core import NodeCore
from p2pai.primitives.ids import TaskId
from p2pai.roles.evaluator import Evaluator
from testnet.scenario import adversaries
from testnet.simulator.adversary.base import Adversary, Setting
from testnet.simulator.training import Worker


class Careless(Adversary):
    """Gives every model the same score."""

    plan: adversaries.CarelessEvaluator

    def train(self, job: jobs.Job, worker: Worker) -> jobs.Result:
        result = worker.run(job)
        if not isinstance(result, jobs.Evaluated):
            return result
        lie = replace(result, scores=(SCORE_MAX * self.plan.score_percent // 100,) * len(result.scores))
        if lie != result:
            self.setting.did()
        return lie


class Flattering(Adversary):
    """Gives the first model full marks."""

    def train(self, job: jobs.Job, worker: Worker) -> jobs.Result:
        result = worker.run(job)
        if not isinstance(result, jobs.Evaluated):
            return result
        lie = replace(result, scores=(SCORE_MAX, *result.scores[1:]))
        if lie != result:
            self.setting.did()
        return lie


class SilentEvaluator(Adversary):
    """Commits, and reveals nothing."""

    def __init__(self, plan: adversaries.Adversary, core: NodeCore, setting: Setting) -> None:
        super().__init__(plan, core, setting)
        if Evaluator.name in core.roles:
            core.roles[Evaluator.name] = _Silent(core, self)


class _Silent(Evaluator):
    def __init__(self, core: NodeCore, owner: SilentEvaluator) -> None:
        super().__init__(core)
        self._core, self._owner = core, owner

    def may_reveal(self, task_id: TaskId) -> bool:
        if not super().may_reveal(task_id) or not self._owner.has_begun(self._core.now_ms):
            return super().may_reveal(task_id)
        self._owner.setting.did()
        return False
