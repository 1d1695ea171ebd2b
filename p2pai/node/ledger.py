"""The node's copy of the chain: takes blocks and transactions from remotes, keeps up with them.

Source: PROTOCOL sections 8, 9, 13.
"""

from collections import deque
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from p2pai.chain import headers, transition, work
from p2pai.chain.block import HEADER_SIZE, Block, Header, read_front
from p2pai.chain.committee import Certified
from p2pai.chain.fork_choice import Switch
from p2pai.chain.fraud import Unjudged
from p2pai.chain.mempool import Mempool
from p2pai.chain.orphans import Orphans
from p2pai.chain.params import Params, future_time_s_max
from p2pai.chain.spec import ChainSpec
from p2pai.chain.state import State
from p2pai.chain.transaction import VERSION, Coinbase, FraudProof, PayForTask, Transaction, check_form
from p2pai.chain.votes import CheckpointVote
from p2pai.effects import Verdict
from p2pai.gossip import sync
from p2pai.gossip.limits import BODY_SIZE_MAX
from p2pai.node.archive import Archive
from p2pai.node.keeping import Keeping
from p2pai.node.services import Services
from p2pai.node.syncing import Syncing
from p2pai.primitives.errors import InvalidBlock, InvalidInput, InvalidProof, Unavailable
from p2pai.primitives.ids import Hash32, Millis, Outpoint, PeerId, TaskId

SYNC_MS: Final = Millis(3_000)
"""Between questions to one remote after another whether they know more blocks."""

ANNOUNCED_MAX: Final = 64
"""Blocks that were announced to us and are not connected yet."""

CERTIFIED_MAX: Final = 4 * sync.BODIES_MAX
"""Blocks whose certificates were checked before they are connected: of a few answers that wait."""


@dataclass(frozen=True, slots=True)
class _Verified:
    """What of a block was checked before."""

    waiting: Container[Hash32]
    certified: Container[Certified]

    def __contains__(self, name: object) -> bool:
        return name in self.waiting or name in self.certified


@dataclass(frozen=True, slots=True)
class _TemplateKey:
    tip: Hash32
    pool_version: int
    time_s: int
    task: TaskId
    ticket: Outpoint


