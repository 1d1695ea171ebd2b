"""What a miner remembers of its work on one task, whatever happens to the process.

The journal holds every IT_RES that was signed and the states kept from time to time; a `Memory` is their
fold.

Source: PoUW §4.3; RELIABILITY (4), I12 and I13.
"""

from dataclasses import dataclass

from p2pai import jobs
from p2pai.chain import it_res
from p2pai.primitives.ids import Outpoint, TaskId

RECENT_MAX = 64
"""Messages said again after a restart: a dozen seconds of training, far more than a slot waits for."""

Clock = tuple[tuple[Outpoint, int], ...]
"""Next iteration expected of each miner: all before it are in the model."""


@dataclass(frozen=True, slots=True)
class IterationSent:
    """Journal: an IT_RES that we have signed; never sign another in its place, but say this one again."""

    task: TaskId
    ticket: Outpoint
    iteration: int
    message: bytes


@dataclass(frozen=True, slots=True)
class StateKept:
    """Journal: a state to resume from, and which messages of each miner it has applied."""

    task: TaskId
    ticket: Outpoint
    state: jobs.ModelState
    applied: Clock
    slot: int
    """The task's next slot then: later slots may hold messages that the state lacks."""


@dataclass(slots=True)
class Memory:
    """The last message and the last state kept."""

    sent: int = -1
    """Last iteration whose IT_RES was signed."""
    message: bytes = b""
    """That IT_RES."""
    recent: tuple[bytes, ...] = ()
    """The last ones, this one included: those in no slot may have reached a single node, or none."""
    validations: tuple[tuple[int, ...], ...] = ()
    """What the model scored on validation data at the end of each epoch, as metrics."""
    state: jobs.ModelState | None = None
    applied: Clock = ()
    slot: int = 0
    finished: bool = False
    """All iterations are done and the model is announced; not in the journal, it is found out again."""

    def take(self, record: IterationSent | StateKept) -> None:
        """Note what a record says."""
        if isinstance(record, IterationSent):
            self.sent, self.message = record.iteration, record.message
            self.recent = (*self.recent, record.message)[-RECENT_MAX:]
            validation = it_res.decode(record.message).validation
            self.validations += (validation,) if validation else ()
        else:
            self.state, self.applied, self.slot = record.state, record.applied, record.slot
