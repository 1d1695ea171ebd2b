"""The state hash: one digest of where a core stands, equal on every machine that was told the same things.

It covers what the core holds (the ledger, branches, waiting transactions, what it follows and awaits) and,
through a running digest of all effects, everything that it ever did. So two lives that differ in anything
that anybody could notice have different hashes from then on.

Source: docs/RECORDING.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from p2pai.chain.snapshot import snapshot_id
from p2pai.effects import Effect
from p2pai.gossip.recording import Noted, Reacted
from p2pai.node.following import Following
from p2pai.primitives import record
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import ZERO_HASH, Hash32

if TYPE_CHECKING:
    from p2pai.node.core import NodeCore


class Standing:
    """Follows one life of a core, and says where it stands."""

    def __init__(self) -> None:
        self.number = 0
        """Events so far."""
        self._deeds = ZERO_HASH
        self._ledger: tuple[Hash32, Hash32] | None = None
        """Tip and digest of the state that was encoded last: that takes longer than all else."""

    def reacted(self, effects: Sequence[Effect]) -> Reacted:
        """Take in what the core did about its next event."""
        names = tuple(type(effect).__name__ for effect in effects)
        digests = tuple(tagged_hash("p2pai/effect", record.encode_tagged(effect)) for effect in effects)
        self._deeds = tagged_hash("p2pai/deeds", self._deeds, *digests)
        self.number += 1
        return Reacted(names, digests)

    def note(self, core: NodeCore) -> Noted:
        """Return where the core stands."""
        parts = self.parts(core)
        state = tagged_hash(
            "p2pai/state", *(part for item in parts.items() for part in (item[0].encode(), item[1]))
        )
        return Noted(self.number, core.state.height, core.state.tip, state)

    def parts(self, core: NodeCore) -> dict[str, Hash32]:
        """Return what the state hash is of, by name, so that one sees which part changed."""
        return {
            "deeds": self._deeds,
            "ledger": self._ledger_digest(core),
            "branches": _digest(sorted(branch.state.tip for branch in core.ledger.tree.side_tips())),
            "mempool": _digest(sorted(tx.txid for tx in core.ledger.mempool.transactions())),
            "tasks": _digest(_task(core.following[task]) for task in sorted(core.following)),
            "remotes": _digest(remote.encode() for remote in sorted(core.remotes)),
            "awaited": _digest(core.awaited()),
        }

    def _ledger_digest(self, core: NodeCore) -> Hash32:
        tip = core.state.tip
        if self._ledger is None or self._ledger[0] != tip:
            self._ledger = tip, snapshot_id(core.state)
        return self._ledger[1]


def _digest(items: Iterable[bytes]) -> Hash32:
    return tagged_hash("p2pai/state-part", *items)


def _task(followed: Following) -> Hash32:
    history = followed.history
    slots = (number.to_bytes(8, "big") for number in sorted(history.slots))
    return _digest(
        (followed.task_id, history.next_slot.to_bytes(8, "big"), *slots, *sorted(history.messages))
    )
