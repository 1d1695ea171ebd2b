"""A thread that lives in a network namespace, so that this process can call what listens there on loopback.

The kernel keeps a thread's network apart from its process's: what runs here sees the namespace's sockets, and
all else of the process as it is. Needs root.
"""

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from p2pai.primitives.errors import Unavailable

NAMESPACES: Final = Path("/run/netns")
"""Where `ip netns` keeps them."""

_CLONE_NEWNET: Final = 0x4000_0000

_Result = TypeVar("_Result")


class Inside:
    """One thread in one namespace; it runs what it is given, one after the other."""

    def __init__(self, namespace: str) -> None:
        """Enter the namespace of this name.

        Raises:
          Unavailable: there is none, or it is not ours to enter.
        """
        self._threads = ThreadPoolExecutor(1)
        self(lambda: _enter(NAMESPACES / namespace))

    def __call__(self, work: Callable[[], _Result]) -> _Result:
        """Run `work` there and return its result, or raise what it raised."""
        return self._threads.submit(work).result()

    def close(self) -> None:
        """Let the thread end."""
        self._threads.shutdown(wait=False)


def _enter(namespace: Path) -> None:
    try:
        with namespace.open("rb") as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    except OSError as error:
        raise Unavailable(f"the network namespace {namespace.name} can't be entered: {error}") from error
