"""After the faults end, the network recovers: I20.

All honest nodes come to one tip, every task of an honest client ends, and every transaction that waited at
an honest node is confirmed, or overtaken by another one that is.

Source: RELIABILITY (4), I20.
"""

from collections.abc import Mapping
from typing import Final

from p2pai.chain.spec import ChainSpec
from p2pai.node.core import NodeCore
from p2pai.primitives.ids import Hash32, PeerId, TaskId
from testnet.simulator.invariants.honesty import Honesty
from testnet.simulator.invariants.step import Broken
from testnet.simulator.world import World

SETTLE_INTERVALS: Final = 2
"""Block intervals in which all honest nodes come to one tip. Source: RELIABILITY (2)."""


class Liveness:
    """What must come of a world that healed; each demand lets the world go on until it is met."""

    def __init__(
        self, world: World, spec: ChainSpec, cores: Mapping[PeerId, NodeCore], honesty: Honesty
    ) -> None:
        self._world, self._spec, self._cores, self._honesty = world, spec, cores, honesty
        self._waiting: dict[Hash32, tuple[PeerId, str]] = {}
        """Transactions that have to be confirmed: at whom they waited, and their kind."""

    @property
    def _honest(self) -> dict[PeerId, NodeCore]:
        return {
            name: core
            for name, core in self._cores.items()
            if self._honesty.is_honest(name) and name not in self._world.halted
        }

    def demand_one_tip(self, limit_s: int | None = None) -> None:
        """Go on until all honest nodes are on one tip; by default for two block intervals at most.

        Raises:
          Broken: they are not.
        """
        limit_s = limit_s or SETTLE_INTERVALS * self._spec.params.spacing_s
        if not self._world.run(lambda: len(self._tips()) == 1, limit_s):
            heights = ", ".join(f"{name} at {core.state.height}" for name, core in self._honest.items())
            raise Broken(f"I20: {len(self._tips())} tips, {limit_s} s after the last fault: {heights}")

    def _tips(self) -> dict[bytes, None]:
        return dict.fromkeys(core.state.tip for core in self._honest.values())

    def note_waiting(self) -> None:
        """Note what waits now: it has to be confirmed."""
        self._waiting = {
            tx.txid: (name, tx.kind)
            for name, core in self._honest.items()
            for tx in core.ledger.mempool.transactions()
        }

    def demand_confirmations(self, limit_s: int) -> None:
        """Go on until nothing waits any more that was noted.

        Raises:
          Broken: something does.
        """
        if not self._world.run(self._are_confirmed, limit_s):
            name, kind = next(iter(self._waiting.values()))
            raise Broken(f"I20: a {kind} of {name} waits still, {limit_s} s after the last fault", name)

    def _are_confirmed(self) -> bool:
        for txid in list(self._waiting):
            if any(txid in core.ledger.mempool for core in self._honest.values()):
                return False
            del self._waiting[txid]
        return True

    def demand_ends(self, limit_s: int) -> None:
        """Go on until every task of an honest client has ended.

        Raises:
          Broken: one has not.
        """
        if not self._world.run(lambda: not self._open(), limit_s):
            task, stage = next(iter(self._open().items()))
            raise Broken(f"I20: task {task.hex()[:8]} is {stage} still, {limit_s} s after the last fault")

    def _open(self) -> dict[TaskId, str]:
        """Return the tasks of honest clients that have not ended, at any honest node."""
        clients = [core.identity.key_hash for core in self._honest.values()]
        return {
            task_id: task.stage.value
            for core in self._honest.values()
            for task_id, task in core.state.tasks.items()
            if not task.stage.is_over and not task.is_predefined and task.client in clients
        }
