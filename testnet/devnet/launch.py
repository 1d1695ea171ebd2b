"""Starts ordinary `p2pai start` processes on one machine, and ends them: those, and nothing else.

Every node is a child in a session of its own, known by its pid. Ending one means SIGTERM to that pid and,
when it doesn't obey in time, SIGKILL to the process group that was created for it. Should this process
itself be killed, the kernel ends the nodes (see leash.py).
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from p2pai.primitives.errors import P2paiError, Unavailable
from p2pai.shell.client import RpcClient
from p2pai.shell.rpc import FILE_NAME

READY_S_MAX: Final = 90.0
"""From start to the first answer: eight nodes load their libraries on two cores at once."""

STOP_S_MAX: Final = 8.0
"""After SIGTERM; a node needs at most 5 s to end in order."""

POLL_S: Final = 0.2
LOG_TAIL_LINES: Final = 12
LEASH: Final = Path(__file__).with_name("leash.py")


class NodeFailure(P2paiError):
    """A node of ours ended, or never came up."""


def _here(work: Callable[[], Any]) -> Any:  # noqa: ANN401
    return work()


@dataclass(frozen=True, slots=True)
class Place:
    """Where on the machine a node runs: its loopback interface, or a network namespace."""

    address: str = "127.0.0.1"
    """IPv4, where it listens for others."""
    prefix: tuple[str, ...] = ()
    """What a command has before it to be run there."""
    inside: Callable[[Callable[[], Any]], Any] = _here
    """Calls a function of ours there."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One node to start: its name (and directory), published account of the chain, and roles."""

    name: str
    account: int
    roles: tuple[str, ...]
    options: tuple[str, ...] = ()
    """Further arguments of `p2pai start`."""
    place: Place = Place()


@dataclass(slots=True)
class Node:
    """A node that was started."""

    plan: Plan
    directory: Path
    log: Path
    command: tuple[str, ...]
    process: subprocess.Popen[bytes]
    multiaddr: str
    peer_id: str = ""

    @property
    def pid(self) -> int:
        """Process id."""
        return self.process.pid

    @property
    def rpc_url(self) -> str:
        """Where its RPC is, in its place; empty when it doesn't serve. The token stands in the same file."""
        with suppress(OSError, ValueError, KeyError):
            return str(json.loads((self.directory / FILE_NAME).read_text())["url"])
        return ""

    def call(self, method: str, **params: Any) -> Any:  # noqa: ANN401
        """Ask the node over its RPC; Unavailable when it doesn't answer."""
        return self.plan.place.inside(lambda: RpcClient(self.directory).call(method, params))

    def answers(self) -> bool:
        """Tell whether the node serves, and note where; NodeFailure when it ended."""
        self.check()
        with suppress(Unavailable):
            self.peer_id = self.call("node.status")["peer_id"]
            self.multiaddr = f"{self.multiaddr.partition('/p2p/')[0]}/p2p/{self.peer_id}"
            return True
        return False

    def pause(self) -> None:
        """Stop the process where it is; its trainer goes on to the end of its job."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def check(self) -> None:
        """Raise NodeFailure with the end of its log when the process is gone."""
        status = self.process.poll()
        if status is not None:
            raise NodeFailure(
                f"node {self.plan.name} ended with status {status}; log {self.log}:\n{self._tail()}"
            )

    def _tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:]) or "(the log is empty)"


@dataclass(slots=True)
class Devnet:
    """The nodes that one program started; leaving the `with` block ends them all."""

    directory: Path
    chain: str = "devnet"
    executable: tuple[str, ...] = (sys.executable, "-m", "p2pai")
    nodes: list[Node] = field(default_factory=list)

    def __enter__(self) -> "Devnet":
        """Return the network itself; nothing runs yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every node."""
        self.stop()

    def start(self, plan: Plan, bootstrap: Sequence[str] = ()) -> Node:
        """Start one node; its directory is `DIRECTORY/NAME`, its output `DIRECTORY/NAME.log`."""
        directory = self.directory / plan.name
        listen = f"/ip4/{plan.place.address}/tcp/{free_port()}"
        ordered = arguments(plan, self.chain, directory, listen, bootstrap)
        command = (*plan.place.prefix, *self.executable, *ordered)
        return self._spawn(plan, directory, command, listen)

    def launch(self, plans: Sequence[Plan]) -> dict[str, Node]:
        """Start nodes that join by the first of them, and return them by name when all answer."""
        first = self.start(plans[0])
        self.wait_ready(first)
        nodes = [first, *(self.start(plan, [first.multiaddr]) for plan in plans[1:])]
        for node in nodes:
            self.wait_ready(node)
        return {node.plan.name: node for node in nodes}

    def restart(self, node: Node) -> Node:
        """Start a node again that has ended, with its directory and its arguments."""
        assert node.process.poll() is not None, "the node still runs"
        self.nodes.remove(node)
        return self._spawn(node.plan, node.directory, node.command, node.multiaddr.partition("/p2p/")[0])

    def wait_ready(self, node: Node, deadline_s: float = READY_S_MAX) -> None:
        """Wait until the node answers; NodeFailure when it ends or takes longer."""
        if not wait_for(node.answers, deadline_s):
            raise NodeFailure(
                f"node {node.plan.name} did not answer within {deadline_s:.0f} s; see {node.log}"
            )

    def check(self) -> None:
        """Raise NodeFailure when any node is gone."""
        for node in self.nodes:
            node.check()

    def stop(self) -> None:
        """End every node that was started: politely, then by force; at once when interrupted meanwhile."""
        try:
            for node in self.nodes:
                if node.process.poll() is None:
                    node.process.terminate()
                    # One that is paused would never hear of it.
                    node.resume()
            deadline = time.monotonic() + STOP_S_MAX
            for node in self.nodes:
                with suppress(subprocess.TimeoutExpired):
                    node.process.wait(max(0.0, deadline - time.monotonic()))
        finally:
            for node in self.nodes:
                kill(node)

    def _spawn(self, plan: Plan, directory: Path, command: tuple[str, ...], listen: str) -> Node:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = self.directory / f"{plan.name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603
                (sys.executable, "-S", str(LEASH), str(os.getpid()), *command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        node = Node(plan, directory, log, command, process, listen)
        self.nodes.append(node)
        return node


def arguments(
    plan: Plan, chain: str, directory: Path, listen: str, bootstrap: Sequence[str]
) -> tuple[str, ...]:
    """Return the arguments of `p2pai` that start a node."""
    fixed = ("start", "--chain", chain, "--data-dir", str(directory), "--listen", listen)
    roles = [part for role in plan.roles for part in ("--role", role)]
    known = [part for address in bootstrap for part in ("--bootstrap", address)]
    return (*fixed, "--rpc-port", "0", "--dev-account", str(plan.account), *roles, *known, *plan.options)


def kill(node: Node) -> None:
    """End a node by force, with what it started in its own process group, and reap it."""
    if node.process.poll() is None:
        # The group was created for this child, and its leader isn't reaped yet: nobody else can have the id.
        with suppress(ProcessLookupError):
            os.killpg(node.pid, signal.SIGKILL)
        node.process.wait()


def free_port() -> int:
    """Return a TCP port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(holds: Callable[[], bool], deadline_s: float, poll_s: float = POLL_S) -> bool:
    """Ask again and again until `holds` or the deadline passes; tells which."""
    end = time.monotonic() + deadline_s
    while not holds():
        if time.monotonic() >= end:
            return False
        time.sleep(poll_s)
    return True
