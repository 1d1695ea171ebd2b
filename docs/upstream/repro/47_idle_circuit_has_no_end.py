"""A circuit on which nobody writes outlives its limit of time."""

import time

import trio
from lab import connect, make_host, run, running, tell
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage, PeerId
from libp2p.relay.circuit_v2.protocol import PROTOCOL_ID, CircuitV2Protocol
from libp2p.relay.circuit_v2.resources import RelayLimits
from libp2p.relay.circuit_v2.utils import read_delimited_msg, write_delimited_msg
from libp2p.tools.anyio_service import background_trio_service

LIMIT_S = 1


async def ask(host, relay, message):
    stream = await host.new_stream(relay.get_id(), [PROTOCOL_ID])
    await write_delimited_msg(stream, message)
    return stream, await read_delimited_msg(stream, HopMessage)


async def main():
    relay, target, source = make_host(), make_host(), make_host()
    limits = RelayLimits(duration=LIMIT_S, data=1 << 20, max_circuit_conns=4, max_reservations=4)
    async with (
        running(relay, target, source),
        background_trio_service(CircuitV2Protocol(relay, limits, allow_hop=True)),
        background_trio_service(CircuitV2Protocol(target)),
    ):
        await connect(target, relay)
        await connect(source, relay)
        await ask(target, relay, HopMessage(type=HopMessage.RESERVE))
        peer = PeerId(id=target.get_id().to_bytes())
        stream, _ = await ask(source, relay, HopMessage(type=HopMessage.CONNECT, peer=peer))
        began_s = time.monotonic()
        with trio.move_on_after(6) as waiting:
            # Nothing is written; the target's own bytes, if any, are read away.
            while await stream.read(1000):
                pass
        lasted_s = time.monotonic() - began_s
        tell(
            waiting.cancelled_caught, f"a circuit limited to {LIMIT_S} s still stands after {lasted_s:.0f} s"
        )


run(main)
