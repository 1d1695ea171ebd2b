"""Attacks on one node, each from connections of its own, run by a process of its own.

    python -m testnet.devnet.hostile IP PORT PEER_ID CHAIN

reads attacks from standard input, one JSON object a line (`{"attack": "forged", "seconds": 10}`, and
`"data"`, hex, where an attack repeats somebody's message), carries each out until the node has dropped it or
the time is over, and writes one JSON object for each: whether and after how many seconds it was `dropped`,
whether it was `refused` when it came again at once, and how much it `sent`. A line with `"attack": "again"`
tells whether the last attacker is let in now.
"""

import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2

from p2pai.gossip.libp2p.reading import with_prefix
from testnet.devnet import enemy
from testnet.devnet.enemy import Enemy, Target

GOSSIP: Final = "/meshsub/1.1.0"
SIGNED_PREFIX: Final = b"libp2p-pubsub:"
PER_FRAME: Final = 32
POLL_S: Final = 0.05
REFUSAL_S: Final = 3.0
"""Seconds in which a node that refuses somebody has closed his connection."""

CONNECTIONS: Final = 2_000


@dataclass(slots=True)
class Attack:
    """What an attack has at hand."""

    target: Target
    data: bytes
    key_pair: Any = field(default_factory=create_new_key_pair)
    numbers: Any = field(default_factory=lambda: count(1))
    sent: int = 0

    @property
    def topic(self) -> str:
        """One that the node follows."""
        return f"/p2pai/{self.target.chain}/chain/tx/1"

    def message(self, data: bytes) -> Any:  # noqa: ANN401
        """Return a new message of our own, signed as libp2p does."""
        made = rpc_pb2.Message(data=data, topicIDs=[self.topic], seqno=next(self.numbers).to_bytes(8, "big"))
        made.from_id = ID.from_pubkey(self.key_pair.public_key).to_bytes()
        made.signature = self.key_pair.private_key.sign(SIGNED_PREFIX + made.SerializeToString())
        return made

    async def say(self, one: Enemy, stream: int, **rpc: Any) -> None:  # noqa: ANN401
        """Send one gossip frame."""
        frame = with_prefix(rpc_pb2.RPC(**rpc).SerializeToString())
        self.sent += len(frame)
        await one.send(stream, frame)


Step = Callable[[Attack, Enemy], Awaitable[None]]


async def garbage(attack: Attack, one: Enemy) -> None:
    """Frames that are none, each on a new stream."""
    while True:
        attack.sent += 6
        await one.send(await one.open(GOSSIP), b"\x05\xff\xff\xff\xff\xff")
        await trio.sleep(POLL_S)


async def oversized(attack: Attack, one: Enemy) -> None:
    """Frames of 100 MiB, and messages larger than gossip carries."""
    while True:
        stream = await one.open(GOSSIP)
        await attack.say(one, stream, publish=[attack.message(bytes(300 << 10))])
        await one.send(stream, b"\x80\x80\x80\x32" + bytes(1000))
        await trio.sleep(POLL_S)


async def slow(attack: Attack, one: Enemy) -> None:
    """Frames that are begun and never ended, a byte a second."""
    stream = await one.open(GOSSIP)
    await one.send(stream, b"\xe8\x07")
    while True:
        await one.send(stream, b".")
        attack.sent += 1
        await trio.sleep(1)


async def topics(attack: Attack, one: Enemy) -> None:
    """Ten thousand topics, well-formed and of this chain, as many in a frame as one may have."""
    stream = await one.open(GOSSIP)
    for first in range(0, 10_000, 250):
        tasks = (f"{number:064x}" for number in range(first, first + 250))
        names = (f"/p2pai/{attack.target.chain}/{task}/it_res/1" for task in tasks)
        options = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid=name) for name in names]
        await attack.say(one, stream, subscriptions=options)
    await trio.sleep_forever()


async def subscriptions(attack: Attack, one: Enemy) -> None:
    """Join and leave a topic without end."""
    stream = await one.open(GOSSIP)
    options = [rpc_pb2.RPC.SubOpts(subscribe=number % 2 == 0, topicid=attack.topic) for number in range(200)]
    while True:
        await attack.say(one, stream, subscriptions=options)


async def duplicates(attack: Attack, one: Enemy) -> None:
    """One message, again and again."""
    stream, message = await one.open(GOSSIP), attack.message(attack.data)
    while True:
        await attack.say(one, stream, publish=[message] * PER_FRAME)


async def replayed(attack: Attack, one: Enemy) -> None:
    """Repeat what somebody else said, as new messages of our own."""
    stream = await one.open(GOSSIP)
    while True:
        await attack.say(one, stream, publish=[attack.message(attack.data) for _ in range(PER_FRAME)])


async def forged(attack: Attack, one: Enemy) -> None:
    """Messages in the names of others."""
    stream = await one.open(GOSSIP)
    while True:
        message = attack.message(attack.data)
        message.from_id = ID.from_pubkey(create_new_key_pair().public_key).to_bytes()
        await attack.say(one, stream, publish=[message])
        await trio.sleep(POLL_S)


async def false(attack: Attack, one: Enemy) -> None:
    """Messages of our own that are no envelopes."""
    stream = await one.open(GOSSIP)
    while True:
        await attack.say(one, stream, publish=[attack.message(b"no envelope")])
        await trio.sleep(POLL_S)


