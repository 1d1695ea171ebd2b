"""Remotes that say or ask far more than anybody has to say, of ever the same kind.

    junk        bytes that are no message of ours
    forged      messages whose signature does not hold
    giant       messages longer than any may be
    repeated    one good message, again and again under new numbers
    topics      every message on a topic of its own, which the remote follows, too
    valid       payments to itself that are all in order
    questions   for all headers from genesis on, of everybody, without end

Source: RELIABILITY (2), "DoS".
"""

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Final

from p2pai import effects, events
from p2pai.chain.genesis import genesis_block
from p2pai.chain.transaction import Pay, Transfer
from p2pai.effects import Effect
from p2pai.events import Event
from p2pai.gossip import sync
from p2pai.gossip.limits import GOSSIP_SIZE_MAX
from p2pai.gossip.topics import Topic
from p2pai.primitives import record
from p2pai.primitives.ids import Amount, Hash32, TaskId
from testnet.scenario import adversaries
from testnet.simulator.adversary.base import Restless
from testnet.simulator.adversary.forging import say

BEATS_PER_S: Final = 10

JUNK_SIZE: Final = 200

REQUESTS_FROM: Final = 1 << 40
"""Of the numbers of its own questions, so that its core never uses them."""

GIANT: Final = bytes(GOSSIP_SIZE_MAX + 1)


class Flood(Restless):
    """See the module."""

    EVERY_MS: ClassVar[int] = 1_000 // BEATS_PER_S
    plan: adversaries.Flood
    _asked = REQUESTS_FROM

    def beat(self) -> Sequence[Effect]:
        """Say a tenth of what it says in a second."""
        made: list[Effect] = []
        for _ in range(self.plan.per_s // BEATS_PER_S):
            said = list(_KINDS[self.plan.what](self))
            made += said
            if said:
                self.setting.did()
        return made

    def react(self, event: Event, now_ms: int) -> Sequence[Effect]:
        """Be honest, but for answers to its own questions."""
        if isinstance(event, events.Answered) and event.request >= REQUESTS_FROM:
            return ()
        if isinstance(event, events.Received):
            self.setting.shared.setdefault("heard", event)
        return self.core.handle(event, now_ms)

    def junk(self) -> Iterator[Effect]:
        """Yield bytes that are no message."""
        yield effects.Publish(self._topic("tx"), self.setting.dice.randbytes(JUNK_SIZE))

    def forged(self) -> Iterator[Effect]:
        """Yield a message with another signature than its own."""
        topic = Topic(self.core.spec.short_id, None, "tx")
        sealed = bytearray(say(self.core, topic, self.setting.dice.randbytes(JUNK_SIZE)).data)
        sealed[-1] ^= 1
        yield effects.Publish(str(topic), bytes(sealed))

    def giant(self) -> Iterator[Effect]:
        """Yield a message of too many bytes."""
        yield effects.Publish(self._topic("block"), GIANT)

    def repeated(self) -> Iterator[Effect]:
        """Yield the first message that the crew heard."""
        heard = self.setting.shared.get("heard")
        if heard is not None:
            yield effects.Publish(heard.topic, heard.data)

    def topics(self) -> Iterator[Effect]:
        """Yield a topic of a task that there is not, and something to say on it."""
        task = TaskId(Hash32(self.setting.dice.randbytes(32)))
        topic = str(Topic(self.core.spec.short_id, task, "it_res"))
        yield effects.Join(topic)
        yield effects.Publish(topic, self.setting.dice.randbytes(JUNK_SIZE))

    def valid(self) -> Iterator[Effect]:
        """Yield what the core does about a payment to itself."""
        self.core.post(Transfer(), (Pay(Amount(1_000), self.core.identity.key_hash),))
        yield from self.core.take_effects()

    def questions(self) -> Iterator[Effect]:
        """Yield a question to each remote."""
        asked = record.encode_tagged(sync.AskHeaders((genesis_block(self.core.spec).hash,)))
        for remote in self.core.remotes:
            self._asked += 1
            yield effects.Ask(self._asked, remote, asked)

    def _topic(self, name: str) -> str:
        return str(Topic(self.core.spec.short_id, None, name))


_KINDS: Final[dict[str, Callable[[Flood], Iterator[Effect]]]] = {
    "junk": Flood.junk,
    "forged": Flood.forged,
    "giant": Flood.giant,
    "repeated": Flood.repeated,
    "topics": Flood.topics,
    "valid": Flood.valid,
    "questions": Flood.questions,
}
"""By the word that a scenario has for `what`."""
