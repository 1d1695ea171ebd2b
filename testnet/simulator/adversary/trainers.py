"""Trainers that lie to an honest node: what they say must neither stop it nor be signed if it shows.

A false map of the right form does not show; the node that believes its trainer is a miner of fake work.

Source: RELIABILITY (2), "trainer dies, hangs, lies to us".
"""

from dataclasses import replace

from p2pai import jobs
from testnet.scenario import adversaries
from testnet.simulator.adversary.base import Adversary
from testnet.simulator.training import Worker

UNREADABLE = b"\x01\xff"
"""A message map that ends within the number of its elements."""


class LyingTrainer(Adversary):
    """See the module."""

    plan: adversaries.LyingTrainer
    is_misled = True

    def train(self, job: jobs.Job, worker: Worker) -> jobs.Result:
        result = worker.run(job)
        lie = self._lie(result)
        if lie != result:
            self.setting.did()
        return lie

    def _lie(self, result: jobs.Result) -> jobs.Result:
        match self.plan.lie, result:
            case "unreadable-map", jobs.Stepped():
                return replace(result, message_map=UNREADABLE)
            case "other-result", jobs.Stepped():
                return jobs.Validated(())
            case "false-replay", jobs.Replayed(difference=""):
                return replace(result, difference="nothing is as it was recorded")
        return result
