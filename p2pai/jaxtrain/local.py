"""Miners of one task in one process, without a network: for who prepares a task, and for measurements.

The miners step side by side, in rounds. In a round each miner applies the message maps that have reached
it, computes its gradient, and sends its own map:

    round t of a miner applies what its peers made in round t - 1 - delay

A delay of 0 is parallel SGD without stale updates. In a network the delay is what connections take, and one
more where the trainer works an iteration ahead (see roles/session.py). Schedule, arithmetic, tau and the end
of training are the network's; what is missing is time, lost messages and money. A miner that has ended an
epoch waits for all others. Nothing is hashed or kept for a replay.

Source: PoUW Algorithm 1, §4.2.2 and §4.3; PROTOCOL section 7.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Final

from p2pai.chain import course, schedule, training
from p2pai.chain import task as tasks
from p2pai.chain.schedule import Miners, Schedule, Turn
from p2pai.chain.task import TaskDefinition
from p2pai.chain.training import FULL_REPLICAS
from p2pai.jaxtrain import dataset, message_map, weights
from p2pai.jaxtrain.data_file import Samples
from p2pai.jaxtrain.dataset import Batch, read_batch
from p2pai.jaxtrain.metrics import NOTHING, Score
from p2pai.jaxtrain.session import Pending, Session, State
from p2pai.jaxtrain.worker import initial_values, score_model
from p2pai.jobs import PeerUpdate, Position
from p2pai.primitives import blob
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import BlobId, Hash32, Outpoint

MINERS_MAX: Final = 256
"""Miners of a group, each with a model and a residual. Source: chain/task.py."""

DELAY_MAX: Final = 1_000
"""Rounds that a message map may take."""

Fragments = Mapping[BlobId, Sequence[bytes]]
"""Mini-batches of each fragment."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What iterations sent."""

    iterations: int = 0
    elements: int = 0
    """Of message maps."""
    size: int = 0
    """Bytes of message maps."""

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(
            self.iterations + other.iterations, self.elements + other.elements, self.size + other.size
        )


@dataclass(frozen=True, slots=True)
class Step:
    """What an iteration of a miner gave."""

    miner: int
    """Its rank in the schedule."""
    epoch: int
    iteration: int
    score: Score
    """Of the forward pass, over the mini-batch."""
    tau_bits: int
    traffic: Traffic
    updates: int
    """Peers' message maps that were applied first."""
    late: int
    """Rounds that those came late, summed."""


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """What an epoch of a miner gave."""

    miner: int
    epoch: int
    training: Score
    """Of the miner's iterations, summed."""
    traffic: Traffic
    validation: Score
    """Of its model then, on the mini-batches set apart; of no samples where none are."""
    tau_bits: int
    """Of its next epoch."""
    is_over: bool
    """Whether the task's criterion stops the miner here."""


Event = Step | EpochEnd


@dataclass(frozen=True, slots=True)
class Parcel:
    """A peer's message map on its way, and the round in which it was made."""

    made: int
    update: PeerUpdate


class Miner:
    """One miner: its session, where it stands in the schedule, and peers' maps that it has not applied."""

    def __init__(self, session: Session, plan: Schedule, rank: int, miners: Miners) -> None:
        """Stand before the first iteration."""
        self.session, self.plan, self.rank, self.miners = session, plan, rank, miners
        self.iteration = 0
        self.tau_bits = course.begin(session.task).tau_bits
        self.is_over = False
        self.inbox: list[Parcel] = []
        self._training, self._traffic = NOTHING, Traffic()
        self._validations: list[tuple[int, ...]] = []

    @property
    def turn(self) -> Turn | None:
        """The next iteration's epoch and batch; None when training is over."""
        return None if self.is_over else self.plan.turn(self.iteration, self.rank, self.miners)

    def begin(self, turn: Turn, now: int, delay: int) -> "Running":
        """Apply what has arrived by the round `now`, and start an iteration."""
        arrived = [parcel for parcel in self.inbox if parcel.made + delay < now]
        self.inbox = [parcel for parcel in self.inbox if parcel.made + delay >= now]
        position = Position(turn.epoch, self.iteration, self.tau_bits)
        pending = self.session.begin(position, turn.batch, [parcel.update for parcel in arrived])
        late = sum(now - 1 - parcel.made for parcel in arrived)
        return Running(self, turn, pending, len(arrived), late)

    def count(self, step: Step) -> None:
        """Take an iteration for done."""
        self._training += step.score
        self._traffic += step.traffic
        self.iteration += 1

    def end_epoch(self, turn: Turn) -> EpochEnd:
        """Validate, choose the next epoch's tau, and see whether to stop."""
        task, seen, sent = self.session.task, self._training, self._traffic
        weight_count = self.session.weight_count * sent.iterations
        self.tau_bits = training.next_tau_bits(task.tau, self.tau_bits, sent.elements, weight_count)
        self._training, self._traffic = NOTHING, Traffic()
        validation = self.session.validate(self.plan.held_out(turn.number))
        if validation.samples:
            self._validations.append(validation.bits(task.metrics))
        self.is_over = course.is_stopped(task, tuple(self._validations))
        return EpochEnd(self.rank, turn.epoch, seen, sent, validation, self.tau_bits, self.is_over)


