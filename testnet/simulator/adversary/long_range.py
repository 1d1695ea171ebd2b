"""A secret chain from long ago, heavier than everybody's, shown to all at once.

Its makers hold the keys of all that worked then. They wait until there is a checkpoint, forge a history that
forks off below it, or at genesis, until it weighs more, then announce its blocks and offer its headers and
bodies to whoever asks, whatever was asked.

Source: PoUW §7.3, "Long-range attacks"; RELIABILITY (2), "long-range, deep fork".
"""

from collections.abc import Sequence
from typing import ClassVar, Final

from p2pai import effects, events
from p2pai.chain.block import Block
from p2pai.chain.genesis import predefined_task_id
from p2pai.chain.spec import dev_account_seed
from p2pai.chain.state import State
from p2pai.chain.transaction import Coinbase
from p2pai.effects import Effect
from p2pai.events import Event
from p2pai.gossip import sync
from p2pai.gossip.topics import Topic
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import Hash32
from p2pai.primitives.keys import derive_keys
from testnet.scenario import adversaries
from testnet.simulator.adversary.base import Restless
from testnet.simulator.adversary.forger import Forger
from testnet.simulator.adversary.forging import say

BLOCKS_MAX: Final = 1_000
"""Of one secret chain: with ever shorter spacing it weighs more than enough long before."""

SAID_AT_ONCE: Final = 8
"""Blocks announced in one beat."""


class LongRange(Restless):
    """See the module."""

    EVERY_MS: ClassVar[int] = 1_000
    plan: adversaries.LongRange

    @property
    def secret(self) -> list[Block]:
        """The chain of the crew, oldest first; empty before there is one."""
        made: list[Block] = self.setting.shared.setdefault("chain", [])
        return made

    def beat(self) -> Sequence[Effect]:
        """Forge the chain when the time has come; then announce it, again and again."""
        if not self.secret and self.core.state.checkpoint.height:
            self.secret.extend(self._forge())
        said: int = self.setting.shared.get("said", 0)
        blocks = self.secret[said : said + SAID_AT_ONCE]
        self.setting.shared["said"] = (said + len(blocks)) % max(len(self.secret), 1)
        return [self._announce(block) for block in blocks]

    def _announce(self, block: Block) -> Effect:
        self.setting.did()
        return say(self.core, Topic(self.core.spec.short_id, None, "block"), block.encoded)

    # --- the forged history

    def _forge(self) -> list[Block]:
        core, spec = self.core, self.core.spec
        keys = (derive_keys(dev_account_seed(spec.name, n)) for n in range(spec.dev_accounts))
        pattern = self._pattern()
        assert pattern.work_proof is not None
        author = core.state.tickets[pattern.work_proof.ticket]
        forger = Forger(keys, spec.params, pattern, author)
        wanted = core.state.weight * self.plan.weight_percent // 100
        blocks: list[Block] = []
        for forged in forger.history(self._fork_point(), self.plan.spacing_s):
            blocks.append(forged.block)
            is_heavier = forged.state.weight > wanted and forged.state.height > core.state.height
            if is_heavier or len(blocks) >= BLOCKS_MAX:
                return blocks
        raise AssertionError("unreachable")

    def _pattern(self) -> Block:
        """Return a real block of the first predefined task."""
        tree, task = self.core.ledger.tree, predefined_task_id(self.core.spec, 0)
        for height in range(1, self.core.state.height + 1):
            block = tree.block_at(height)
            coinbase = block.transactions[0].data if block else None
            if block is not None and isinstance(coinbase, Coinbase) and coinbase.task == task:
                return block
        raise AssertionError("the chain has no block of its predefined task")

    def _fork_point(self) -> State:
        if self.plan.fork == "genesis":
            return self.core.ledger.keeping.genesis
        below = self.core.ledger.tree.hash_at(self.core.state.checkpoint.height - 1)
        assert below is not None
        return self.core.ledger.keeping.state_after(below)

    # --- offering it

    def react(self, event: Event, now_ms: int) -> Sequence[Effect]:
        """Answer questions about the chain from the secret one; be honest in all else."""
        reaction = self.core.handle(event, now_ms)
        if not self.secret or not isinstance(event, events.Asked):
            return reaction
        reply = self._reply(event.body)
        if reply is None:
            return reaction
        self.setting.did()
        return [effects.Answer(event.request, record.encode_tagged(reply))]

    def _reply(self, question: bytes) -> sync.Reply | None:
        try:
            asked = sync.read_question(question)
        except InvalidInput:
            return None
        if isinstance(asked, sync.AskHeaders):
            return self._headers(asked.locator)
        known = {block.hash: block.encoded for block in self.secret}
        if isinstance(asked, sync.AskBodies) and any(name in known for name in asked.blocks):
            return sync.Blocks(sync.fitting(known[name] for name in asked.blocks if name in known))
        return None

    def _headers(self, locator: tuple[Hash32, ...]) -> sync.Headers:
        """Return what follows the first hash that is on the secret chain, or all of it."""
        parents = [block.header.prev for block in self.secret]
        start = next((parents.index(name) for name in locator if name in parents), 0)
        blocks = self.secret[start : start + sync.HEADERS_MAX]
        return sync.Headers(b"".join(block.header.encode() for block in blocks))
