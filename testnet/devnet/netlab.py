"""A laboratory of networks: nodes with addresses of their own, far apart, lossy, cut off, or behind routers.

    with NetLab(3, Link(delay_ms=25, loss=0.01), nats={3: Kind.SYMMETRIC}) as lab:
        server = lab.start(1, ("python", "-m", "http.server", "80"))
        lab.run(3, ("curl", f"http://{lab.address(1)}/"))
        lab.cut([1], [2, 3])

Nodes are numbered from 1. Each is a network namespace; commands run in it by `ip netns exec`. The packets go
through a process of our own (`emulator.py`), so the kernel needs neither netem nor a packet filter. When this
process ends, even by SIGKILL, its nodes' programs and the namespaces go too. Needs root.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final

from p2pai.primitives.errors import P2paiError, Unavailable
from testnet.devnet.emulator import Plan, own_address, public_address, remove_namespaces
from testnet.devnet.translation import IDLE_S_DEFAULT, Kind
from testnet.devnet.wires import Link

MTU_DEFAULT: Final = 1500
STOP_S_MAX: Final = 8.0
"""Seconds that a program has after SIGTERM."""

LEASH: Final = Path(__file__).with_name("leash.py")
ROOT: Final = Path(__file__).parents[2]


class LabFailure(P2paiError):
    """The laboratory could not be made, or its network ended."""


def missing() -> str | None:
    """Return what this machine lacks for a laboratory, in one sentence; None when nothing."""
    if os.geteuid() != 0:
        return "a network laboratory needs root"
    if shutil.which("ip") is None:
        return "a network laboratory needs the command ip (iproute2)"
    if not Path("/dev/net/tun").exists():
        return "a network laboratory needs /dev/net/tun"
    return None


class NetLab:
    """Nodes 1 to `count`; leaving the `with` block ends everything."""

    def __init__(
        self,
        count: int,
        link: Link = Link(),  # noqa: B008
        nats: Mapping[int, Kind] | None = None,
        *,
        idle_s: float = IDLE_S_DEFAULT,
        mtu: int = MTU_DEFAULT,
        seed: int = 0,
    ) -> None:
        """Plan the laboratory; `with` makes it.

        Args:
          count: how many nodes, 1 to 250.
          link: every direction between two nodes, until `shape` changes it.
          nats: which nodes are behind a router of their own, and of what kind.
          idle_s: seconds after which the routers forget an unused mapping.
          mtu: bytes of the largest packet.
          seed: of the dice that lose and jitter packets.

        Raises:
          ValueError: no such laboratory.
        """
        if not 1 <= count <= 250:
            raise ValueError(f"a laboratory has 1 to 250 nodes, not {count}")
        self._plan = Plan(count, link, dict(nats or {}), idle_s, mtu, seed)
        self._programs: list[subprocess.Popen[bytes]] = []
        self._names: dict[int, str] = {}

    def __enter__(self) -> "NetLab":
        """Make the namespaces and start the network.

        Raises:
          Unavailable: the machine lacks something.
          LabFailure: the system refused.
        """
        lacks = missing()
        if lacks is not None:
            raise Unavailable(lacks)
        self._emulator = subprocess.Popen(  # noqa: S603
            (sys.executable, "-m", "testnet.devnet.emulator", self._plan.to_json()),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            self._names = {int(node): name for node, name in self._read_answer().items()}
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every program, then the network."""
        self.close()

    @property
    def nodes(self) -> range:
        """All nodes."""
        return range(1, self._plan.count + 1)

    def address(self, node: int) -> str:
        """Return the IPv4 address under which others see a node: its router's, if it is behind one."""
        return public_address(node)

    def own_address(self, node: int) -> str:
        """Return the IPv4 address that the node itself has."""
        return own_address(node, self._plan.nats)

    def namespace(self, node: int) -> str:
        """Return the name for `ip netns`."""
        return self._names[node]

    def command(self, node: int, command: Sequence[str]) -> tuple[str, ...]:
        """Return the command that runs `command` in a node."""
        return ("ip", "netns", "exec", self._names[node], *command)

    def start(
        self,
        node: int,
        command: Sequence[str],
        *,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program in a node; it ends with the laboratory, and with this process."""
        program = subprocess.Popen(  # noqa: S603
            (sys.executable, "-S", str(LEASH), str(os.getpid()), *self.command(node, command)),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
        self._programs.append(program)
        return program

    def run(
        self,
        node: int,
        command: Sequence[str],
        *,
        timeout_s: float = 30.0,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in a node to its end, and return its status and output as text.

        Raises:
          subprocess.TimeoutExpired: it took longer, and was killed.
        """
        program = self.start(node, command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        try:
            output, errors = program.communicate(timeout=timeout_s)
        finally:
            _kill(program)
            self._programs.remove(program)
        return subprocess.CompletedProcess(command, program.returncode, output.decode(), errors.decode())

    def shape(self, some: Iterable[int], others: Iterable[int], link: Link, *, one_way: bool = False) -> None:
        """Make the links from `some` to `others` (and back) another kind."""
        wires = _wires(some, others, one_way=one_way)
        self._order({"do": "shape", "wires": wires, "link": asdict(link)})

    def cut(self, some: Iterable[int], others: Iterable[int], *, one_way: bool = False) -> None:
        """Let nothing through from `some` to `others` (and back), without telling either."""
        self._order({"do": "cut", "wires": _wires(some, others, one_way=one_way)})

    def mend(self, some: Iterable[int], others: Iterable[int], *, one_way: bool = False) -> None:
        """Undo cuts from `some` to `others` (and back)."""
        self._order({"do": "mend", "wires": _wires(some, others, one_way=one_way)})

    def narrow(self, node: int, rate_bps: float) -> None:
        """Let all that leaves a node share so many bits a second; 0 for as many as come."""
        self._order({"do": "narrow", "node": node, "rate_bps": rate_bps})

    def heal(self) -> None:
        """Mend all cuts; shapes stay."""
        self._order({"do": "heal"})

    def counts(self) -> dict[str, int]:
        """Return what became of all packets so far, and the `bytes` sent.

        Packets are `sent`, `lost`, `cut`, `queue_full`, `no_room`, `copied`, `disordered`, `late`, `kept_in`
        and `kept_out` by routers, `device_full`.
        """
        return self._order({"do": "count"})

    def close(self) -> None:
        """End every program and the network; a second time does nothing."""
        for program in self._programs:
            if program.poll() is None:
                program.terminate()
        for program in self._programs:
            with suppress(subprocess.TimeoutExpired):
                program.wait(STOP_S_MAX)
            _kill(program)
        self._programs.clear()
        _end(self._emulator)

    def _order(self, order: dict[str, Any]) -> dict[str, int]:
        assert self._emulator.stdin is not None
        try:
            self._emulator.stdin.write(json.dumps(order) + "\n")
            self._emulator.stdin.flush()
        except BrokenPipeError as error:
            raise LabFailure("the laboratory's network has ended") from error
        return self._read_answer()

    def _read_answer(self) -> dict[str, Any]:
        assert self._emulator.stdout is not None
        line = self._emulator.stdout.readline()
        if not line:
            raise LabFailure("the laboratory's network has ended; what it said last stands above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _wires(some: Iterable[int], others: Iterable[int], *, one_way: bool) -> list[tuple[int, int]]:
    others = list(others)
    there = [(a, b) for a in some for b in others]
    return there if one_way else there + [(b, a) for a, b in there]


def _end(emulator: subprocess.Popen[str]) -> None:
    """End the network: by the end of its input, then by force; and clean up after it if it couldn't."""
    for pipe in (emulator.stdin, emulator.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
    try:
        emulator.wait(STOP_S_MAX)
    except subprocess.TimeoutExpired:
        emulator.kill()
        emulator.wait()
    remove_namespaces(emulator.pid)


def _kill(program: subprocess.Popen[bytes]) -> None:
    """End a program by force, with what it started in its own process group, and reap it."""
    if program.poll() is None:
        # The group was created for this child, and its leader isn't reaped yet: nobody else can have the id.
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