async def crumbs(attack: Attack, one: Enemy) -> None:
    """Frames of eight thousand tiny messages."""
    stream, crumb = await one.open(GOSSIP), rpc_pb2.Message(data=b".")
    while True:
        await attack.say(one, stream, publish=[crumb] * 8_000)


async def control(attack: Attack, one: Enemy) -> None:
    """Grafts, prunes, and offers of messages that don't exist."""
    stream = await one.open(GOSSIP)
    graft, prune = rpc_pb2.ControlGraft(topicID=attack.topic), rpc_pb2.ControlPrune(topicID=attack.topic)
    while True:
        ids = [b"%038d" % next(attack.numbers) for _ in range(500)]
        offer = rpc_pb2.ControlIHave(topicID=attack.topic, messageIDs=ids)
        body = rpc_pb2.ControlMessage(graft=[graft] * 200, prune=[prune] * 200, ihave=[offer] * 50)
        await attack.say(one, stream, control=body)


async def streams(attack: Attack, one: Enemy) -> None:
    """Streams without end."""
    while True:
        await one.open("/ipfs/ping/1.0.0")
        attack.sent += 1


async def overrun(attack: Attack, one: Enemy) -> None:
    """Send one message faster than it is read, as if streams had no windows."""
    stream, message = await one.open(GOSSIP), attack.message(attack.data)
    frame = with_prefix(rpc_pb2.RPC(publish=[message] * PER_FRAME).SerializeToString())
    while True:
        await one.send(stream, frame * 16, heed_window=False)
        attack.sent += len(frame) * 16


async def unread(attack: Attack, one: Enemy) -> None:
    """Ask for what was said last, again and again, and read nothing of it."""
    # The node's own gossip stream is one of its first; whichever it is, its protocol is agreed to unseen.
    agreed = enemy.line("/multistream/1.0.0") + enemy.line(GOSSIP)
    for theirs in (*range(2, 64, 2),) * 3:
        await one.send(theirs, agreed)
        await trio.sleep(0.01)
    stream = await one.open(GOSSIP)
    for number in range(800):
        option = rpc_pb2.RPC.SubOpts(subscribe=number % 2 == 0, topicid=attack.topic)
        await attack.say(one, stream, subscriptions=[option])
        await trio.sleep(0.002)
    await trio.sleep_forever()


STEPS: Final[dict[str, Step]] = {
    step.__name__: step
    for step in (
        garbage, oversized, slow, topics, subscriptions, duplicates, replayed, forged, false, crumbs, control,
        streams, overrun, unread,
    )
}  # fmt: skip


async def carry_out(attack: Attack, name: str, seconds: float) -> dict[str, object]:
    """Attack until the node has had enough, or the time is over."""
    one = await enemy.meet(attack.target, attack.key_pair)
    began_s = trio.current_time()
    dropped_s = None
    async with trio.open_nursery() as nursery:
        if name != unread.__name__:
            nursery.start_soon(one.read)
        nursery.start_soon(_step, STEPS[name], attack, one)
        with trio.move_on_after(seconds):
            while one.is_alive:  # noqa: ASYNC110
                await trio.sleep(POLL_S)
            dropped_s = trio.current_time() - began_s
        nursery.cancel_scope.cancel()
    one.close()
    refused = dropped_s is not None and not await is_let_in(attack)
    return {"attack": name, "dropped": dropped_s, "refused": refused, "sent": attack.sent}


async def _step(step: Step, attack: Attack, one: Enemy) -> None:
    # The node may hang up in the middle of it.
    with suppress(Exception):
        await step(attack, one)


async def is_let_in(attack: Attack) -> bool:
    """Tell whether the node keeps a connection of the same attacker for a while."""
    try:
        one = await enemy.meet(attack.target, attack.key_pair)
    except Exception:  # noqa: BLE001
        return False
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.read)
        with trio.move_on_after(REFUSAL_S):
            while one.is_alive:  # noqa: ASYNC110
                await trio.sleep(POLL_S)
        nursery.cancel_scope.cancel()
    kept = one.is_alive
    one.close()
    return kept


async def crowd(target: Target, seconds: float) -> dict[str, object]:
    """Come with thousands of connections: some silent, some half made, some complete and idle."""
    kept: list[Any] = []
    tried = [0]

    async def come(number: int) -> None:
        tried[0] += 1
        try:
            if number % 3 == 0:
                kept.append(await enemy.meet(target, create_new_key_pair()))
            else:
                tcp = await enemy.dial(target)
                kept.append(tcp)
                if number % 3 == 1:
                    await tcp.send_all(b"\x13/multistream/1.0.0\n")
        except Exception:  # noqa: BLE001, S110  # refused
            pass

    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for number in range(CONNECTIONS):
                nursery.start_soon(come, number)
                await trio.sleep(seconds / CONNECTIONS / 2)
    for one in kept:
        one.socket.close()
    return {"attack": "crowd", "tried": tried[0]}


async def main() -> None:
    """Carry out what standard input says."""
    ip, port, peer_id, chain = sys.argv[1:]
    target = Target(ip, int(port), peer_id, chain)
    attack = Attack(target, b"")
    while line := await trio.to_thread.run_sync(sys.stdin.readline):
        order = json.loads(line)
        name, seconds = order["attack"], float(order.get("seconds", 0))
        if name == "again":
            result: dict[str, object] = {"let_in": await is_let_in(attack)}
        elif name == "crowd":
            result = await crowd(target, seconds)
        else:
            attack = Attack(target, bytes.fromhex(order.get("data", "")))
            result = await carry_out(attack, name, seconds)
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    trio.run(main)
