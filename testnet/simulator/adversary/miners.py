"""Miners that did not train what they say, and miners that sell one iteration twice.

Those whose trainers lie let them compute all the same: a map that nobody could replay would only go
unapproved, one that can be replayed is proof against its miner.

Source: PoUW §5, §7.3; RELIABILITY (2), "Byzantine miner".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from p2pai import effects, events, jobs
from p2pai.chain import it_res, message_map, work
from p2pai.chain.block import HEADER_SIZE, Block, Header
from p2pai.chain.headers import meets_target
from p2pai.chain.transaction import Coinbase
from p2pai.effects import Effect
from p2pai.events import Event
from p2pai.gossip.envelope import open_envelope
from p2pai.gossip.topics import Topic, parse
from p2pai.node.core import NodeCore
from p2pai.primitives.ids import Hash32, TaskId
from testnet.scenario import adversaries
from testnet.simulator.adversary import forging
from testnet.simulator.adversary.base import Adversary, Setting
from testnet.simulator.training import Worker

TIMES_TRIED: Final = 32
"""Seconds before now that a forged header may name: more than the median of the last blocks allows."""


class Lying(Adversary):
    """A miner that says something else of its iterations than its trainer."""

    def train(self, job: jobs.Job, worker: Worker) -> jobs.Result:
        result = worker.run(job)
        if not isinstance(job, jobs.Step) or not isinstance(result, jobs.Stepped):
            return result
        lie = self.lie(job, result)
        if lie != result:
            self.setting.did()
        return lie

    def lie(self, job: jobs.Step, result: jobs.Stepped) -> jobs.Stepped:
        """Return what is said in place of a result."""
        del job
        return result


class FakeWork(Lying):
    """Says that it moved a few weights of its choice."""

    def lie(self, job: jobs.Step, result: jobs.Stepped) -> jobs.Stepped:
        del job
        weights = message_map.element_count(result.message_map) + 1
        chosen = sorted(self.setting.dice.sample(range(weights), min(8, weights)))
        payload = b"".join((i | self.setting.dice.getrandbits(1) << 31).to_bytes(4, "big") for i in chosen)
        return replace(result, message_map=bytes((message_map.LIST, len(chosen))) + payload)


class StolenMap(Lying):
    """Says the newest map that it heard of another miner."""

    heard: bytes | None = None

    def act(self, event: Event, now_ms: int) -> Sequence[Effect]:
        if isinstance(event, events.Received) and parse(event.topic).name == "it_res":
            self.heard = it_res.decode(open_envelope(event.data, event.topic).body).message_map
        return self.core.handle(event, now_ms)

    def lie(self, job: jobs.Step, result: jobs.Stepped) -> jobs.Stepped:
        del job
        return result if self.heard is None else replace(result, message_map=self.heard)


class StaleWork(Lying):
    """Says the map of its first iteration again and again."""

    def lie(self, job: jobs.Step, result: jobs.Stepped) -> jobs.Stepped:
        first: bytes = self.setting.shared.setdefault(job.session, result.message_map)
        return replace(result, message_map=first)


class PoisonedGradients(Lying):
    """Says of every weight that moved that it moved the other way."""

    def lie(self, job: jobs.Step, result: jobs.Stepped) -> jobs.Stepped:
        del job
        return replace(result, message_map=turned(result.message_map))


class LazyReplay(Adversary):
    """Applies no peer's update."""

    def train(self, job: jobs.Job, worker: Worker) -> jobs.Result:
        if isinstance(job, jobs.Begin):
            return worker.run(jobs.Begin(replace(job.step, peers=())))
        if not isinstance(job, jobs.Step):
            return worker.run(job)
        if any(message_map.element_count(peer.message_map) for peer in job.peers):
            self.setting.did()
        return worker.run(replace(job, peers=()))


class TwoMessages(Adversary):
    """Says of each iteration something else right after."""

    def act(self, event: Event, now_ms: int) -> Sequence[Effect]:
        return [said for effect in self.core.handle(event, now_ms) for said in self._twice(effect)]

    def _twice(self, effect: Effect) -> Iterator[Effect]:
        yield effect
        heard = forging.body_of(effect, "it_res")
        if heard is not None:
            self.setting.did()
            yield forging.iteration_again(self.core, *heard, finished_s=1)


class ReplayedNonce(Adversary):
    """Grinds headers for the nonces of the block that it mined last, on top of it."""

    def __init__(self, plan: adversaries.Adversary, core: NodeCore, setting: Setting) -> None:
        super().__init__(plan, core, setting)
        self._used: Block | None = None
        self._tip: Hash32 | None = None

    def act(self, event: Event, now_ms: int) -> Sequence[Effect]:
        reaction = list(self.core.handle(event, now_ms))
        for effect in reaction:
            heard = forging.body_of(effect, "block")
            if heard is not None and len(heard[1]) > HEADER_SIZE:
                self._used = Block.decode(heard[1])
        if self._used is not None and self.core.state.tip != self._tip:
            self._tip = self.core.state.tip
            reaction += self._again(self._used)
        return reaction

    def _again(self, used: Block) -> Iterable[effects.Publish]:
        coinbase, proof = used.transactions[0].data, used.work_proof
        assert isinstance(coinbase, Coinbase)
        assert proof is not None
        template = self.core.template(coinbase.task, coinbase.ticket)
        if template is None or not self.core.is_best(used.header.hash):
            return ()
        header, transactions = template
        forged = replace(header, hash_msg=used.header.hash_msg, hash_msg_hist=used.header.hash_msg_hist)
        lucky = next((h for h in self._candidates(forged, coinbase.task, used) if meets_target(h)), None)
        if lucky is None:
            return ()
        self.setting.did()
        topic = Topic(self.core.spec.short_id, None, "block")
        return (forging.say(self.core, topic, Block(lucky, proof, transactions).encoded),)

    def _candidates(self, header: Header, task: TaskId, used: Block) -> Iterator[Header]:
        proof = used.work_proof
        assert proof is not None
        announced = it_res.decode(proof.lucky.message).nonce
        first = it_res.first_nonce(announced, proof.slots[0].root)
        count = work.nonce_count(self.core.state.tasks[task].definition, self.core.params)
        for seconds in range(TIMES_TRIED):
            if header.time - seconds > self.core.state.median_time:
                at = replace(header, time=header.time - seconds)
                yield from (replace(at, nonce=work.nonce_at(first, offset)) for offset in range(count))


def turned(data: bytes) -> bytes:
    """Return a message map with every sign turned round (see chain/message_map.py for the form)."""
    size = next(i for i, octet in enumerate(data[1:], start=1) if octet < 0x80) + 1
    head, payload = data[:size], data[size:]
    if data[0] == message_map.LIST:
        signs = bytes(octet ^ (0x80 if i % 4 == 0 else 0) for i, octet in enumerate(payload))
        return head + signs
    bits = int.from_bytes(payload, "little")
    moved = bits & int.from_bytes(b"\x55" * len(payload), "little")
    return head + (bits ^ moved << 1).to_bytes(len(payload), "little")
