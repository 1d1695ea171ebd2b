"""How a miner's tau moves on from one message to the next, so that nobody can choose it.

A client fixes tau, or asks for a density of message maps: then each miner's tau doubles or halves between
two epochs, by what the miner's own messages of the epoch moved. Each message says its tau and how many
elements its epoch's earlier messages had, so two messages in a row are enough to check a step. A miner that
could choose tau would have thirteen nonces for the price of one gradient.

Source: PoUW §4.3 (the threshold tau); PROTOCOL section 7; docs/adr/0017-adaptive-tau.md.
"""

from dataclasses import dataclass

from p2pai.chain import message_map
from p2pai.chain.it_res import IterationResult
from p2pai.chain.roster import Roster
from p2pai.chain.schedule import Schedule, Turn
from p2pai.chain.task import TaskDefinition
from p2pai.chain.training import EarlyStopping, is_over, next_tau_bits
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import Outpoint


@dataclass(frozen=True, slots=True)
class Course:
    """What an iteration starts with, as its IT_RES says."""

    tau_bits: int
    moved: int
    """Elements of the miner's message maps in this epoch so far."""


@dataclass(frozen=True, slots=True)
class Place:
    """A miner among the miners of its task."""

    plan: Schedule
    ticket: Outpoint
    roster: Roster

    @property
    def iterations(self) -> int | None:
        """How many iterations the miner has; None: without end."""
        return self.roster.iterations(self.plan, self.ticket)

    def turn(self, iteration: int) -> Turn | None:
        """Return the epoch and batch of an iteration; None when the miner has no such iteration."""
        return self.roster.turn(self.plan, self.ticket, iteration)


def begin(task: TaskDefinition) -> Course:
    """Return what a miner's first iteration starts with."""
    return Course(task.tau.bits, 0)


def follow(task: TaskDefinition, place: Place, previous: IterationResult) -> Course:
    """Return what the iteration after a miner's message starts with.

    Args:
      task: the definition.
      place: of the miner.
      previous: its message, of an iteration that the schedule has.
    """
    turn = place.turn(previous.iteration)
    assert turn is not None
    moved = previous.moved + message_map.element_count(previous.message_map)
    if previous.iteration != turn.last:
        return Course(previous.tau_bits, moved)
    weights = task.weight_count * (turn.last - turn.first + 1)
    return Course(next_tau_bits(task.tau, previous.tau_bits, moved, weights), 0)


def check(task: TaskDefinition, place: Place, previous: IterationResult | None, m: IterationResult) -> None:
    """Check what a message says of its tau.

    Args:
      task: the definition.
      place: of the miner.
      previous: the miner's message of the iteration before, if it is known.
      m: the message.

    Raises:
      InvalidMessage: it is not what follows from the message before.
    """
    if previous is None and m.iteration > 0:
        return
    wanted = begin(task) if previous is None else follow(task, place, previous)
    if Course(m.tau_bits, m.moved) != wanted:
        raise InvalidMessage("the miner's tau is not the one that follows from its messages")


def may_end(task: TaskDefinition, place: Place, m: IterationResult) -> bool:
    """Return whether a miner's training may end with a message.

    It may after the last epoch; and where the task has a criterion to stop, after each epoch whose validation
    meets it as far as this one message can tell.
    """
    turn = place.turn(m.iteration)
    if turn is None or place.turn(m.iteration + 1) is None:
        return turn is not None
    if task.stopping is None or not m.validation or m.iteration != turn.last:
        return False
    if isinstance(task.stopping, EarlyStopping):
        return turn.number > task.stopping.patience
    return is_stopped(task, (m.validation,))


def is_stopped(task: TaskDefinition, validations: tuple[tuple[int, ...], ...]) -> bool:
    """Return whether the task's criterion ends the training of a miner that has seen these validations."""
    if task.stopping is None:
        return False
    index = task.metrics.index(task.stopping.metric)
    return is_over(task.stopping, tuple(values[index] for values in validations))
