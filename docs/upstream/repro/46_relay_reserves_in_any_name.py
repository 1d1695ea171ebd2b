"""A relay keeps a place in the name of whoever a request mentions."""

import trio
from lab import connect, make_host, run, running, tell
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.pb.circuit_pb2 import HopMessage, PeerId
from libp2p.relay.circuit_v2.protocol import PROTOCOL_ID, CircuitV2Protocol
from libp2p.relay.circuit_v2.utils import read_delimited_msg, write_delimited_msg
from libp2p.tools.anyio_service import background_trio_service


async def main():
    relay, one = make_host(), make_host()
    service = CircuitV2Protocol(relay, allow_hop=True)
    strangers = [ID.from_pubkey(create_new_key_pair().public_key) for _ in range(4)]
    async with running(relay, one), background_trio_service(service):
        await connect(one, relay)
        for stranger in strangers:
            stream = await one.new_stream(relay.get_id(), [PROTOCOL_ID])
            message = HopMessage(type=HopMessage.RESERVE, peer=PeerId(id=stranger.to_bytes()))
            await write_delimited_msg(stream, message)
            await read_delimited_msg(stream, HopMessage)
            await stream.close()
        taken = len(service.resource_manager._reservations)
        full = not service.resource_manager.can_accept_reservation(one.get_id())
        await trio.sleep(0)
        tell(
            taken == 4 and full,
            f"one node took all {taken} places, in the names of nodes that were never there",
        )


run(main)
