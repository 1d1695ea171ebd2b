"""Each dial takes at least 250 ms, also where there is one address, which answers at once."""

import trio
from lab import connect, make_host, run, running, tell


async def main():
    host, other = make_host(), make_host()
    async with running(host, other):
        began_s = trio.current_time()
        await connect(other, host)
        took_ms = (trio.current_time() - began_s) * 1000
        tell(took_ms >= 249, f"connecting over loopback took {took_ms:.0f} ms")


run(main)
