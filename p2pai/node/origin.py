"""Where this node's chain begins: at genesis, or at a checkpoint that its operator trusts.

The journal knows: `SnapshotTrusted` when the chain began at a snapshot, `SnapshotVerified` when all of it had
been connected again from genesis. A restart in between begins that walk anew.

Source: docs/adr/0030-sync.md.
"""

from collections.abc import Callable

from p2pai import effects, events
from p2pai.chain.block import Block
from p2pai.chain.spec import ChainSpec
from p2pai.chain.state import Checkpoint, State
from p2pai.node import trust
from p2pai.node.beginning import Beginning
from p2pai.node.ledger import Ledger
from p2pai.node.retracing import Retracing
from p2pai.node.services import Services
from p2pai.node.trust import SnapshotShared, SnapshotTrusted, SnapshotVerified


class Origin:
    """The beginning of the chain, and how far it is checked."""

    def __init__(
        self,
        named: Checkpoint | None,
        spec: ChainSpec,
        services: Services,
        ledger: Ledger,
        begun: Callable[[], None],
    ) -> None:
        self._named, self._spec, self._services, self._ledger = named, spec, services, ledger
        self._begun = begun
        self._trusted: Checkpoint | None = None
        self._is_verified = False
        self._beginning: Beginning | None = None
        self._retracing: Retracing | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether there is no chain yet to follow."""
        awaited = self._trusted or self._named
        return awaited is not None and self._ledger.tree.root.state.height < awaited.height

    @property
    def said(self) -> str | None:
        """What the user is told; None for a chain that begins at genesis."""
        if self._trusted is not None and self._is_verified:
            return f"snapshot at height {self._trusted.height}: verified"
        part = self._retracing or self._beginning
        return part.said if part else None

    def restore(self, entry: trust.Record) -> None:
        """Take back a record of the journal."""
        match entry:
            case SnapshotTrusted(checkpoint):
                self._trusted = checkpoint
            case SnapshotVerified():
                self._is_verified = True
            case SnapshotShared(snapshot):
                self._ledger.keeping.restore_shared(snapshot)

    def restored(self) -> None:
        """All of the journal is back."""
        self._ledger.syncing.is_paused = self.is_waiting

    def go_on(self) -> None:
        """Do what is left to do; the node is running."""
        awaited = self._trusted or self._named
        has_chain = self._trusted is not None or self._ledger.state.height > 0
        if self._named not in (None, self._trusted) and has_chain:
            self._services.emit(
                effects.Halt(
                    "--checkpoint is for an empty data directory, and this one has a chain already: leave it "
                    "out, or choose another --data-dir"
                )
            )
        elif awaited is None or self._is_verified:
            return
        elif self.is_waiting:
            self._beginning = Beginning(awaited, self._spec.id, self._services, self._begin)
            self._beginning.go_on()
        else:
            self._retrace(awaited)

    def meet(self, event: events.Event) -> None:
        """Ask a new remote for the chain, or for what it begins with; ask others instead of one that left."""
        if isinstance(event, events.Disconnected):
            self._ledger.syncing.disconnected(event.remote)
        elif not isinstance(event, events.Connected):
            return
        elif not self.is_waiting:
            self._ledger.syncing.ask(event.remote)
        elif self._beginning is not None:
            self._beginning.go_on()

    def _begin(self, block: Block, state: State) -> None:
        assert self._beginning is not None
        trusted = self._beginning.trusted
        self._services.persist(SnapshotTrusted(trusted), lambda: None)
        self._trusted = trusted
        self._ledger.begin_at(block, state)
        for remote in self._services.remotes:
            self._ledger.syncing.ask(remote)
        self._retrace(trusted)
        self._begun()

    def _retrace(self, trusted: Checkpoint) -> None:
        self._retracing = Retracing(trusted, self._spec, self._services, self._verified)
        self._retracing.go_on()

    def _verified(self) -> None:
        assert self._trusted is not None
        self._is_verified, self._retracing = True, None
        self._services.persist(SnapshotVerified(self._trusted.height), lambda: None)
