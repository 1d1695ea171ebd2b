"""Two hosts may listen on one port: both start, and share out the callers."""

from lab import listen_address, make_host, run, running, tell


async def main():
    first, second = make_host(), make_host()
    async with running(first):
        address = listen_address(first)
        try:
            async with second.run([address]):
                tell(bool(second.get_addrs()), f"both listen on {address}")
        except OSError as error:
            tell(False, f"refused: {error}")


run(main)