@dataclass(frozen=True, slots=True)
class Running:
    """An iteration of a miner that has begun."""

    miner: Miner
    turn: Turn
    pending: Pending
    updates: int
    late: int

    def finish(self) -> tuple[Step, PeerUpdate]:
        """Wait for it; return what it gave, and what the peers get."""
        miner, outcome = self.miner, self.pending.outcome()
        sent = outcome.message_map
        step = Step(
            miner=miner.rank,
            epoch=self.turn.epoch,
            iteration=miner.iteration,
            score=outcome.score,
            tau_bits=miner.tau_bits,
            traffic=Traffic(1, message_map.element_count(sent), len(sent)),
            updates=self.updates,
            late=self.late,
        )
        miner.count(step)
        return step, PeerUpdate(step.tau_bits, sent)


class Group:
    """All miners of a task."""

    def __init__(
        self, task: TaskDefinition, seed: Hash32, fragments: Fragments, *, miners: int, delay: int = 0
    ) -> None:
        """Give every miner the same model and data.

        Args:
          task: complete; its own number of miners does not count here.
          seed: takes the place of the task id and of the definition block: initial weights, dropout, and
            which fragments are for training.
          fragments: of the task's dataset, hidden ones included.
          miners: how many.
          delay: rounds that a message map comes late.

        Raises:
          InvalidInput: training would have no end, or a miner nothing to do.
        """
        self.task, self.delay, self.traffic = task, delay, Traffic()
        self.plan = schedule.make_schedule(task, seed)
        self._fragments = fragments
        _require(1 <= miners <= MINERS_MAX, f"the number of miners must be 1 to {MINERS_MAX}")
        _require(0 <= delay <= DELAY_MAX, f"the delay must be 0 to {DELAY_MAX} rounds")
        _require(task.epochs > 0, "training without a network needs a number of epochs")
        _require(
            self.plan.revealed_count - len(self.plan.held_out(1)) >= miners,
            f"there are fewer mini-batches to train on than {miners} miners",
        )
        chunks = [chunk for fragment in self.plan.training for chunk in fragments[fragment]]
        values = initial_values(task, seed)
        sessions = (
            Session(task, seed, State(values, is_recorded=False), chunks, is_recorded=False)
            for _ in range(miners)
        )
        self.tickets = tuple(Outpoint(tagged_hash("p2pai/local-miner", seed), i) for i in range(miners))
        self.miners = [Miner(s, self.plan, rank, self.tickets) for rank, s in enumerate(sessions)]

    @property
    def iterations(self) -> int:
        """Iterations of all miners together, if none stops before the last epoch."""
        return sum(self.plan.iterations(rank, self.tickets) or 0 for rank in range(len(self.tickets)))

    @property
    def dense_size(self) -> int:
        """Bytes that the same iterations would have sent as whole gradients in float32."""
        return 4 * self.task.weight_count * self.traffic.iterations

    def run(self) -> Iterator[Event]:
        """Train to the end; yields each iteration and each miner's end of an epoch as it happens."""
        for now in count():
            turns = [(miner, turn) for miner in self.miners if (turn := miner.turn) is not None]
            if not turns:
                return
            epoch = min(turn.number for _, turn in turns)
            begun = [m.begin(turn, now, self.delay) for m, turn in turns if turn.number == epoch]
            for running in begun:
                step, update = running.finish()
                self.traffic += step.traffic
                self._send(running.miner, Parcel(now, update))
                yield step
                if step.iteration == running.turn.last:
                    yield running.miner.end_epoch(running.turn)

    def _send(self, sender: Miner, parcel: Parcel) -> None:
        for miner in self.miners:
            if miner is not sender and not miner.is_over:
                miner.inbox.append(parcel)

    def test_batches(self) -> list[Batch]:
        """Return the mini-batches of the fragments that no miner has seen."""
        chunks = (chunk for fragment in self.plan.test for chunk in self._fragments[fragment])
        return [read_batch(self.task, chunk) for chunk in chunks]

    def scores(self, batches: list[Batch]) -> list[Score]:
        """Score every miner's model as evaluators do."""
        trainer = self.miners[0].session.trainer
        values = (miner.session.state.values for miner in self.miners)
        return [score_model(trainer, v.weights, v.statistics, batches) for v in values]

    def best(self, scores: Sequence[Score]) -> int:
        """Return the rank of the miner whose score is the best by the task's first metric."""
        metric = self.task.metrics[0]
        return max(range(len(scores)), key=lambda rank: (scores[rank].quality(metric), -rank))

    def export(self, rank: int) -> bytes:
        """Return a miner's model as a safetensors file."""
        architecture = self.miners[rank].session.trainer.architecture
        data = self.miners[rank].session.state.blobs[0]
        return weights.export_safetensors(*weights.unpack_model(data, architecture), architecture)


def cut(draft: TaskDefinition, samples: Samples) -> tuple[TaskDefinition, Fragments]:
    """Cut a client's data into fragments, as ordering a training does, and complete the definition.

    Args:
      draft: whose fragments are counted, not named.
      samples: the data.

    Raises:
      InvalidInput: the data do not fit the definition, or it breaks a rule.
    """
    found = dataset.cut(samples.x, samples.y, len(draft.dataset.fragments), draft.dataset.batch_size)
    names = tuple(blob.blob_id(chunks) for chunks in found)
    # Nobody stores anything here.
    draft = replace(draft, redundancy=FULL_REPLICAS)
    task = draft.with_data(len(samples.x), samples.x.shape[1], samples.classes, samples.targets, names)
    tasks.check(task)
    return task, dict(zip(names, found, strict=True))


def _require(holds: bool, sentence: str) -> None:  # noqa: FBT001
    if not holds:
        raise InvalidInput(sentence)
