"""What our HTTP servers have in common: a socket, the server's settings, and bodies read within bounds.

Starlette answers, on Hypercorn's trio worker.
"""

import socket
from contextlib import aclosing
from typing import Final

import trio
from hypercorn.config import Config
from starlette.requests import ClientDisconnect, Request

from p2pai.primitives.errors import InvalidInput, Unavailable

BODY_S_MAX: Final = 10.0
"""Seconds for a request's body to arrive."""

SHUTDOWN_S_MAX: Final = 1.0
"""Seconds that requests under way get when the server ends."""


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 is any free one.

    Raises:
      InvalidInput: there is no such address on this machine.
      Unavailable: the port is taken, or not ours to take.
    """
    # Not left to the server: it loses the socket, and the reason, when the port is taken.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()
    except socket.gaierror as error:
        listener.close()
        raise InvalidInput(f"{host} is not an address of this machine") from error
    except OSError as error:
        listener.close()
        raise Unavailable(f"port {port} can't be used: {error.strerror}") from error
    return listener


def server_config(listener: socket.socket) -> Config:
    """Return the settings of a server on a socket, which it will close."""
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.graceful_timeout = SHUTDOWN_S_MAX
    config.shutdown_timeout = SHUTDOWN_S_MAX
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = None
    return config


async def read_body(request: Request, size_max: int) -> bytes | None:
    """Return a body; None when it is larger than `size_max`, empty when it does not arrive in time."""
    body = bytearray()
    try:
        with trio.move_on_after(BODY_S_MAX) as scope:
            async with aclosing(request.stream()) as parts:
                async for part in parts:
                    body += part
                    if len(body) > size_max:
                        return None
    except ClientDisconnect:
        return b""
    return b"" if scope.cancelled_caught else bytes(body)
