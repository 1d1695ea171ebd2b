"""A circuit that its opener ends keeps its slot at the relay."""

import trio
from lab import connect, make_host, run, running, tell
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage, PeerId
from libp2p.relay.circuit_v2.protocol import PROTOCOL_ID, CircuitV2Protocol
from libp2p.relay.circuit_v2.protocol_buffer import StatusCode
from libp2p.relay.circuit_v2.resources import RelayLimits
from libp2p.relay.circuit_v2.utils import read_delimited_msg, write_delimited_msg
from libp2p.tools.anyio_service import background_trio_service

SLOTS = 2


async def ask(host, relay, message):
    stream = await host.new_stream(relay.get_id(), [PROTOCOL_ID])
    await write_delimited_msg(stream, message)
    return stream, await read_delimited_msg(stream, HopMessage)


async def main():
    relay, target, source = make_host(), make_host(), make_host()
    limits = RelayLimits(duration=600, data=1 << 20, max_circuit_conns=SLOTS, max_reservations=4)
    async with (
        running(relay, target, source),
        background_trio_service(CircuitV2Protocol(relay, limits, allow_hop=True)),
        background_trio_service(CircuitV2Protocol(target)),
    ):
        await connect(target, relay)
        await connect(source, relay)
        await ask(target, relay, HopMessage(type=HopMessage.RESERVE))
        message = HopMessage(type=HopMessage.CONNECT, peer=PeerId(id=target.get_id().to_bytes()))
        for _ in range(SLOTS):
            stream, answer = await ask(source, relay, message)
            assert answer.status == StatusCode.OK
            await stream.reset()
        await trio.sleep(5)
        _, answer = await ask(source, relay, message)
        tell(
            answer.status != StatusCode.OK,
            f"{SLOTS} circuits were ended 5 s ago, the next gets status {answer.status}",
        )


run(main)
