"""Nothing finds out that a remote vanished: no keepalive, no user timeout on either side."""

import socket

from lab import connect, make_host, run, running, tell


def keeps_alive(connection):
    part = connection.muxed_conn
    while not hasattr(getattr(part, "stream", None), "socket"):
        part = next(
            getattr(part, name)
            for name in ("secured_conn", "conn", "read_writer", "stream")
            if hasattr(part, name)
        )
    found = part.stream.socket
    options = ((socket.SOL_SOCKET, socket.SO_KEEPALIVE), (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
    return any(found.getsockopt(*option) for option in options)


async def main():
    host, other = make_host(), make_host()
    async with running(host, other):
        await connect(other, host)
        connections = [*host.get_network().get_connections(), *other.get_network().get_connections()]
        kept = [keeps_alive(connection) for connection in connections]
        tell(len(kept) == 2 and not any(kept), "neither end has keepalive or a user timeout on its socket")


run(main)
