"""One miner's training of one task: Algorithm 1, iteration after iteration.

    fetch the data -> open the trainer -> [ step -> IT_RES -> nonces ]* -> announce the model

Which peers' updates enter an iteration is fixed when the previous IT_RES is built (its `queued` field), in
order per peer and without gaps, so that a small clock - the next iteration expected of each miner - says
exactly which updates a state holds. After a restart the session goes on from the last kept state, applies
what the clock says it lacks (its own later messages included), and never signs an iteration twice.

Source: PoUW Algorithms 1 and 2, §4.3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from p2pai import jobs
from p2pai.chain import it_res, schedule, work
from p2pai.chain.it_res import EndState, IterationResult
from p2pai.chain.state import Task
from p2pai.events import Fetched
from p2pai.primitives import blob, ecdsa, merkle, record
from p2pai.primitives.ids import ZERO_HASH, BlobId, Hash32, Millis, Outpoint, PeerId, TaskId
from p2pai.roles.history import QUEUE_BYTES_MAX, QUEUE_MAX, ModelAnnouncement, PeerMessages
from p2pai.roles.memory import Clock, Memory
from p2pai.roles.mining import Attempt, Mining

if TYPE_CHECKING:
    from p2pai.roles.base import Node
    from p2pai.roles.miner import Miner

KEEP_EVERY: Final = 32
"""Iterations between states kept for a restart."""

RETRY_MS: Final = Millis(2_000)
"""Pause before data is asked for again, or an unrecorded message is said again."""

REPUBLISH_AGE_MS: Final = 4_000
"""Age at which our own message, still in no slot, is taken for lost."""

SLOTS_BACK: Final = 16
"""Slots before a kept state that may record updates it lacks."""


@dataclass(frozen=True, slots=True)
class Queue:
    """The peers' messages of one iteration."""

    ids: tuple[Hash32, ...]
    messages: tuple[bytes, ...]

    @property
    def data(self) -> bytes:
        """The blob that IT_RES names."""
        return record.encode(PeerMessages(self.messages))

    @property
    def blob(self) -> BlobId:
        """Its content id."""
        return blob.blob_id_of(self.data)


