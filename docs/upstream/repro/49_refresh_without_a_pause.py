"""A client whose relay is gone asks it again without a pause."""

import time

import trio
from lab import make_host, run, running, tell
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.relay.circuit_v2.config import RelayConfig
from libp2p.relay.circuit_v2.protocol import CircuitV2Protocol
from libp2p.relay.circuit_v2.transport import CircuitV2Transport


async def main():
    host = make_host()
    relay = ID.from_pubkey(create_new_key_pair().public_key)
    attempts = 0
    async with running(host):
        transport = CircuitV2Transport(host, CircuitV2Protocol(host), RelayConfig())
        stock = host.new_stream

        async def counted(*arguments, **options):
            nonlocal attempts
            attempts += 1
            return await stock(*arguments, **options)

        host.new_stream = counted
        # A place that runs out in 20 s, at a relay that has gone.
        transport._reservations[relay] = time.time() + 20
        with trio.move_on_after(2):
            await transport._refresh_reservations_worker()
        tell(attempts > 20, f"{attempts} attempts in 2 s")


run(main)
