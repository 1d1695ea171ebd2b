"""The chain of a data directory as a whole: taking it out, taking blocks in, checking all of it again.

Reading needs no lock and changes nothing, so it works beside a running node; taking blocks in needs the
directory for itself.

Source: RELIABILITY (4), I7.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from p2pai import effects
from p2pai.chain import fraud, snapshot, transition
from p2pai.chain.block import Block, read_header
from p2pai.chain.genesis import genesis_state
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.spec import ChainSpec
from p2pai.chain.state import State
from p2pai.chain.transaction import FraudProof
from p2pai.events import Persisted
from p2pai.node.archive import Archive
from p2pai.node.core import NodeCore
from p2pai.primitives.errors import InvalidInput, P2paiError, Unavailable
from p2pai.primitives.ids import BlobId, Hash32
from p2pai.shell import chain_file, config
from p2pai.shell.clock import Clock
from p2pai.shell.specs import load_spec
from p2pai.shell.store import Store, read_store

GROUP: Final = 64
"""Blocks that are written to disk at once."""

Progress = Callable[[int], None]
"""Is told a height now and then."""


def _core(data_dir: Path, archive: Archive) -> NodeCore:
    """Return a core that plays no part: it knows the node's public key alone."""
    record = config.load(data_dir)
    return NodeCore(load_spec(record.config.chain), record.public_key, record.peer_id, ("peer",), archive)


class Disk:
    """The best chain of a data directory, for reading; a node may be running on it."""

    def __init__(self, data_dir: Path) -> None:
        """Read what is there.

        Raises:
          Unavailable: no node ever ran there.
          InvalidInput: its files are damaged.
        """
        config.load(data_dir)
        started, archive = read_store(data_dir)
        self._core = _core(data_dir, archive)
        self._core.handle(started, Clock().now_ms())
        self.snapshot = started.snapshot

    @property
    def spec(self) -> ChainSpec:
        """Of the chain."""
        return self._core.spec

    @property
    def state(self) -> State:
        """What the node would go on from."""
        return self._core.state

    def block(self, height: int) -> bytes:
        """Return a block of the best chain above genesis.

        Raises:
          Unavailable: it is damaged or missing.
        """
        name = self._core.ledger.tree.hash_at(height)
        data = self._core.ledger.keeping.encoded(name) if name is not None else None
        if data is None:
            raise Unavailable(
                f"block {height} is damaged or missing on this disk: a running node fetches it, unless its "
                "chain began at a later checkpoint"
            )
        return data

    def blocks(self, first: int, last: int) -> Iterator[bytes]:
        """Yield blocks of the best chain from one height to another."""
        for height in range(first, last + 1):
            yield self.block(height)


# --- taking in


@dataclass(slots=True)
class Imported:
    """What became of a file of blocks."""

    new: int = 0
    known: int = 0
    height: int = 0
    """Of the best chain, so far."""


def take_in(data_dir: Path, stream: BinaryIO, done: Imported, progress: Progress = lambda _: None) -> None:
    """Connect the blocks of a file one by one, with all checks, and store them.

    Args:
      data_dir: of a node that does not run.
      stream: as `chain_file` describes it.
      done: is counted up; it stands when the file ends early too.
      progress: is told the height.

    Raises:
      InvalidInput: the file is none of this chain, or damaged; or a block breaks a rule. What came before it
        is kept.
      Unavailable: a node runs there, or never did; or a block has to wait for something.
    """
    config.load(data_dir)
    with closing(Store.open(data_dir)) as store:
        core = _core(data_dir, store.archive)
        core.handle(store.started(), Clock().now_ms())
        try:
            for data in chain_file.read(stream, core.spec.id):
                _take(core, data, done)
                if done.new % GROUP == 0:
                    _write(core, store)
                    progress(core.state.height)
        finally:
            _write(core, store)
            done.height = core.state.height


def _take(core: NodeCore, data: bytes, done: Imported) -> None:
    name = read_header(data).hash
    if name in core.ledger.tree:
        done.known += 1
        return
    try:
        core.ledger.connect(data)
    except P2paiError as error:
        place = f"block {done.new + done.known + 1} of the file, {name.hex()[:16]}"
        raise InvalidInput(f"{place}, is refused: {error}; what came before it is kept") from error
    done.new += 1


def _write(core: NodeCore, store: Store) -> None:
    """Store what the core asks for, and what follows from that."""
    waiting = core.take_effects()
    while writes := [effect for effect in waiting if isinstance(effect, effects.Write)]:
        store.write_all(writes)
        waiting = [e for write in writes for e in core.handle(Persisted(write.token), Clock().now_ms())]


# --- checking again


@dataclass(frozen=True, slots=True)
class Verified:
    """A chain that was checked from genesis on."""

    blocks: int
    checkpoints: int
    """Whose snapshot was compared."""
    snapshot: BlobId
    """Of the state at the tip."""


def verify(disk: Disk, progress: Progress = lambda _: None) -> Verified:
    """Check every block of a data directory again, from genesis: signatures, work proofs, all rules.

    What a FRAUD_PROOF says of a replay is taken as it is: replaying needs data of others.

    Raises:
      InvalidInput: the first difference.
      Unavailable: a block is damaged or missing.
    """
    state, marks = genesis_state(disk.spec), _Marks(disk)
    for height in range(1, disk.state.height + 1):
        block = Block.decode(disk.block(height))
        try:
            params = disk.spec.params_at(height)
            state = transition.apply_block(state, block, params, judged=_claims(block))
        except InvalidInput as error:
            raise InvalidInput(f"block {height}, {block.hash.hex()[:16]}, breaks a rule: {error}") from error
        marks.pass_by(state)
        progress(height)
    found = snapshot_id(state)
    if found != snapshot_id(disk.state):
        raise InvalidInput(f"the blocks lead to another state at height {state.height} than the node holds")
    return Verified(state.height, marks.compared, found)


class _Marks:
    """States that the chain or the disk names, compared as they are passed."""

    def __init__(self, disk: Disk) -> None:
        self._interval = disk.spec.params.checkpoint_blocks
        held = snapshot.decode(disk.snapshot) if disk.snapshot is not None else None
        self._held = (held.height, snapshot_id(held)) if held is not None else None
        self._seen: dict[Hash32, BlobId] = {}
        self.compared = 0

    def pass_by(self, state: State) -> None:
        if state.height % self._interval == 0:
            self._seen[state.tip] = snapshot_id(state)
        if self._held is not None and state.height == self._held[0]:
            self._compare(state.height, self._held[1], snapshot_id(state), "the snapshot on disk")
        checkpoint = state.checkpoint
        if checkpoint.block in self._seen:
            found = self._seen.pop(checkpoint.block)
            self._compare(checkpoint.height, checkpoint.snapshot, found, "the checkpoint")

    def _compare(self, height: int, said: BlobId, found: BlobId, what: str) -> None:
        if said != found:
            raise InvalidInput(f"{what} at height {height} is of another state than the blocks lead to")
        self.compared += 1


def _claims(block: Block) -> fraud.Judgements:
    proofs = (tx.data for tx in block.transactions if isinstance(tx.data, FraudProof))
    return {p.block: fraud.Judgement(p.height, p.ticket, p.found, "as its proof says") for p in proofs}
