"""The process that is the network of a laboratory: it makes the namespaces and carries every packet.

    python -m testnet.devnet.emulator PLAN

PLAN is JSON (see `Plan`). Orders come as JSON lines on standard input, each answered by one line; the first
line says which namespaces there are. Whatever ends it (the end of its input, SIGTERM, an error), it removes
the namespaces that it made. What an emulator that was killed left behind, the next one removes.

Each node is a network namespace with one TUN device whose other end this process reads and writes. The kernel
needs no packet filter and no queueing discipline for that. Needs root.
"""

import fcntl
import heapq
import ipaddress
import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from testnet.devnet.packets import destination_of, is_multicast
from testnet.devnet.translation import Kind, Translator
from testnet.devnet.wires import Link, Wires

PUBLIC: Final = int(ipaddress.IPv4Address("11.78.0.0"))
"""Node i of the world is PUBLIC + i. A range that is public elsewhere, because software treats private ones
differently; no packet of it can leave the laboratory."""

PREFIX: Final = "p2pai-lab"
NAMESPACES: Final = Path("/run/netns")
READ_SIZE: Final = 65_536
BURST: Final = 64
"""Packets read from one node before the others have their turn."""

_TUNSETIFF: Final = 0x4004_54CA
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_IP: Final = "ip"


