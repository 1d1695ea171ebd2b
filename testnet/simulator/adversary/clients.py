"""Clients that keep data back, hand out other data, pay with money that they lack, or leave.

Source: PoUW §4.2, §7.3; RELIABILITY (2), "Byzantine client".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from p2pai import effects, jobs
from p2pai.chain import schedule
from p2pai.chain.params import MONEY_MAX
from p2pai.chain.state import Stage, Task
from p2pai.chain.transaction import PayForTask, Stake, Transaction, sign
from p2pai.effects import Effect
from p2pai.events import Event
from p2pai.primitives.ids import Amount, BlobId, Hash32
from testnet.scenario import adversaries
from testnet.simulator.adversary import forging
from testnet.simulator.adversary.base import Adversary
from testnet.simulator.training import Worker

EXAGGERATION: Final = 1_000
"""How many times the fee that it has an unfunded client stakes."""

AUDIBLE: Final = (effects.Publish, effects.Ask, effects.Answer, effects.PutBlob, effects.Share)
"""What others could hear of a node."""


class Dishonest(Adversary):
    """A client with tasks of its own."""

    def tasks(self) -> Iterator[Task]:
        """Return them, as its tip has them."""
        mine = self.core.identity.key_hash
        return (task for task in self.core.state.tasks.values() if task.client == mine)


class Withholding(Dishonest):
    """Shares no fragment of one kind."""

    plan: adversaries.WithholdingClient

    def act(self, event: Event, now_ms: int) -> Sequence[Effect]:
        reaction = self.core.handle(event, now_ms)
        shared = [effect for effect in reaction if isinstance(effect, effects.Share)]
        kept = self._kept() if shared else {}
        for effect in shared:
            if effect.blob in kept:
                self.setting.did()
        return [e for e in reaction if not (isinstance(e, effects.Share) and e.blob in kept)]

    def _kept(self) -> dict[BlobId, None]:
        plans = [schedule.make_schedule(task.definition, task.definition_block) for task in self.tasks()]
        wanted = ((plan.training if self.plan.data == "training" else plan.test) for plan in plans)
        return dict.fromkeys(fragment for fragments in wanted for fragment in fragments)


class Lying(Dishonest):
    """Says of its data that they have half as many features as those that it hands out."""

    def train(self, job: jobs.Job, worker: Worker) -> jobs.Result:
        result = worker.run(job)
        if not isinstance(result, jobs.Prepared):
            return result
        self.setting.did()
        return replace(result, features=result.features // 2)


class WrongHash(Dishonest):
    """Names fragments that it made up."""

    def train(self, job: jobs.Job, worker: Worker) -> jobs.Result:
        result = worker.run(job)
        if not isinstance(result, jobs.Prepared):
            return result
        self.setting.did()
        made_up = tuple(BlobId(Hash32(self.setting.dice.randbytes(32))) for _ in result.fragments)
        return replace(result, fragments=made_up)


class Unfunded(Dishonest):
    """Stakes far more than what it spends."""

    def act(self, event: Event, now_ms: int) -> Sequence[Effect]:
        return [self._instead(effect) for effect in self.core.handle(event, now_ms)]

    def _instead(self, effect: Effect) -> Effect:
        heard = forging.body_of(effect, "tx")
        if heard is None:
            return effect
        topic, body = heard
        tx = Transaction.decode(body)
        if not isinstance(tx.data, PayForTask) or not isinstance(tx.outputs[0], Stake):
            return effect
        self.setting.did()
        fee = Amount(min(MONEY_MAX, tx.outputs[0].value * EXAGGERATION))
        outputs = (replace(tx.outputs[0], value=fee), *tx.outputs[1:])
        forged = replace(tx, outputs=outputs, witnesses=())
        signed = sign(forged, self.core.state.chain, self.core.identity.keys.spending)
        return forging.say(self.core, topic, signed.encoded)


class Vanishing(Dishonest):
    """Deletes its data, and from then on only listens."""

    plan: adversaries.VanishingClient

    def act(self, event: Event, now_ms: int) -> Sequence[Effect]:
        reaction = self.core.handle(event, now_ms)
        left = [task for task in self.tasks() if task.stage is Stage(self.plan.stage)]
        if "gone" not in self.setting.shared and left:
            self.setting.shared["gone"] = None
            self.setting.did()
            return [effects.Discard(f, ()) for task in left for f in task.definition.dataset.fragments]
        if "gone" not in self.setting.shared:
            return reaction
        return [effect for effect in reaction if not isinstance(effect, AUDIBLE)]