class Session:
    """See the module."""

    def __init__(self, node: Node, task_id: TaskId, ticket: Outpoint, memory: Memory, miner: Miner) -> None:
        self.node, self.task_id, self.ticket, self.miner = node, task_id, ticket, miner
        self.memory = memory
        self.name = f"{task_id.hex()[:16]}-{ticket}"
        self.task = node.state.tasks[task_id]
        self.plan = schedule.make_schedule(self.task.definition, self.task.definition_block)
        self.rank = self.task.miners.index(ticket)
        self.mining = Mining(ticket, node.params.commitment_distance)
        self.history = node.follow(task_id, memory.slot)
        self._resume()
        self.queue = Queue((), ())
        self._manifests: dict[BlobId, tuple[Hash32, ...]] = {}
        self._unsent: dict[int, bytes] = {}
        self._sent_ms: dict[Hash32, int] = {}
        self._stopped = self._waiting = False
        self._started_ms = 0
        self._recall()
        self._get_data()

    def _resume(self) -> None:
        self.iteration = self.resumed_at = self.memory.sent + 1
        self.applied = dict(self.memory.applied)
        self.mining.forget()  # the weights to come do not follow from those announced

    def _recall(self) -> None:
        """Say our last message again: it may never have left, and peers apply ours without gaps."""
        data = self.memory.message
        if data:
            self.history.add_message(it_res.decode(data), data)
            self._sent_ms[it_res.message_id(data)] = 0

    def is_of(self, task: Task, ticket: Outpoint) -> bool:
        """Return whether this is still the work of `ticket` in `task`, whatever was reorganised."""
        return (ticket, task.miners, task.definition_block) == (
            self.ticket,
            self.task.miners,
            self.task.definition_block,
        )

    def stop(self) -> None:
        """Abandon the session; what the trainer still answers is ignored."""
        self._stopped = True

    # --- getting ready

    def _get_data(self) -> None:
        source = self.node.spec.task_data
        if self.task.is_predefined and source:
            data = self.task.definition.dataset
            job = jobs.Prepare(source[0], data.format, data.batch_size, len(data.fragments))
            self._train(job, lambda _: self._fetch_fragments())
        else:
            self._fetch_fragments()

    def _fetch_fragments(self) -> None:
        for fragment in self.plan.training:
            if fragment not in self._manifests:
                self.node.fetch(fragment, self._data_providers(), self._got_fragment)

    def _data_providers(self) -> tuple[PeerId, ...]:
        tickets = self.node.state.tickets
        peers = [tickets[s].peer for s in self.task.supervisors if s in tickets]
        return tuple(p for p in (self.task.definition.client, *peers) if p)

    def _got_fragment(self, fetched: Fetched) -> None:
        if self._stopped:
            return
        if fetched.chunks is None:
            self.node.set_timer(f"data:{self.name}:{fetched.blob.hex()}", RETRY_MS, self._fetch_missing)
            return
        self._manifests[fetched.blob] = fetched.chunks
        if len(self._manifests) == len(self.plan.training):
            self._open()

    def _fetch_missing(self) -> None:
        if not self._stopped and len(self._manifests) < len(self.plan.training):
            self._fetch_fragments()

    def _open(self) -> None:
        job = jobs.Open(
            self.name, self.task.definition.encode(), self.task_id, self.plan.training, self.memory.state
        )
        self._train(job, self._opened)

    def _opened(self, result: jobs.Result) -> None:
        if not isinstance(result, jobs.Opened):
            self.node.set_timer(f"open:{self.name}", RETRY_MS, self._reopen)
            return
        self.queue = self._freeze()
        self._next()

    def _reopen(self) -> None:
        if not self._stopped:
            self._resume()
            self._open()

    # --- one iteration

    def _next(self) -> None:
        turn = self.plan.turn(self.iteration, self.rank, len(self.task.miners))
        if turn is None:
            self._finish()
            return
        if not self._may_begin():
            self._waiting = True
            self.node.set_timer(f"wait:{self.name}", RETRY_MS, self._wait)
            return
        self._waiting = False
        self._started_ms = self.node.now_ms
        maps = tuple(it_res.decode(m).message_map for m in self.queue.messages)
        self._train(jobs.Step(self.name, turn.batch, maps), lambda r: self._stepped(turn, r))

    def _may_begin(self) -> bool:
        """Whether a majority of the miners has ended the epoch before this iteration's.

        Source: PoUW §4.3, a miner that ends an epoch early waits for the majority.
        """
        miners = len(self.task.miners)
        per_epoch = self.plan.iterations_per_epoch(self.rank, miners)
        ended = self.iteration // per_epoch
        if ended == 0 or self.iteration % per_epoch:
            return True
        done = 0
        for rank, ticket in enumerate(self.task.miners):
            latest = self.history.latest.get(ticket)
            count = self.plan.iterations_per_epoch(rank, miners) * ended
            done += ticket == self.ticket or (latest is not None and latest.iteration + 1 >= count)
        return 2 * done > miners

    def _stepped(self, turn: schedule.Turn, result: jobs.Result) -> None:
        if not isinstance(result, jobs.Stepped):
            self.node.set_timer(f"open:{self.name}", RETRY_MS, self._reopen)
            return
        applied, self.queue = self.queue, self._freeze()
        message = self._message(turn, result, applied)
        if self.plan.turn(self.iteration + 1, self.rank, len(self.task.miners)) is None:
            # What the last message speaks of must survive, or there is no model to be paid for.
            self._keep(lambda: self._send(turn, message, applied))
        else:
            self._send(turn, message, applied)

    def _send(self, turn: schedule.Turn, message: IterationResult, applied: Queue) -> None:
        if self._stopped:
            return
        data = message.encode()
        self._unsent[self.iteration] = data
        self.history.add_message(message, data)
        self.miner.sent(self, self.iteration, data)
        self._mine(turn, message, applied)
        if (self.iteration + 1) % KEEP_EVERY == 0 and self.applied[self.ticket] >= self.resumed_at:
            self._keep(lambda: None)  # unless our own updates from before a restart are not all back yet
        self.iteration += 1
        self._pace()

    def _message(self, turn: schedule.Turn, result: jobs.Stepped, applied: Queue) -> IterationResult:
        template = self.node.template(self.task_id, self.ticket)
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
        )
        digest = it_res.signing_digest(self.task_id, message.encode_unsigned())
        return replace(message, signature=ecdsa.sign(self.node.identity.keys.spending, digest))

    def publish_iteration(self, iteration: int) -> None:
        """Send a message whose place in the journal is durable."""
        data = self._unsent.pop(iteration, None)
        if data is not None:
            self._sent_ms[it_res.message_id(data)] = self.node.now_ms
            self.node.publish("it_res", self.task_id, data)

    def _pace(self) -> None:
        rest = self.node.params.iteration_ms_min - (self.node.now_ms - self._started_ms)
        if rest > 0:
            self.node.set_timer(f"pace:{self.name}", Millis(rest), self._go_on)
        else:
            self._go_on()

    def _go_on(self) -> None:
        if not self._stopped:
            self._republish()
            self._next()

    def _republish(self) -> None:
        for identifier, sent_ms in list(self._sent_ms.items()):
            if identifier in self.history.recorded or identifier not in self.history.messages:
                del self._sent_ms[identifier]
            elif self.node.now_ms - sent_ms > REPUBLISH_AGE_MS:
                self._sent_ms[identifier] = self.node.now_ms
                self.node.publish("it_res", self.task_id, self.history.messages[identifier])

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
        ids: list[Hash32] = []
        size = 0
        for ticket in self.task.miners:
            following = self.applied.get(ticket, 0)
            limit = self.resumed_at if ticket == self.ticket else None
            while len(ids) < QUEUE_MAX and (limit is None or following < limit):
                identifier = self.history.places.get((ticket, following))
                if identifier is None:
                    break
                size += len(self.history.messages[identifier])
                if size > QUEUE_BYTES_MAX:
                    break
                ids.append(identifier)
                following += 1
            self.applied[ticket] = following
        ids.sort()
        return Queue(tuple(ids), tuple(self.history.messages[i] for i in ids))

    # --- mining

    def _mine(self, turn: schedule.Turn, message: IterationResult, applied: Queue) -> None:
        place = self.plan.place(turn.batch)
        path = merkle.inclusion_path(self._manifests[place.fragment], place.index)
        self.mining.earn(Attempt(self.iteration, message.nonce, message.weights, applied.data, path))
        self.try_nonces()

    def try_nonces(self) -> None:
        """Try nonces whose commitment is recorded by now; send the lucky blocks that are complete."""
        if self._stopped:
            return
        count = work.nonce_count(self.task.definition, self.node.params)
        for attempt in self.mining.try_nonces(self.history, count, self.node.state.tip):
            self.node.put_blob(blob.cut(attempt.applied))
            self._train(jobs.KeepCapsule(self.name, attempt.weights), lambda _: self.publish_blocks())
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
        self._republish()
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
