"""What one supervisor stores of a task's data: all of it, or a shard of each fragment.

With full replicas it looks into the fragments as soon as it has them, since a client could have cut anything.
With Reed-Solomon it holds one shard of each fragment, and looks into a fragment when a miner, who restored
it, doubts it. What is fetched is shared. The data of a predefined task ships with the software.

Source: PoUW §4.2.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from p2pai import jobs
from p2pai.chain import schedule, shards
from p2pai.chain.state import Task
from p2pai.chain.training import ReedSolomon
from p2pai.events import Fetched
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import BlobId, Millis, PeerId, TaskId
from p2pai.roles.restoring import Restoring

if TYPE_CHECKING:
    from p2pai.roles.base import Node

RETRY_MS: Final = Millis(2_000)
"""Pause before data is asked for again."""

Malformed = Callable[[int, str], None]
"""Hears that the client's data are not what its definition says: a fragment's place there, and why."""


class Storage:
    """See the module; `begin` starts it."""

    def __init__(
        self,
        node: Node,
        task_id: TaskId,
        task: Task,
        index: int,
        then: Callable[[], None],
        malformed: Malformed,
    ) -> None:
        """Store what falls to a supervisor.

        Args:
          node: ours.
          task_id: of the task.
          task: as the ledger has it, with its supervisors.
          index: our place among `task.supervisors`, from 0.
          then: runs once, when everything is here (and, with full replicas, in order).
          malformed: runs once, instead of `then`.
        """
        self._node, self._task_id, self._task, self._index = node, task_id, task, index
        self._then, self._malformed = then, malformed
        self._training = schedule.make_schedule(task.definition, task.definition_block).training
        self._missing: dict[BlobId, None] = {}
        self._rows: tuple[shards.Row, ...] = ()
        self._doubted: dict[BlobId, Restoring] = {}
        self._stopped = False

    def begin(self) -> None:
        """Ask for the data."""
        if self._task.is_predefined:
            self._then()
        elif isinstance(self._task.definition.redundancy, ReedSolomon):
            self._fetch_list()
        else:
            self._store(self._training, self._inspect)

    def stop(self) -> None:
        """Ask no more."""
        self._stopped = True
        for restoring in self._doubted.values():
            restoring.stop()

    def doubt(self, place: int) -> None:
        """Restore a fragment, by its place in the definition, and look into it: a miner doubts it."""
        fragments = self._task.definition.dataset.fragments
        if not self._rows or place >= len(fragments) or fragments[place] not in self._training:
            return
        fragment = fragments[place]
        if fragment not in self._doubted:
            name = f"doubt:{self._task_id.hex()}"
            self._doubted[fragment] = Restoring(
                self._node,
                name,
                self._task,
                fragment,
                self._rows[place],
                lambda fault: self._restored(fragment, fault),
            )
            self._doubted[fragment].begin()

    # --- shards

    def _fetch_list(self) -> None:
        listed = self._task.definition.dataset.shards
        assert listed is not None
        self._fetch(listed, self._got_list)

    def _got_list(self, fetched: Fetched) -> None:
        try:
            rows = shards.read(self._task.definition, fetched.data or b"")
        except InvalidMessage as error:
            self._fail(self._training[0], str(error))
            return
        self._rows = rows
        fragments = self._task.definition.dataset.fragments
        # With more supervisors than shards some shards have two.
        mine = self._index % len(rows[0])
        self._store(tuple(rows[fragments.index(f)][mine] for f in self._training), self._then)

    # --- looking into fragments

    def _restored(self, fragment: BlobId, fault: str) -> None:
        if fault:
            self._fail(fragment, fault)
        else:
            self._look((fragment,), lambda: None)

    def _inspect(self) -> None:
        self._look(self._training, self._then)

    def _look(self, fragments: tuple[BlobId, ...], then: Callable[[], None]) -> None:
        if not self._stopped:
            job = jobs.Inspect(self._task.definition.encode(), fragments)
            self._node.train(job, lambda result: self._inspected(fragments, then, result))

    def _inspected(
        self, fragments: tuple[BlobId, ...], then: Callable[[], None], result: jobs.Result
    ) -> None:
        if self._stopped:
            return
        if not isinstance(result, jobs.Inspected):
            timer = f"inspect:{self._task_id.hex()}:{fragments[0].hex()}"
            self._node.set_timer(timer, RETRY_MS, lambda: self._look(fragments, then))
        elif result.fragment is None:
            then()
        else:
            self._fail(result.fragment, result.reason)

    def _fail(self, fragment: BlobId, reason: str) -> None:
        self._malformed(self._task.definition.dataset.fragments.index(fragment), reason)

    # --- fetching

    def _store(self, wanted: tuple[BlobId, ...], then: Callable[[], None]) -> None:
        self._missing = dict.fromkeys(wanted)

        def got(fetched: Fetched) -> None:
            del self._missing[fetched.blob]
            if not self._missing:
                then()

        for name in tuple(self._missing):
            self._fetch(name, got)

    def _fetch(self, name: BlobId, then: Callable[[Fetched], None]) -> None:
        """Ask for a blob again and again until it is here."""

        def got(fetched: Fetched) -> None:
            if self._stopped:
                return
            if fetched.chunks is None:
                timer = f"store:{self._task_id.hex()}:{name.hex()}"
                self._node.set_timer(timer, RETRY_MS, lambda: self._fetch(name, then))
            else:
                then(fetched)

        if not self._stopped:
            self._node.fetch(name, self._providers(), got)

    def _providers(self) -> tuple[PeerId, ...]:
        tickets = self._node.state.tickets
        peers = [tickets[s].peer for s in self._task.supervisors if s in tickets]
        return tuple(p for p in (self._task.definition.client, *peers) if p)
