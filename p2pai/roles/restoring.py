"""One fragment on its way to a miner in shards: as many as it takes are fetched, and the fragment is rebuilt.

Each shard is asked for from the supervisor that stores it, then from anybody else who may have it. Data
shards come first, since they restore a fragment without arithmetic; where one is not to be had, another takes
its place. Shards are checked by their content ids as they arrive; if those of the client's own list restore
something else than its fragment, the client lied.

Source: PoUW §4.2.3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from p2pai import jobs
from p2pai.chain import shards
from p2pai.chain.state import Task
from p2pai.chain.training import ReedSolomon
from p2pai.events import Fetched
from p2pai.primitives.ids import BlobId, Millis, PeerId

if TYPE_CHECKING:
    from p2pai.roles.base import Node

RETRY_MS: Final = Millis(2_000)
"""Pause before shards that nobody had are asked for again."""


class Restoring:
    """See the module; `begin` starts it."""

    def __init__(
        self,
        node: Node,
        name: str,
        task: Task,
        fragment: BlobId,
        row: shards.Row,
        then: Callable[[str], None],
    ) -> None:
        """Get a fragment.

        Args:
          node: ours.
          name: of whose work it is, for timers.
          task: as the ledger has it.
          fragment: one of its fragments.
          row: content ids of the fragment's shards.
          then: runs once: with "" when the fragment is stored, or with how the client lied.
        """
        assert isinstance(task.definition.redundancy, ReedSolomon)
        self._node, self._task, self._fragment, self._row, self._then = node, task, fragment, row, then
        self._timer = f"shards:{name}:{fragment.hex()}"
        self._wanted = task.definition.redundancy.data
        self._here: dict[int, None] = {}
        self._asked: dict[int, None] = {}
        self._untried: list[int] = []
        self._stopped = False

    def begin(self) -> None:
        """Ask for as many shards as it takes; when all were in vain, after a pause."""
        if not self._stopped:
            self._untried = [i for i in range(len(self._row)) if i not in self._here]
            self._ask()

    def stop(self) -> None:
        """Ask no more."""
        self._stopped = True

    def _ask(self) -> None:
        while self._untried and len(self._here) + len(self._asked) < self._wanted:
            index = self._untried.pop(0)
            self._asked[index] = None
            self._node.fetch(self._row[index], self._providers(index), self._taker(index))
        if not self._asked:
            self._node.set_timer(self._timer, RETRY_MS, self.begin)

    def _providers(self, index: int) -> tuple[PeerId, ...]:
        """Return whom to ask: who stores the shard, the client, then the other supervisors."""
        tickets, supervisors = self._node.state.tickets, self._task.supervisors
        count = len(self._row)
        first = [s for place, s in enumerate(supervisors) if place % count == index]
        others = [s for s in supervisors if s not in first]
        peers = [[tickets[s].peer for s in part if s in tickets] for part in (first, others)]
        return tuple(p for p in (*peers[0], self._task.definition.client, *peers[1]) if p)

    def _taker(self, index: int) -> Callable[[Fetched], None]:
        def got(fetched: Fetched) -> None:
            if self._stopped:
                return
            del self._asked[index]
            if fetched.chunks is not None:
                self._here[index] = None
            if len(self._here) == self._wanted:
                self._restore()
            elif len(self._here) < self._wanted:
                self._ask()

        return got

    def _restore(self) -> None:
        if not self._stopped:
            job = jobs.Restore(self._task.definition.encode(), self._fragment)
            self._node.train(job, self._restored)

    def _restored(self, result: jobs.Result) -> None:
        if self._stopped:
            return
        if isinstance(result, jobs.Restored):
            self._then(result.fault)
        else:
            self._node.set_timer(self._timer, RETRY_MS, self._restore)
