"""An exception in a stream handler ends the host, and with it the process."""

import trio
from lab import connect, make_host, outcome_of, run, running, tell


async def parse(stream):
    int(await stream.read(10))


async def main():
    async def serve():
        host, remote = make_host(), make_host()
        host.set_stream_handler("/number/1", parse)
        async with running(host, remote):
            await connect(remote, host)
            stream = await remote.new_stream(host.get_id(), ["/number/1"])
            await stream.write(b"no number")
            await trio.sleep(2)

    error = await outcome_of(serve)
    tell(isinstance(error, ValueError), f"a remote's bytes ended the host: {error!r}")


run(main)
