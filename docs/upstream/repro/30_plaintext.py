"""A host with the default options accepts a connection without encryption."""

import trio
from lab import LISTEN, connect, run, tell
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport


async def main():
    key_pair = create_new_key_pair()
    host = new_host(listen_addrs=[LISTEN])
    naked = new_host(
        key_pair=key_pair,
        sec_opt={PLAINTEXT_PROTOCOL_ID: InsecureTransport(key_pair)},
        listen_addrs=[LISTEN],
    )
    async with host.run([LISTEN]), naked.run([LISTEN]):
        try:
            await connect(naked, host)
        except Exception as error:
            tell(False, f"refused: {error!r}")
        await trio.sleep(0.5)
        tell(
            naked.get_id() in host.get_connected_peers(), "a dialler that speaks plaintext alone is connected"
        )


run(main)
