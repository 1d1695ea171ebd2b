"""Every block of a simulated world: who had it when, what verifiers said of it, whose money moved in it."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from p2pai import effects
from p2pai.chain import block as blocks
from p2pai.chain.fork_choice import BlockTree
from p2pai.chain.state import State
from p2pai.chain.transaction import Coinbase, JoinTask, VerifyReveal
from p2pai.node.archive import read_kept
from p2pai.primitives.ids import Hash32, KeyHash, Outpoint, PeerId
from testnet.outcome import Approval, Block, Reorganisation
from testnet.simulator.flows import Flows, flows_of


@dataclass(slots=True)
class _Known:
    block: blocks.Block
    height: int
    miner: KeyHash
    seen: dict[str, int]
    """When each node had it, milliseconds of the world."""
    verifiers: tuple[Outpoint, ...] = ()
    """Tickets that were drawn."""
    flows: Flows = field(default_factory=Counter)


class Chains:
    """All blocks that any node connected, and how the nodes' tips moved over them."""

    def __init__(self, genesis: State, names: Mapping[KeyHash, str], start_ms: int) -> None:
        self._genesis, self._names, self._start_ms = genesis.tip, names, start_ms
        self._owners = {ticket: known.key_hash for ticket, known in genesis.tickets.items()}
        """Of all tickets that ever did anything."""
        self._known: dict[Hash32, _Known] = {}
        self._tips: dict[PeerId, Hash32] = {}
        self._reveals: dict[Hash32, dict[Outpoint, tuple[bool, int]]] = {}
        """By block and ticket: what was said of it, and when."""
        self.reorganisations: list[Reorganisation] = []

    def name_of(self, owner: KeyHash) -> str:
        """Return the node that an account belongs to; `others` for all who run no node here."""
        return self._names.get(owner, "others")

    def owner_of(self, ticket: Outpoint) -> str:
        """Return the node that a ticket belongs to, also when the ticket is gone."""
        owner = self._owners.get(ticket)
        return "others" if owner is None else self.name_of(owner)

    # --- as it happens

    def begin(self, node: PeerId, tip: Hash32) -> None:
        """Take note of a node that starts: what its disk lost is no reorganisation."""
        self._tips[node] = tip

    def store(self, node: PeerId, effect: effects.StoreBlock, tree: BlockTree, now_ms: int) -> None:
        """Take note of a block that a node connected."""
        known = self._known.get(effect.block_hash)
        if known is None:
            known = self._known[effect.block_hash] = self._meet(effect, tree)
        known.seen.setdefault(node, now_ms - self._start_ms)

    def _meet(self, effect: effects.StoreBlock, tree: BlockTree) -> _Known:
        kept = read_kept(effect.body)
        branch = tree.get(effect.block_hash)
        block = branch.block if branch else blocks.Block.decode(kept.block)
        known = _Known(block, effect.height, kept.miner, {})
        parent = tree.get(block.header.prev)
        if branch and parent:
            self._look_into(known, parent.state, branch.state)
        return known

    def _look_into(self, known: _Known, before: State, after: State) -> None:
        known.flows = flows_of(before, known.block, after)
        for tx in known.block.transactions:
            if isinstance(tx.data, JoinTask) and tx.data.ticket in after.tickets:
                self._owners[tx.data.ticket] = after.tickets[tx.data.ticket].key_hash
        known.verifiers = after.verifications[known.block.hash].verifiers
        self._owners.update({ticket: after.tickets[ticket].key_hash for ticket in known.verifiers})

    def reveal(self, said: VerifyReveal, now_ms: int) -> None:
        """Take note of a verdict in the open."""
        known = self._reveals.setdefault(said.block, {})
        known.setdefault(said.ticket, (said.approved, now_ms - self._start_ms))

    def move(self, node: PeerId, tip: Hash32, now_ms: int) -> None:
        """Take note of a node's tip."""
        old = self._tips.get(node)
        if old == tip:
            return
        self._tips[node] = tip
        if old is None or self._prev(tip) == old or not self._are_known(old, tip):
            return
        depth, fork = self._fork(old, tip)
        if depth:
            at_ms = now_ms - self._start_ms
            self.reorganisations.append(Reorganisation(node, at_ms, depth, self._height(fork)))

    def _are_known(self, *names: Hash32) -> bool:
        """Whether all lines down to genesis are known: not of who began at a snapshot."""
        return all(deque(self.line(name), maxlen=1)[0] == self._genesis for name in names)

    def _prev(self, block: Hash32) -> Hash32 | None:
        known = self._known.get(block)
        return known.block.header.prev if known else None

    def _fork(self, old: Hash32, new: Hash32) -> tuple[int, Hash32]:
        """Return how many blocks of `old` are not of `new`, and the last that both have."""
        left, right = old, new
        depth = 0
        while left != right:
            if self._height(left) >= self._height(right):
                left, depth = self._known[left].block.header.prev, depth + 1
            else:
                right = self._known[right].block.header.prev
        return depth, left

    def _height(self, block: Hash32) -> int:
        return self._known[block].height if block in self._known else 0

    def line(self, tip: Hash32) -> Iterator[Hash32]:
        """Yield a block and all below it, down to genesis or where what is known ends."""
        name: Hash32 | None = tip
        while name is not None:
            yield name
            name = self._prev(name)

    # --- in the end

    def blocks(self, tip: Hash32) -> tuple[Block, ...]:
        """Return all blocks, of which those that `tip` builds on are the best chain."""
        best = dict.fromkeys(self.line(tip))
        included = self._included(best)
        found = [self._block(name, known, name in best, included) for name, known in self._known.items()]
        return tuple(sorted(found, key=lambda block: (block.height, block.found_ms, block.hash)))

    def _included(self, best: Mapping[Hash32, None]) -> dict[tuple[Hash32, Outpoint], tuple[int, bool]]:
        chosen = (self._known[name] for name in best if name in self._known)
        return {
            (tx.data.block, tx.data.ticket): (known.height, tx.data.approved)
            for known in chosen
            for tx in known.block.transactions
            if isinstance(tx.data, VerifyReveal)
        }

    def _block(
        self,
        name: Hash32,
        known: _Known,
        is_best: bool,  # noqa: FBT001
        included: Mapping[tuple[Hash32, Outpoint], tuple[int, bool]],
    ) -> Block:
        coinbase = known.block.transactions[0].data
        assert isinstance(coinbase, Coinbase)
        return Block(
            hash=name.hex(),
            prev=known.block.header.prev.hex(),
            height=known.height,
            miner=self.name_of(known.miner),
            task=coinbase.task.hex(),
            time_ms=known.block.header.time * 1000 - self._start_ms,
            seen_ms=dict(known.seen),
            is_best=is_best,
            size_bytes=known.block.size,
            transactions=len(known.block.transactions),
            drawn=len(known.verifiers),
            approvals=tuple(self._approvals(name, known, included)),
        )

    def _approvals(
        self, name: Hash32, known: _Known, included: Mapping[tuple[Hash32, Outpoint], tuple[int, bool]]
    ) -> Iterator[Approval]:
        said = self._reveals.get(name, {})
        for ticket in known.verifiers:
            height, approved = included.get((name, ticket), (None, None))
            verdict, at_ms = said.get(ticket, (approved, None))
            if verdict is not None:
                yield Approval(self.owner_of(ticket), verdict, at_ms, height)

    def flows(self, tip: Hash32) -> Flows:
        """Return what moved in all blocks that `tip` builds on."""
        total: Flows = Counter()
        for name in self.line(tip):
            if name in self._known:
                total.update(self._known[name].flows)
        return total

    def found_ms(self, tip: Hash32) -> dict[int, int]:
        """Return when the blocks that `tip` builds on were found, by height; genesis at the beginning."""
        line = [self._known[name] for name in self.line(tip) if name in self._known]
        return {0: 0} | {known.height: min(known.seen.values()) for known in line}
