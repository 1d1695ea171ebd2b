"""How a command reaches a node's knowledge: the running node first, else what it left on disk.

Both answer the same questions in the same form, so a command never knows which of the two it spoke to.
What changes something (a task, a payment) needs the running node.
"""

from pathlib import Path
from typing import Any, Protocol

from p2pai.primitives.errors import Unavailable
from p2pai.shell.client import RpcClient


class Source(Protocol):
    """Something that answers the questions of the RPC."""

    def call(self, method: str, params: dict[str, Any]) -> Any:  # noqa: ANN401
        """Return the answer; InvalidInput when the question is wrong, Unavailable when nobody answers."""


class Offline:
    """A core rebuilt from the journal, for questions only."""

    def __init__(self, data_dir: Path) -> None:
        # The core and its libraries take a moment to load; a command that finds a node never needs them.
        from p2pai.shell.offline import open_offline

        self._core = open_offline(data_dir)

    def call(self, method: str, params: dict[str, Any]) -> Any:  # noqa: ANN401
        """Ask the rebuilt core."""
        return self._core.query(method, params)


def reader(data_dir: Path) -> Source:
    """Return the running node of `data_dir`, or its chain as it lies on disk.

    Raises:
      Unavailable: there is neither.
    """
    try:
        return running(data_dir)
    except Unavailable:
        if not data_dir.is_dir():
            raise Unavailable(
                f"{data_dir} holds no node; start one with p2pai start --data-dir {data_dir}"
            ) from None
        return Offline(data_dir)


def running(data_dir: Path) -> Source:
    """Return the running node of `data_dir`.

    Raises:
      Unavailable: no node runs there; says how to start one.
    """
    client: Source = RpcClient(data_dir)
    client.call("node.status", {})
    return client
