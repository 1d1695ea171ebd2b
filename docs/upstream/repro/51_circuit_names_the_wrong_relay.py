"""The target of a circuit is told that it is the relay itself."""

import trio
from lab import connect, make_host, run, running, tell
from libp2p.relay.circuit_v2.config import RelayConfig, RelayRole
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage
from libp2p.relay.circuit_v2.protocol import PROTOCOL_ID, CircuitV2Protocol
from libp2p.relay.circuit_v2.transport import CircuitV2Transport
from libp2p.relay.circuit_v2.utils import read_delimited_msg, write_delimited_msg
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr


async def main():
    relay, target, source = make_host(), make_host(), make_host()
    async with (
        running(relay, target, source),
        background_trio_service(CircuitV2Protocol(relay, allow_hop=True)),
        background_trio_service(CircuitV2Protocol(target)),
    ):
        await connect(target, relay)
        await connect(source, relay)
        stream = await target.new_stream(relay.get_id(), [PROTOCOL_ID])
        await write_delimited_msg(stream, HopMessage(type=HopMessage.RESERVE))
        await read_delimited_msg(stream, HopMessage)
        transport = CircuitV2Transport(source, CircuitV2Protocol(source), RelayConfig(roles=RelayRole.STOP))
        await transport.dial(Multiaddr(f"{relay.get_addrs()[0]}/p2p-circuit/p2p/{target.get_id()}"))
        await trio.sleep(1)
        (connection,) = target.get_network().get_connections(source.get_id())
        (address,) = map(str, connection.get_transport_addresses())
        right = f"/p2p/{relay.get_id()}/p2p-circuit" in address
        tell(not right, f"over the relay {relay.get_id()}, the target {target.get_id()} sees {address}")


run(main)
