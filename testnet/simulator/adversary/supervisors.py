"""Supervisors that are dishonest while they lead: they withhold, equivocate, reorder and censor.

A leader that says what no other would vote for achieves nothing but silence; so those that reorder and censor
do their part of the agreement with what they said, as if it were true.

Source: PoUW §4.3, §7.3; RELIABILITY (2), "Byzantine leader supervisor".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Generic, TypeVar

from p2pai.chain.committee import CertifiedSlot, SlotStatement
from p2pai.effects import Effect
from p2pai.events import Event
from p2pai.gossip.topics import Topic
from p2pai.node.core import NodeCore
from p2pai.primitives import record
from p2pai.primitives.ids import Hash32, Outpoint, TaskId
from p2pai.roles.leading import Leading
from p2pai.roles.recorder import Recorder
from p2pai.roles.slots import SAID_SIZE_MAX, Prepared, Said, SlotOpening, SlotProposal
from p2pai.roles.supervisor import Supervisor
from testnet.scenario import adversaries
from testnet.simulator.adversary import forging
from testnet.simulator.adversary.base import Adversary, Setting

P = TypeVar("P", bound=adversaries.Leader)

Led = SlotOpening | SlotProposal | Prepared | CertifiedSlot
"""What leaders alone say of a slot."""


class Leader(Adversary, Generic[P]):
    """A supervisor whose words as a leader are changed."""

    plan: P

    def act(self, event: Event, now_ms: int) -> Sequence[Effect]:
        return [done for effect in self.core.handle(event, now_ms) for done in self._instead(effect)]

    def _instead(self, effect: Effect) -> Iterable[Effect]:
        heard = forging.body_of(effect, "message_history")
        if heard is None:
            return (effect,)
        topic, body = heard
        said = record.decode_tagged(Said, body, size_max=SAID_SIZE_MAX)
        if not isinstance(said, Led) or self.view_of(said) >= self.plan.views:
            return (effect,)
        return self.lead(topic, said, effect)

    def lead(self, topic: Topic, said: Led, effect: Effect) -> Iterable[Effect]:
        """Return what is said in place of a leader's word."""
        del topic, said
        return (effect,)

    @staticmethod
    def view_of(said: Led) -> int:
        """Return the view in which it is said."""
        return said.place.view if isinstance(said, SlotOpening) else said.statement.view


class Withholding(Leader[adversaries.WithholdingLeader]):
    """Says nothing of a slot as long as it leads."""

    def lead(self, topic: Topic, said: Led, effect: Effect) -> Iterable[Effect]:
        del topic, said, effect
        self.setting.did()
        return ()


class Equivocating(Leader[adversaries.EquivocatingLeader]):
    """Signs a second proposal for one place of each client's task."""

    def lead(self, topic: Topic, said: Led, effect: Effect) -> Iterable[Effect]:
        task = said.place.task if isinstance(said, SlotOpening) else said.statement.task
        done: dict[TaskId, None] = self.setting.shared.setdefault("equivocated", {})
        if not isinstance(said, SlotProposal) or self.core.state.tasks[task].is_predefined or task in done:
            return (effect,)
        done[task] = None
        self.setting.did()
        other = replace(said.statement, root=Hash32(bytes(32)))
        again = replace(said, statement=other, signature=self._sign(task, other))
        return (effect, forging.say(self.core, topic, record.encode_tagged(again)))

    def _sign(self, task: TaskId, statement: SlotStatement) -> bytes:
        seat = recorder_of(self.core, task).agreement.seat
        return seat.sign(seat.proposal_digest(statement))


class Seizing(Leader[P]):
    """One that does its own part of the agreement by what it says, too."""

    def __init__(self, plan: adversaries.Adversary, core: NodeCore, setting: Setting) -> None:
        super().__init__(plan, core, setting)
        if Supervisor.name in core.roles:
            core.roles[Supervisor.name] = _Seized(core, self)

    def seize(self, recorder: Recorder) -> None:
        """Change a record that has begun."""

    def misleads(self, recorder: Recorder) -> bool:
        """Return whether it leads here, in one of its views."""
        standing = recorder.agreement.standing
        is_time = self.has_begun(self.core.now_ms)
        return is_time and standing.leads and standing.signed.view < self.plan.views


class _Seized(Supervisor):
    """A supervisor whose records an adversary changes."""

    def __init__(self, core: NodeCore, owner: Seizing[P]) -> None:
        super().__init__(core)
        self._owner = owner

    def recorder(self, task: TaskId, ticket: Outpoint) -> Recorder:
        made = super().recorder(task, ticket)
        self._owner.seize(made)
        return made


class Reordering(Seizing[adversaries.ReorderingLeader]):
    """Proposes the messages of a slot the other way round."""

    def seize(self, recorder: Recorder) -> None:
        leading = recorder.agreement._leading
        honest = leading._propose

        def propose(messages: tuple[Hash32, ...], counted: tuple[object, ...]) -> None:
            if self.misleads(recorder) and counted and len(messages) > 1:
                self.setting.did()
                messages = messages[::-1]
            honest(messages, counted)  # type: ignore[arg-type]

        _replace(leading, "_propose", propose)


class Censoring(Seizing[adversaries.CensoringLeader]):
    """Opens no slot with a message of the task's first miner."""

    def seize(self, recorder: Recorder) -> None:
        honest = recorder.waiting

        def waiting() -> tuple[Hash32, ...]:
            known = honest()
            if not self.misleads(recorder):
                return known
            victim = min(recorder.task.miners)
            left = tuple(m for m in known if recorder.history.decoded[m].ticket != victim)
            if len(left) < len(known):
                self.setting.did()
            return left

        _replace(recorder, "waiting", waiting)


def recorder_of(core: NodeCore, task: TaskId) -> Recorder:
    """Return a supervisor's record of a task."""
    role = core.roles[Supervisor.name]
    assert isinstance(role, Supervisor)
    return role._recorders[task]


def _replace(owner: Leading | Recorder, name: str, value: object) -> None:
    """Put something in the place of one object's method."""
    setattr(owner, name, value)
