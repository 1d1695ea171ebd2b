"""The revealed fragments of a task on their way to a miner: asked for again and again until all are here.

They come whole or, where the task's supervisors store shards, are rebuilt from those.

Source: PoUW §4.2.2, §4.2.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from p2pai import jobs
from p2pai.chain import shards
from p2pai.chain.schedule import Schedule
from p2pai.chain.state import Task
from p2pai.chain.training import ReedSolomon
from p2pai.events import Fetched
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import BlobId, Hash32, Millis, PeerId
from p2pai.roles.restoring import Restoring

if TYPE_CHECKING:
    from p2pai.roles.base import Node

RETRY_MS: Final = Millis(2_000)
"""Pause before data is asked for again."""


class Revealed:
    """See the module."""

    def __init__(
        self,
        node: Node,
        name: str,
        task: Task,
        plan: Schedule,
        then: Callable[[], None],
        malformed: Callable[[int], None],
    ) -> None:
        """Get a miner's data.

        Args:
          node: ours.
          name: of the miner's work, for timers.
          task: as the ledger has it.
          plan: its schedule.
          then: runs once, when all is here.
          malformed: runs instead with a fragment, by its place in the definition, that is not as defined.
        """
        self._node, self._name, self._task, self._plan, self._then = node, name, task, plan, then
        self._malformed = malformed
        self.manifests: dict[BlobId, tuple[Hash32, ...]] = {}
        """Of each fragment that is here, the hashes of its mini-batches."""
        self.fault: tuple[int, str] | None = None
        """How the client lied: of which fragment, by its place in the definition, and a reason."""
        self._restoring: list[Restoring] = []
        self._stopped = False

    def begin(self) -> None:
        """Get the data; a predefined task's ship with the software and only have to be cut."""
        if self._ships:
            self._cut(self._fetch)
        elif isinstance(self._task.definition.redundancy, ReedSolomon):
            self._fetch_list()
        else:
            self._fetch()

    @property
    def _ships(self) -> bool:
        return self._task.is_predefined and bool(self._node.spec.task_data)

    def _cut(self, then: Callable[[], None]) -> None:
        """Cut what ships with the software, and go on even if that failed: others may have it."""
        definition, source = self._task.definition, self._node.spec.task_data[0]
        data, regression = definition.dataset, not definition.loss.is_classification
        job = jobs.Prepare(source, data.format, regression, data.batch_size, len(data.fragments))
        self._node.train(job, lambda _: then())

    def stop(self) -> None:
        """Ask no more."""
        self._stopped = True
        for restoring in self._restoring:
            restoring.stop()

    def _fetch(self) -> None:
        for fragment in self._plan.training:
            self._ask(fragment)

    def _ask(self, fragment: BlobId) -> None:
        # Each has one question under way, or the last to come would begin the training more than once.
        if not self._stopped:
            self._node.fetch(fragment, self._providers(), self._got)

    def _ask_again(self, fragment: BlobId) -> None:
        if self._ships and not self._stopped:  # the trainer died of it, or what it cut is damaged
            self._cut(lambda: self._ask(fragment))
        else:
            self._ask(fragment)

    def _providers(self) -> tuple[PeerId, ...]:
        tickets = self._node.state.tickets
        peers = [tickets[s].peer for s in self._task.supervisors if s in tickets]
        return tuple(p for p in (self._task.definition.client, *peers) if p)

    def _got(self, fetched: Fetched) -> None:
        if self._stopped:
            return
        if fetched.chunks is None:
            again = lambda: self._ask_again(fetched.blob)  # noqa: E731
            self._node.set_timer(f"data:{self._name}:{fetched.blob.hex()}", RETRY_MS, again)
            return
        self.manifests[fetched.blob] = fetched.chunks
        if len(self.manifests) < len(self._plan.training):
            return
        if isinstance(self._task.definition.redundancy, ReedSolomon):
            self._inspect()
        else:
            self._then()  # supervisors with full replicas look into them

    # --- from shards

    def _fetch_list(self) -> None:
        listed = self._task.definition.dataset.shards
        assert listed is not None
        if not self._stopped:
            self._node.fetch(listed, self._providers(), self._got_list)

    def _got_list(self, fetched: Fetched) -> None:
        if self._stopped:
            return
        if fetched.chunks is None:
            self._node.set_timer(f"data:{self._name}:{fetched.blob.hex()}", RETRY_MS, self._fetch_list)
            return
        try:
            rows = shards.read(self._task.definition, fetched.data or b"")
        except InvalidMessage as error:
            self._fail(self._plan.training[0], str(error))
            return
        self._restoring = [self._restorer(fragment, rows) for fragment in self._plan.training]
        for restoring in self._restoring:
            restoring.begin()

    def _restorer(self, fragment: BlobId, rows: tuple[shards.Row, ...]) -> Restoring:
        row = rows[self._task.definition.dataset.fragments.index(fragment)]
        return Restoring(
            self._node, self._name, self._task, fragment, row, lambda fault: self._restored(fragment, fault)
        )

    def _restored(self, fragment: BlobId, fault: str) -> None:
        if fault:
            self._fail(fragment, fault)
        else:
            self._ask(fragment)  # it is stored here: this asks for its hashes alone

    def _inspect(self) -> None:
        if not self._stopped:
            job = jobs.Inspect(self._task.definition.encode(), self._plan.training)
            self._node.train(job, self._inspected)

    def _inspected(self, result: jobs.Result) -> None:
        if self._stopped:
            return
        if not isinstance(result, jobs.Inspected):
            self._node.set_timer(f"inspect:{self._name}", RETRY_MS, self._inspect)
        elif result.fragment is None:
            self._then()
        else:
            self._fail(result.fragment, result.reason)

    def _fail(self, fragment: BlobId, reason: str) -> None:
        self.fault = (self._task.definition.dataset.fragments.index(fragment), reason)
        self.stop()
        self._malformed(self.fault[0])