@dataclass(frozen=True, slots=True)
class Plan:
    """A laboratory to make."""

    count: int
    link: Link
    nats: dict[int, Kind]
    """Which nodes are behind a router of their own."""
    idle_s: float
    """Seconds after which the routers forget an unused mapping."""
    mtu: int
    seed: int

    def to_json(self) -> str:
        """Return it as text."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Plan":
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        nats = {int(node): Kind(kind) for node, kind in fields.pop("nats").items()}
        return Plan(link=Link(**fields.pop("link")), nats=nats, **fields)


def public_address(node: int) -> str:
    """Return the address under which the world sees a node."""
    return str(ipaddress.IPv4Address(PUBLIC + node))


def own_address(node: int, nats: dict[int, Kind]) -> str:
    """Return the address that a node itself has."""
    return f"192.168.{node}.2" if node in nats else public_address(node)


class Emulator:
    """The packets in flight, and the devices they come from and go to."""

    def __init__(self, plan: Plan, devices: dict[int, int]) -> None:
        """Begin with nothing in flight; `devices` are file descriptors by node."""
        self.is_over = False
        self._devices = devices
        self._nodes = {device: node for node, device in devices.items()}
        self._wires = Wires(plan.link, plan.seed)
        self._routers = {
            node: Translator(kind, PUBLIC + node, plan.idle_s) for node, kind in plan.nats.items()
        }
        self._flying: list[tuple[float, int, int, bytes]] = []
        self._number = 0

    def run(self) -> None:
        """Carry packets and take orders until told to stop."""
        poll = select.epoll()
        orders = sys.stdin.fileno()
        for device in (*self._nodes, orders):
            poll.register(device, select.EPOLLIN)
        while not self.is_over:
            for device, _ in poll.poll(self._pause_s()):
                if device == orders:
                    self._take_order(sys.stdin.readline())
                else:
                    self._drain(device)
            self._deliver()

    def _pause_s(self) -> float:
        return max(0.0, self._flying[0][0] - time.monotonic()) if self._flying else -1.0

    def _drain(self, device: int) -> None:
        now_s = time.monotonic()
        for _ in range(BURST):
            try:
                packet = os.read(device, READ_SIZE)
            except BlockingIOError:
                return
            self._carry(self._nodes[device], packet, now_s)

    def _carry(self, source: int, packet: bytes, now_s: float) -> None:
        router = self._routers.get(source)
        leaving = packet if router is None else router.leave(packet, now_s)
        if leaving is None:
            self._wires.counts["kept_in"] += 1
            return
        for node in self._targets(source, leaving):
            for arrives_s in self._wires.send((source, node), len(leaving), now_s):
                self._number += 1
                heapq.heappush(self._flying, (arrives_s, self._number, node, leaving))

    def _targets(self, source: int, packet: bytes) -> list[int]:
        address = destination_of(packet)
        if address is None:
            return []
        if is_multicast(address):
            # A group is those on one LAN: nodes without a router are; behind each router is one node alone.
            here = [] if source in self._routers else [*self._devices]
            return [node for node in here if node != source and node not in self._routers]
        node = address - PUBLIC
        return [node] if node in self._devices and node != source else []

    def _deliver(self) -> None:
        now_s = time.monotonic()
        while self._flying and self._flying[0][0] <= now_s:
            _, _, node, packet = heapq.heappop(self._flying)
            router = self._routers.get(node)
            arriving = packet if router is None else router.enter(packet, now_s)
            if arriving is None:
                self._wires.counts["kept_out"] += 1
                continue
            try:
                os.write(self._devices[node], arriving)
            except OSError:
                self._wires.counts["device_full"] += 1

    def _take_order(self, line: str) -> None:
        if not line:
            self.is_over = True
            return
        order = json.loads(line)
        wires = [(source, target) for source, target in order.get("wires", ())]
        match order["do"]:
            case "shape":
                for wire in wires:
                    self._wires.shape(wire, Link(**order["link"]))
            case "cut":
                for wire in wires:
                    self._wires.cut(wire)
            case "mend":
                for wire in wires:
                    self._wires.mend(wire)
            case "heal":
                self._wires.heal()
            case "narrow":
                self._wires.narrow(order["node"], order["rate_bps"])
        _answer(dict(self._wires.counts))


def make_namespace(name: str, device_name: str, address: str, mtu: int) -> int:
    """Make a network namespace with one TUN device; returns the descriptor of our end."""
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    request = struct.pack("16sH14s", device_name.encode(), _IFF_TUN | _IFF_NO_PI, b"")
    fcntl.ioctl(device, _TUNSETIFF, request)
    _ip("netns", "add", name)
    _ip("link", "set", device_name, "netns", name)
    _ip("-n", name, "addr", "add", f"{address}/24", "dev", device_name)
    _ip("-n", name, "link", "set", device_name, "mtu", str(mtu), "txqueuelen", "5000", "up")
    _ip("-n", name, "link", "set", "lo", "up")
    _ip("-n", name, "route", "add", "default", "dev", device_name)
    return device


def remove_namespaces(owner: int) -> None:
    """Remove the namespaces that the process `owner` made."""
    for path in NAMESPACES.glob(f"{PREFIX}-{owner}-*"):
        subprocess.run((_IP, "netns", "del", path.name), check=False, capture_output=True)  # noqa: S603


def remove_orphans() -> None:
    """Remove what emulators left behind that were killed."""
    for path in NAMESPACES.glob(f"{PREFIX}-*-*"):
        owner = path.name.split("-")[2]
        if owner.isdigit() and not Path("/proc", owner).exists():
            remove_namespaces(int(owner))


def main() -> None:
    """Make the laboratory, be its network, and take it down."""
    plan = Plan.from_json(sys.argv[1])
    # What ends us must not end us halfway through the cleaning.
    signal.signal(signal.SIGTERM, _leave)
    remove_orphans()
    owner = os.getpid()
    devices = {}
    try:
        for node in range(1, plan.count + 1):
            name, address = f"{PREFIX}-{owner}-{node}", own_address(node, plan.nats)
            devices[node] = make_namespace(name, f"lab{owner}.{node}", address, plan.mtu)
        _answer({node: f"{PREFIX}-{owner}-{node}" for node in devices})
        Emulator(plan, devices).run()
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        remove_namespaces(owner)


def _ip(*arguments: str) -> None:
    subprocess.run((_IP, *arguments), check=True)  # noqa: S603


def _answer(value: dict[Any, Any]) -> None:
    with suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()


def _leave(*_: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
