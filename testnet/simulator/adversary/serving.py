"""Remotes that answer what a node asks about the chain as no honest one does, each with one vice.

    silent           never answers
    slow             right, and nearly as late as anybody waits
    garbage          bytes that are no answer
    giant            an answer longer than any may be
    floating         headers that follow nothing that was asked for
    endless          headers that hold, as many as one likes; bodies there are none
    bodiless         headers without bodies
    substituting     bodies of other blocks
    spoiling         bodies that break a rule

Source: RELIABILITY (1), L5: "from one honest remote among 8 hostile ones".
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any, Final

from p2pai import effects, events
from p2pai.chain import headers
from p2pai.chain.block import VERSION, Header
from p2pai.effects import Effect
from p2pai.events import Event
from p2pai.gossip import sync
from p2pai.gossip.limits import ANSWER_SIZE_MAX
from p2pai.node.core import NodeCore
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import ZERO_HASH, Hash32
from testnet.scenario import adversaries
from testnet.simulator.adversary.base import Adversary, Setting, timer

LATE_MS: Final = 9_000
"""A second less than a question waits for its answer (world.py, ASK_MS_MAX)."""


Lie = Callable[[NodeCore, Any], bytes | None]
"""Makes of a question the answer to it; nothing is answered for None."""


class BadAnswers(Adversary):
    """See the module."""

    plan: adversaries.BadAnswers

    def __init__(self, plan: adversaries.BadAnswers, core: NodeCore, setting: Setting) -> None:
        super().__init__(plan, core, setting)
        self._late: dict[str, Sequence[Effect]] = {}

    def act(self, event: Event, now_ms: int) -> Sequence[Effect]:
        """Answer as the vice says what is asked about the chain; be honest in all else."""
        if isinstance(event, events.TimerFired) and event.name in self._late:
            return self._late.pop(event.name)
        honest = self.core.handle(event, now_ms)
        question = _question(event)
        if not isinstance(event, events.Asked) or question is None:
            return honest
        if self.plan.vice == "slow":
            return self._delay(event.request, honest)
        lie = VICES[self.plan.vice].get(type(question))
        return honest if lie is None else self._lie(event.request, lie(self.core, question))

    def _lie(self, request: int, reply: bytes | None) -> Sequence[Effect]:
        self.setting.did()
        return () if reply is None else [effects.Answer(request, reply)]

    def _delay(self, request: int, honest: Sequence[Effect]) -> Sequence[Effect]:
        self.setting.did()
        waiting = timer(f"late {request}", LATE_MS)
        self._late[waiting.name] = honest
        return [waiting]


def _question(event: Event) -> sync.AskHeaders | sync.AskBodies | None:
    try:
        asked = sync.read_question(event.body) if isinstance(event, events.Asked) else None
    except InvalidInput:
        return None
    return asked if isinstance(asked, sync.AskHeaders | sync.AskBodies) else None


def _nothing(core: NodeCore, asked: object) -> None:
    del core, asked


def _garbage(core: NodeCore, asked: object) -> bytes:
    del core, asked
    return b"\xff" * 1_000


def _giant(core: NodeCore, asked: object) -> bytes:
    del core, asked
    return bytes(ANSWER_SIZE_MAX + 1)


def _floating(core: NodeCore, asked: sync.AskHeaders) -> bytes:
    del asked
    stray = replace(core.ledger.tree.root.block.header, prev=_invented(0))
    return record.encode_tagged(sync.Headers(stray.encode()))


def _substituted(core: NodeCore, asked: sync.AskBodies) -> bytes | None:
    blocks = (core.ledger.tree.block_at(height) for height in range(1, core.state.height + 1))
    other = next((b.encoded for b in blocks if b is not None and b.hash not in asked.blocks), None)
    return None if other is None else record.encode_tagged(sync.Blocks((other,)))


def _spoilt(core: NodeCore, asked: sync.AskBodies) -> bytes:
    blocks = (core.ledger.tree.block(name) for name in asked.blocks)
    proofs = ((b, replace(b.work_proof, batch_path=())) for b in blocks if b is not None and b.work_proof)
    spoilt = (replace(block, work_proof=proof).encoded for block, proof in proofs)
    return record.encode_tagged(sync.Blocks(sync.fitting(spoilt)))


def _endless(core: NodeCore, asked: sync.AskHeaders) -> bytes | None:
    """Return a full answer, on top of the last one, or of what the asker has final."""
    line = _ENDS.get(asked.locator[0])
    if line is None:
        root = core.ledger.tree.get(asked.locator[-1])
        if root is None:
            return None
        line = headers.lineage(root.state)
    if (line.tip, core.spec.id) not in _MADE:
        _MADE[line.tip, core.spec.id] = _mine(line, core)
    return record.encode_tagged(sync.Headers(_MADE[line.tip, core.spec.id]))


_MADE: Final[dict[tuple[Hash32, Hash32], bytes]] = {}
"""Endless headers by what they follow, and the chain's id; one for all, since it takes time to make them."""

_ENDS: Final[dict[Hash32, headers.Ancestry]] = {}
"""Where each of them ends."""


def _mine(line: headers.Ancestry, core: NodeCore) -> bytes:
    made = []
    for _ in range(sync.HEADERS_MAX):
        time, bits = line.times[-1] + core.params.spacing_s, headers.next_bits(line, core.params)
        draft = Header(VERSION, line.tip, _invented(0), time, bits, ZERO_HASH, _invented(1), _invented(1))
        tries = (replace(draft, nonce=_invented(number)) for number in count())
        header = next(tried for tried in tries if headers.meets_target(tried))
        line = headers.follow(line, header, header.hash)
        made.append(header.encode())
    _ENDS[line.tip] = line
    return b"".join(made)


def _invented(number: int) -> Hash32:
    return tagged_hash("p2pai/invented", number.to_bytes(8, "big"))


VICES: Final[dict[str, dict[type, Lie]]] = {
    "silent": {sync.AskHeaders: _nothing, sync.AskBodies: _nothing},
    "slow": {},
    "garbage": {sync.AskHeaders: _garbage},
    "giant": {sync.AskHeaders: _giant},
    "floating": {sync.AskHeaders: _floating},
    "endless": {sync.AskHeaders: _endless, sync.AskBodies: _nothing},
    "bodiless": {sync.AskBodies: _nothing},
    "substituting": {sync.AskBodies: _substituted},
    "spoiling": {sync.AskBodies: _spoilt},
}
"""By the word that a scenario has for `vice`: to which question there is which lie."""
