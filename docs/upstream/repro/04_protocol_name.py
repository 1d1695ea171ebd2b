"""A protocol name that is not UTF-8, in multistream-select, ends the process."""

import trio
from lab import connect, make_host, outcome_of, run, running, tell


async def main():
    async def serve():
        host, enemy = make_host(), make_host()
        async with running(host, enemy):
            await connect(enemy, host)
            stream = await enemy.get_network().new_stream(host.get_id())
            await stream.write(b"\x13/multistream/1.0.0\n\x05\xff\xfe\xfd\xfc\n")
            await trio.sleep(2)

    error = await outcome_of(serve)
    tell(isinstance(error, UnicodeDecodeError), f"five bytes ended the host: {error!r}")


run(main)