class Ledger:
    """Block tree and mempool, and how they follow the network."""

    def __init__(
        self,
        spec: ChainSpec,
        services: Services,
        archive: Archive,
        publish: Callable[[str, bytes], None],
        changed: Callable[[Switch], None],
        voted: Callable[[CheckpointVote], None],
        unjudged: Callable[[Hash32, Transaction | None], None],
    ) -> None:
        self.spec, self._services, self._publish, self._changed = spec, services, publish, changed
        self._voted = voted
        """Is told each vote on a checkpoint that comes along, valid or not."""
        self._unjudged = unjudged
        """Is told of a block that has to be replayed, for this transaction's sake or (None) for a block's."""
        self.keeping = Keeping(spec, services, archive)
        self.tree = self.keeping.tree
        self.mempool = Mempool(self.tree.state, self.params, self.tree.judged)
        self.pool_version = 0
        self.orphans = Orphans()
        self._definitions: dict[TaskId, list[Header]] = {}
        """Headers of the blocks, of whatever fork, that hold a task's submission."""
        self.announced: dict[Hash32, None] = {}
        """Blocks too large for gossip that we heard of, to announce them when they are here."""
        self.certified: dict[Certified, None] = {}
        """What `prepare` found."""
        self._turn = 0
        self.syncing = Syncing(self, services, spec.params)
        self.discarded: dict[str, int] = {}
        """Why blocks of our own were refused, and how often; empty unless something is wrong here."""
        self._template: tuple[_TemplateKey, tuple[Header, tuple[Transaction, ...]]] | None = None

    @property
    def state(self) -> State:
        """The ledger at the tip."""
        return self.tree.state

    @property
    def params(self) -> Params:
        """Under which the block after the tip is made."""
        return self.spec.params_at(self.state.height + 1)

    # --- blocks

    def restore(self, snapshot: bytes | None, blocks: tuple[bytes, ...]) -> None:
        """Go on from what the disk has."""
        for block in self.keeping.restore(snapshot, blocks):
            self._note_transactions(block)
        self._forget_tasks()
        self.mempool = Mempool(self.tree.state, self.params, self.tree.judged)

    def begin_at(self, block: Block, state: State) -> None:
        """Begin anew at a final block whose ledger came from others."""
        self.keeping.adopt(block, state)
        self.mempool = Mempool(state, self.params, self.tree.judged)
        self.pool_version += 1
        self.syncing.is_paused = False

    def hear_block(self, remote: PeerId, data: bytes) -> Verdict:
        """Take a block from gossip.

        Raises:
          InvalidInput: malformed, or it breaks a rule.
        """
        if len(data) == HEADER_SIZE:
            return self._hear_header(remote, Header.decode(data))
        block = Block.decode(data, self.mempool.by_wtxid)
        if block.hash in self.tree or self.tree.is_condemned(block.header):
            return Verdict.IGNORE
        try:
            self._connect(block)
        except Unavailable:
            if remote in self._services.remotes:
                self.syncing.ask(remote)
            return Verdict.IGNORE
        return Verdict.ACCEPT

    def _hear_header(self, remote: PeerId, header: Header) -> Verdict:
        """Ask for the block, too large for gossip, that a remote announces by its header.

        The announcement is never passed on: who hears it would ask us for what we don't have yet. We announce
        the block ourselves when it is connected.

        Raises:
          InvalidBlock: no block can have this header.
        """
        known = header.hash in self.tree or self.tree.is_condemned(header)
        if known or remote not in self._services.remotes:
            return Verdict.IGNORE
        parent = self.tree.get(header.prev)
        if parent is not None:
            headers.extend(headers.lineage(parent.state), header, self.spec.params)
            self.announced[header.hash] = None
            _trim(self.announced, ANNOUNCED_MAX)
        self.syncing.announced(remote, header)
        return Verdict.IGNORE

    def submit(self, block: Block) -> None:
        """Connect a block of our own, and announce it when it is durable; nothing if the rules refuse it."""
        try:
            self._connect(block, lambda: self._announce(block))
        except (InvalidInput, Unavailable) as error:
            self.discarded[str(error)] = self.discarded.get(str(error), 0) + 1

    def _announce(self, block: Block) -> None:
        whole = block.size <= BODY_SIZE_MAX
        self._publish("block", block.encoded if whole else block.header.encode())

    def prepare(self, datas: Iterable[bytes]) -> None:
        """Check the slot certificates of blocks that came together at once, before each is connected.

        Raises:
          InvalidInput: one of them is malformed.
        """
        found = work.verify_together([read_front(data) for data in datas], self.state)
        self.certified.update(dict.fromkeys(found))
        _trim(self.certified, CERTIFIED_MAX)

    def connect(self, data: bytes) -> None:
        """Connect a block that a remote was asked for.

        Raises:
          InvalidInput: malformed, or it breaks a rule.
          Unavailable: its parent is not here, or it comes from the future.
        """
        block = Block.decode(data, self.mempool.by_wtxid)
        self._connect(block, lambda: self._announce(block) if block.hash in self.announced else None)

    def check_time(self, header: Header) -> None:
        """Leave a block from the future for later.

        Raises:
          Unavailable: by our clock, it is.
        """
        headers.check_time(header, self._services.now_ms // 1000, future_time_s_max(self.spec.params))

    def _connect(self, block: Block, then: Callable[[], None] = lambda: None) -> None:
        self.check_time(block.header)
        try:
            switch = self.tree.add(block, verified=_Verified(self.mempool.by_wtxid, self.certified))
        except Unjudged as error:
            self._unjudged(error.block, None)
            raise
        self._note_transactions(block)
        self.keeping.keep(block.hash, then)
        self._follow(switch)

    def _follow(self, switch: Switch) -> None:
        if self.keeping.settle():
            self._forget_tasks()
        if switch.left or switch.joined:
            self._rebase(switch)
            self._tell(switch)

    def _rebase(self, switch: Switch) -> None:
        self.mempool.params = self.params
        self.mempool.rebase(self.tree.state, switch.left)

    def _tell(self, switch: Switch) -> None:
        self._retry(self.orphans.woken_at(self.state))
        self.pool_version += 1
        self._changed(switch)

    def _note_transactions(self, block: Block) -> None:
        for tx in block.transactions:
            if isinstance(tx.data, PayForTask):
                known = self._definitions.setdefault(TaskId(tx.txid), [])
                if block.header not in known:
                    known.append(block.header)
            elif isinstance(tx.data, CheckpointVote):
                self._voted(tx.data)

    def _forget_tasks(self) -> None:
        """Keep headers only of blocks that may still be in another place on another fork."""
        final = self.tree.root.state.tasks
        for task, found in list(self._definitions.items()):
            known = [header for header in found if header.hash in self.tree]
            if known and task not in final:
                self._definitions[task] = known
            else:
                del self._definitions[task]

    def definition_block(self, task: TaskId) -> Hash32:
        """Return the oldest block of all forks with a task's submission; of equals the lowest hash.

        Source: PoUW Appendix B.
        """
        if task not in self._definitions:
            return self.tree.root.state.tasks[task].definition_block  # there is no other fork any more
        return min(self._definitions[task], key=lambda header: (header.time, header.hash)).hash

    # --- keeping up

    def keep_up(self) -> None:
        """Ask one remote after another whether it knows more blocks."""
        remote = self._services.next_remote(self._turn)
        self._turn += 1
        if remote is not None:
            self.syncing.ask(remote)
        self._services.set_timer("sync", SYNC_MS, self.keep_up)

    def answer_headers(self, question: sync.AskHeaders) -> sync.Headers:
        """Answer a remote that keeps up with us."""
        found = self.keeping.headers_after(question.locator[: sync.LOCATOR_MAX], sync.HEADERS_MAX)
        return sync.Headers(b"".join(header.encode() for header in found))

    def answer_bodies(self, question: sync.AskBodies) -> sync.Blocks:
        """Give a remote the blocks that it asks for."""
        known = map(self.keeping.encoded, question.blocks[: sync.BODIES_MAX])
        return sync.Blocks(sync.fitting(data for data in known if data is not None))

    # --- transactions

    def hear_transaction(self, data: bytes) -> Verdict:
        """Take a transaction from gossip; one that only our state refuses is kept for a while.

        Raises:
          InvalidInput: malformed.
        """
        tx = Transaction.decode(data)
        check_form(tx)
        if tx.txid in self.mempool or tx.wtxid in self.orphans:
            return Verdict.IGNORE
        if isinstance(tx.data, CheckpointVote):
            self._voted(tx.data)
        self._refuse_false_accusation(tx)
        if not self._admit(tx):
            return Verdict.IGNORE
        self._retry(self.orphans.woken_by(tx))
        return Verdict.ACCEPT

    def _refuse_false_accusation(self, tx: Transaction) -> None:
        judgement = self.tree.judged.get(tx.data.block) if isinstance(tx.data, FraudProof) else None
        if judgement is not None and not judgement.reason:
            raise InvalidProof("the block that the proof accuses gives what its miner recorded")

    def admit(self, tx: Transaction) -> None:
        """Put a transaction into the pool; for one that proves a block false, leave that block first.

        Raises:
          InvalidInput: the tip does not allow it.
          Unjudged: it accuses a block that has to be replayed first.
        """
        if isinstance(tx.data, FraudProof) and self.tree.may_leave(tx.data.block):
            best = self.tree.without(tx.data.block).state
            params = self.spec.params_at(best.height + 1)
            transition.apply_transaction(best, tx, params, judged=self.tree.judged)
            switch = self.tree.convict(tx.data.block)
            self._rebase(switch)
            # Where it pays too little to wait here, it has convicted all the same, and must convince others:
            # else who sends it to some nodes alone parts the network.
            with suppress(InvalidInput):
                self.mempool.add(tx)
            self._tell(switch)
        else:
            self.mempool.add(tx)
            self.pool_version += 1

    def pass_on(self, tx: Transaction) -> None:
        """Announce somebody's transaction that we can judge by now."""
        self._publish("tx", tx.encoded)

    def _admit(self, tx: Transaction) -> bool:
        try:
            self.admit(tx)
        except Unjudged as error:
            self._unjudged(error.block, tx)
            return False
        except InvalidProof:
            self.orphans.remove(tx)  # nothing that comes makes a wrong signature right
            return False
        except Unavailable:
            return False
        except InvalidInput:
            self.orphans.keep(tx, self.mempool.missing(tx))
            return False
        self.orphans.remove(tx)
        return True

    def _retry(self, orphans: list[Transaction]) -> None:
        """Try orphans again, and those that wait for them."""
        waiting = deque(orphans)
        while waiting:
            tx = waiting.popleft()
            if tx.wtxid in self.orphans and self._admit(tx):
                self._publish("tx", tx.encoded)
                waiting.extend(self.orphans.woken_by(tx))

    def forget_orphans(self) -> None:
        """Drop the older half of what still does not fit, so that junk can't stay."""
        self.orphans.forget_older_half()

    # --- making blocks

    def template(self, task: TaskId, ticket: Outpoint) -> tuple[Header, tuple[Transaction, ...]] | None:
        """Return a block to commit to: header with zero nonce, and its transactions."""
        time_s = self._services.now_ms // 1000
        key = _TemplateKey(self.state.tip, self.pool_version, time_s, task, ticket)
        if self._template is None or self._template[0] != key:
            made = self._make_template(task, ticket, time_s)
            if made is None:
                return None
            self._template = (key, made)
        return self._template[1]

    def _make_template(
        self, task: TaskId, ticket: Outpoint, time_s: int
    ) -> tuple[Header, tuple[Transaction, ...]] | None:
        filled = self.mempool.fill()
        coinbase = Coinbase(self.state.height + 1, task, ticket)
        try:
            _, outputs = transition.coinbase_outputs(filled.state, coinbase, filled.fees, self.params)
        except InvalidBlock:
            return None
        transactions = (Transaction(VERSION, (), outputs, coinbase), *filled.transactions)
        return transition.zero_nonce_header(self.state, transactions, time_s, self.params), transactions


def _trim(names: dict[Any, None], count: int) -> None:
    """Forget the oldest beyond `count`."""
    for name in list(names)[:-count]:
        del names[name]
