"""The revealed fragments of a task on their way to a miner: asked for again and again until all are here.

Source: PoUW §4.2.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from p2pai import jobs
from p2pai.chain.schedule import Schedule
from p2pai.chain.state import Task
from p2pai.events import Fetched
from p2pai.primitives.ids import BlobId, Hash32, Millis, PeerId

if TYPE_CHECKING:
    from p2pai.roles.base import Node

RETRY_MS: Final = Millis(2_000)
"""Pause before data is asked for again."""


class Revealed:
    """See the module."""

    def __init__(self, node: Node, name: str, task: Task, plan: Schedule, then: Callable[[], None]) -> None:
        self._node, self._name, self._task, self._plan, self._then = node, name, task, plan, then
        self.manifests: dict[BlobId, tuple[Hash32, ...]] = {}
        """Of each fragment that is here, the hashes of its mini-batches."""
        self._stopped = False

    def begin(self) -> None:
        """Get the data; a predefined task's ship with the software and only have to be cut."""
        source = self._node.spec.task_data
        if not (self._task.is_predefined and source):
            self._fetch()
            return
        definition = self._task.definition
        data, regression = definition.dataset, not definition.loss.is_classification
        job = jobs.Prepare(source[0], data.format, regression, data.batch_size, len(data.fragments))
        self._node.train(job, lambda _: self._fetch())

    def stop(self) -> None:
        """Ask no more."""
        self._stopped = True

    def _fetch(self) -> None:
        if self._stopped:
            return
        for fragment in self._plan.training:
            if fragment not in self.manifests:
                self._node.fetch(fragment, self._providers(), self._got)

    def _providers(self) -> tuple[PeerId, ...]:
        tickets = self._node.state.tickets
        peers = [tickets[s].peer for s in self._task.supervisors if s in tickets]
        return tuple(p for p in (self._task.definition.client, *peers) if p)

    def _got(self, fetched: Fetched) -> None:
        if self._stopped:
            return
        if fetched.chunks is None:
            self._node.set_timer(f"data:{self._name}:{fetched.blob.hex()}", RETRY_MS, self._fetch_missing)
            return
        self.manifests[fetched.blob] = fetched.chunks
        if len(self.manifests) == len(self._plan.training):
            self._then()

    def _fetch_missing(self) -> None:
        if len(self.manifests) < len(self._plan.training):
            self._fetch()
