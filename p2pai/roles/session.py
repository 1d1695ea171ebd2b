"""One miner's training of one task: Algorithm 1, iteration after iteration.

    fetch the data -> open the trainer -> chosen: [ step -> IT_RES -> nonces ]* -> announce the model

Which peers' updates enter an iteration is fixed when the previous IT_RES is built (its `queued` field), in
order per peer and without gaps, so that a small clock - the next iteration expected of each miner - says
exactly which updates a state holds. After a restart the session goes on from the last kept state, applies
what the clock says it lacks (its own later messages included), and never signs an iteration twice.

Source: PoUW Algorithms 1 and 2, §4.3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from p2pai import jobs
from p2pai.chain import course, it_res, message_map, schedule, work
from p2pai.chain.it_res import EndState, IterationResult
from p2pai.chain.state import Task
from p2pai.chain.training import Numerics
from p2pai.primitives import blob, ecdsa, merkle, record
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import ZERO_HASH, Millis, Outpoint, TaskId
from p2pai.roles import barrier
from p2pai.roles.history import ModelAnnouncement, Queue
from p2pai.roles.memory import Clock, Memory
from p2pai.roles.mining import Attempt, Mining
from p2pai.roles.outgoing import Outgoing
from p2pai.roles.revealed import Revealed
from p2pai.roles.slots import DataFault

if TYPE_CHECKING:
    from p2pai.roles.base import Node
    from p2pai.roles.miner import Miner

KEEP_EVERY: Final = 32
"""Iterations between states kept for a restart."""

RETRY_MS: Final = Millis(2_000)
"""Pause before a trainer is opened again, or an unrecorded message is said again."""

SLOTS_BACK: Final = 16
"""Slots before a kept state that may record updates it lacks."""


class Session:
    """See the module."""

    def __init__(self, node: Node, task_id: TaskId, ticket: Outpoint, memory: Memory, miner: Miner) -> None:
        self.node, self.task_id, self.ticket, self.miner = node, task_id, ticket, miner
        self.memory = memory
        self.name = f"{task_id.hex()[:16]}-{ticket}"
        self.task = node.state.tasks[task_id]
        self.plan = schedule.make_schedule(self.task.definition, self.task.definition_block)
        self.place = course.Place(self.plan, ticket, self.task.roster)
        self.mining = Mining(ticket, node.params.commitment_distance, miner.tally)
        self.history = node.follow(task_id, memory.slot)
        self._resume()
        self.queue = Queue((), ())
        self._has_begun = False
        """Whether the trainer is at work on the next iteration already."""
        self._ahead: Queue | None = None
        """The updates of the iteration after the next, where that one has begun already."""
        self._data = Revealed(node, self.name, self.task, self.plan, self._open, self._accuse)
        self.outgoing = Outgoing(node, task_id, self.history)
        self._stopped = self._waiting = self._is_chosen = False
        self.is_ready = False
        """Whether the data are here and the trainer has taken them."""
        self._started_ms = 0
        self._platform = ZERO_HASH
        for data in memory.recent:
            self.outgoing.recall(data)
        self._data.begin()

    def _resume(self) -> None:
        self.iteration = self.resumed_at = self.memory.sent + 1
        self.applied = dict(self.memory.applied)
        self._ahead, self._has_begun = None, False
        self.mining.forget()  # the weights to come do not follow from those announced

    def is_of(self, task: Task, ticket: Outpoint) -> bool:
        """Return whether this is still the work of `ticket` in `task`, whatever was reorganised."""
        own = self.ticket, self.task.miners, self.task.definition_block
        return (ticket, task.miners, task.definition_block) == own

    def follow(self, task: Task) -> None:
        """Take over what the ledger says of the task now: miners may have left."""
        self.task, self.place = task, replace(self.place, roster=task.roster)

    def stop(self) -> None:
        """Abandon the session; what the trainer still answers is ignored."""
        self._stopped = True
        self._data.stop()

    # --- getting ready

    def _accuse(self, fragment: int) -> None:
        """Tell the supervisors again and again that the data are malformed: there is nothing to train on."""
        if self._stopped or self.miner.stage(self.task_id) is not self.task.stage:
            return
        body = record.encode_tagged(DataFault(self.task_id, fragment))
        self.node.publish("message_history", self.task_id, body)
        self.node.set_timer(f"fault:{self.name}", RETRY_MS, lambda: self._accuse(fragment))

    def _open(self) -> None:
        job = jobs.Open(
            self.name, self.task.definition.encode(), self.task_id, self.plan.training, self.memory.state
        )
        self._train(job, self._opened)

    def _opened(self, result: jobs.Result) -> None:
        if not isinstance(result, jobs.Opened):
            self.node.set_timer(f"open:{self.name}", RETRY_MS, self._reopen)
            return
        self._platform = result.platform
        self.is_ready = True
        if self._is_chosen:
            self._start()
        else:
            self.miner.ready()

    def train(self) -> None:
        """Begin with the iterations, if that was not done; all that they need is here."""
        if not self._is_chosen:
            self._is_chosen = True
            self._start()

    def _start(self) -> None:
        self.queue = self._freeze()
        self._next()

    def _reopen(self) -> None:
        if not self._stopped:
            self._resume()
            self._open()

    # --- one iteration

    def _turn(self, iteration: int) -> schedule.Turn | None:
        return self.place.turn(iteration)

    def _next(self) -> None:
        turn = self._turn(self.iteration)
        if turn is None or course.is_stopped(self.task.definition, self.memory.validations):
            self._finish()
            return
        if not barrier.is_open(self.history, self.place, self.iteration, self.task.expelled):
            self._waiting = True
            self.node.set_timer(f"wait:{self.name}", RETRY_MS, self._wait)
            return
        self._waiting = False
        self._started_ms = self.node.now_ms
        step = self._step(turn, self.iteration, self.queue)
        if self.node.params.iteration_ms_min == 0 and self.iteration != turn.last:
            self._overlap(step)
        self._train(step, lambda result: self._stepped(turn, result))

    def _step(self, turn: schedule.Turn, iteration: int, queue: Queue) -> jobs.Step:
        decoded = map(it_res.decode, queue.messages)
        peers = tuple(jobs.PeerUpdate(m.tau_bits, m.message_map) for m in decoded)
        position = jobs.Position(turn.epoch, iteration, self._course().tau_bits)
        return jobs.Step(self.name, position, turn.batch, peers)

    def _overlap(self, step: jobs.Step) -> None:
        """Let the trainer begin the iteration after this one, too, before it brings this one to its end.

        Hashing, message map and IT_RES then go on beside the arithmetic, for one more iteration of delay of
        the peers' updates. Source: PoUW figure F.1, right pane.
        """
        if not self._has_begun:
            self._train(jobs.Begin(step), lambda _: None)
        following = self._turn(self.iteration + 1)
        assert following is not None
        self._ahead = self._freeze()
        self._has_begun = True
        again = self._step(following, self.iteration + 1, self._ahead)
        self._train(jobs.Begin(again), lambda _: None)

    def _course(self) -> course.Course:
        """Return what the next iteration starts with."""
        task, last = self.task.definition, self.memory.message
        return course.follow(task, self.place, it_res.decode(last)) if last else course.begin(task)

    def _stepped(self, turn: schedule.Turn, result: jobs.Result) -> None:
        if not isinstance(result, jobs.Stepped) or not self._is_sound(result):
            self.node.set_timer(f"open:{self.name}", RETRY_MS, self._reopen)
            return
        apart = self.plan.held_out(turn.number)
        if self.iteration == turn.last and apart:
            job = jobs.Validate(self.name, tuple(apart))
            self._train(job, lambda validated: self._validated(turn, result, validated))
        else:
            self._tell(turn, result, ())

    def _is_sound(self, result: jobs.Stepped) -> bool:
        """Whether a trainer's message map may be signed: others would refuse a malformed one."""
        try:
            message_map.check(result.message_map, self.task.definition.weight_count)
        except InvalidMessage:
            return False
        return True

    def _validated(self, turn: schedule.Turn, result: jobs.Stepped, validated: jobs.Result) -> None:
        if isinstance(validated, jobs.Validated):
            self._tell(turn, result, validated.metrics)
        else:
            self.node.set_timer(f"open:{self.name}", RETRY_MS, self._reopen)

    def _tell(self, turn: schedule.Turn, result: jobs.Stepped, validation: tuple[int, ...]) -> None:
        applied, self.queue = self.queue, self._ahead or self._freeze()
        self._has_begun, self._ahead = self._ahead is not None, None
        message = self._message(turn, result, applied, validation)
        seen = self.memory.validations + ((validation,) if validation else ())
        if self._turn(self.iteration + 1) is None or course.is_stopped(self.task.definition, seen):
            # What the last message speaks of must survive, or there is no model to be paid for.
            self._keep(lambda: self._send(turn, message, applied))
        else:
            self._send(turn, message, applied)

    def _send(self, turn: schedule.Turn, message: IterationResult, applied: Queue) -> None:
        if self._stopped:
            return
        data = message.encode()
        self.outgoing.hold(message, data)
        self.miner.sent(self, self.iteration, data)
        self._mine(turn, message, applied)
        if (self.iteration + 1) % KEEP_EVERY == 0 and self.applied[self.ticket] >= self.resumed_at:
            self._keep(lambda: None)  # unless our own updates from before a restart are not all back yet
        self.iteration += 1
        self._pace()

    def _message(
        self, turn: schedule.Turn, result: jobs.Stepped, applied: Queue, validation: tuple[int, ...]
    ) -> IterationResult:
        begun = self._course()
        template = self.node.template(self.task_id, self.ticket) if self._mines else None
        commitment = self.mining.commit(self.iteration, template) if template else ZERO_HASH
        precursor = it_res.precursor(result.after, result.message_map)
        message = IterationResult(
            task_prefix=self.task_id[: it_res.TASK_PREFIX_SIZE],
            epoch=turn.epoch,
            message_map=result.message_map,
            metrics=result.metrics,
            started_s=self._started_ms // 1000,
            finished_s=self.node.now_ms // 1000,
            batch=result.batch,
            applied=applied.blob,
            weights=result.before.weights,
            residual=result.before.residual,
            zero_nonce_block=commitment,
            queued=self.queue.blob,
            ticket=self.ticket,
            iteration=self.iteration,
            optimiser=result.before.optimiser,
            peer_count=len(applied.ids),
            peer_ids=it_res.hash_ids(applied.ids),
            nonce=it_res.nonce(precursor),
            tau_bits=begun.tau_bits,
            moved=begun.moved,
            validation=validation,
            platform=self._platform,
        )
        digest = it_res.signing_digest(self.task_id, message.encode_unsigned())
        return replace(message, signature=ecdsa.sign(self.node.identity.keys.spending, digest))

    def _pace(self) -> None:
        rest = self.node.params.iteration_ms_min - (self.node.now_ms - self._started_ms)
        if rest > 0:
            self.node.set_timer(f"pace:{self.name}", Millis(rest), self._go_on)
        else:
            self._go_on()

    def _go_on(self) -> None:
        if not self._stopped:
            self.outgoing.repeat()
            self._next()

    # --- peers' updates

    def _wait(self) -> None:
        """Say again what was lost: the peers may be waiting for just that."""
        if self._waiting:
            self._go_on()

    def peers_changed(self) -> None:
        """Go on if this session waited for its peers to end an epoch."""
        if self._waiting and not self._stopped:
            self._next()

    def _freeze(self) -> Queue:
        """Choose the updates of the next iteration and count them as applied."""
        limits = {self.ticket: self.resumed_at}  # its own updates are in the state, but for those of before
        return self.history.take(self._trusted(), self.applied, limits)

    def _trusted(self) -> tuple[Outpoint, ...]:
        """Return the miners whose updates are worth applying: who lost its stake was proven to lie."""
        return tuple(ticket for ticket in self.task.miners if ticket in self.node.state.utxos)

    # --- mining

    @property
    def _mines(self) -> bool:
        # What nobody else can replay proves no work.
        return self.task.definition.numerics is Numerics.EXACT

    def _mine(self, turn: schedule.Turn, message: IterationResult, applied: Queue) -> None:
        if not self._mines:
            return
        place = self.plan.place(turn.batch)
        path = merkle.inclusion_path(self._data.manifests[place.fragment], place.index)
        before = jobs.ModelState(message.weights, message.residual, message.optimiser)
        attempt = Attempt(self.iteration, message.nonce, before, message.batch, applied.data, path)
        self.mining.earn(attempt)
        self.try_nonces()

    def try_nonces(self) -> None:
        """Try nonces whose commitment is recorded by now; send the lucky blocks that are complete."""
        if self._stopped:
            return
        count = work.nonce_count(self.task.definition, self.node.params)
        for attempt in self.mining.try_nonces(self.history, count, self.node.state.tip):
            self.node.put_blob(blob.cut(attempt.applied))
            capsule = jobs.KeepCapsule(self.name, attempt.before, attempt.batch)
            self._train(capsule, lambda _: self.publish_blocks())
        self.publish_blocks()

    def publish_blocks(self) -> None:
        """Send the lucky blocks whose slots are certified."""
        if not self._stopped:
            for block in self.mining.finished_blocks(self.history, self.node.state.tip):
                self.node.submit_block(block)

    # --- keeping and finishing

    def _keep(self, then: Callable[[], None]) -> None:
        """Store the state after this iteration; `then` runs when it is sure to survive."""
        clock = self._clock()
        slot = max(0, self.history.next_slot - SLOTS_BACK)

        def kept(result: jobs.Result) -> None:
            if isinstance(result, jobs.Kept):
                self.miner.kept(self, result.state, clock, slot, then)
            else:
                self.node.set_timer(f"open:{self.name}", RETRY_MS, self._reopen)

        self._train(jobs.Keep(self.name), kept)

    def _clock(self) -> Clock:
        applied = {**self.applied, self.ticket: self.iteration + 1}
        for identifier in self.queue.ids:  # counted already, but not in this state
            message = self.history.decoded[identifier]
            applied[message.ticket] = min(applied[message.ticket], message.iteration)
        return tuple(sorted(applied.items()))

    def _finish(self) -> None:
        self._train(jobs.Keep(self.name), self._ended)

    def _ended(self, result: jobs.Result) -> None:
        if not isinstance(result, jobs.Kept):
            self.node.set_timer(f"open:{self.name}", RETRY_MS, self._reopen)
            return
        if self._is_earned(result.end):
            self._announce(result.end)
        self.memory.finished = True
        self.miner.finished()

    def _is_earned(self, end: EndState) -> bool:
        # Not when there was nothing to do.
        if not self.memory.message:
            return False
        last = it_res.decode(self.memory.message)
        return it_res.nonce(it_res.precursor(end, last.message_map)) == last.nonce

    def _announce(self, end: EndState) -> None:
        unsigned = ModelAnnouncement(self.task_id, self.ticket, self.iteration - 1, end, b"")
        signature = ecdsa.sign(self.node.identity.keys.spending, unsigned.digest)
        self.history.models[self.ticket] = replace(unsigned, signature=signature)
        self._say_model()

    def _say_model(self) -> None:
        """Announce the model again and again, until the task's training is registered as over.

        Meanwhile the miner trains something else: somebody must mine the block that registers it.
        """
        self.outgoing.repeat()
        self.publish_blocks()
        if self._stopped or self.miner.stage(self.task_id) is not self.task.stage:
            return
        self.node.publish("model", self.task_id, record.encode(self.history.models[self.ticket]))
        self.node.set_timer(f"model:{self.name}", RETRY_MS, self._say_model)

    def _train(self, job: jobs.Job, then: Callable[[jobs.Result], None]) -> None:
        def answered(result: jobs.Result) -> None:
            if not self._stopped:
                then(result)

        self.node.train(job, answered)
