"""What the network says of this machine: is its port free, do others reach it, and is its clock right.

When a node runs on the data directory, it is asked. Else a node without ledger and keys, with an identity
that ends with it, listens where the real one would, joins by the bootstrap addresses and asks the remotes.
"""

import errno
import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import trio

from p2pai.chain.params import Params, future_time_s_max
from p2pai.effects import Verdict
from p2pai.gossip.libp2p.network import Network
from p2pai.gossip.libp2p.own_host import OwnHost, check_address
from p2pai.gossip.libp2p.traversal import Ways
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import BlobId, Hash32, PeerId
from p2pai.shell import outlook
from p2pai.shell.checkup.finding import Finding, fail, ok, warn
from p2pai.shell.client import RpcClient

LOOK_S_MAX: Final = 20.0
"""Seconds for joining and for the remotes' answers."""

POLL_S: Final = 0.1
CLOCK_MS_WANTED: Final = 1_000
"""A clock that is kept by NTP is wrong by milliseconds."""

Answer = dict[str, Any]

_IP: Final = re.compile(r"/ip[46]/([0-9a-fA-F.:]+)/")


class _Mute:
    """Handlers of a node that only looks around."""

    def received(self, remote: PeerId, topic: str, data: bytes) -> Verdict:  # noqa: ARG002
        return Verdict.IGNORE

    async def asked(self, remote: PeerId, body: bytes) -> bytes:  # noqa: ARG002
        raise Unavailable("this node answers nothing")

    def connected(self, remote: PeerId) -> None:
        """Not needed."""

    def disconnected(self, remote: PeerId) -> None:
        """Not needed."""

    def manifest(self, blob: BlobId) -> tuple[Hash32, ...] | None:  # noqa: ARG002
        return None

    def chunk(self, blob: BlobId, index: int) -> bytes | None:  # noqa: ARG002
        return None


def ask_node(data_dir: Path) -> Answer | None:
    """Return what the node that runs on a data directory says of its network; None when none runs."""
    try:
        answer: Answer = RpcClient(data_dir).call(outlook.METHOD, {})
    except Unavailable:
        return None
    return answer


def look_around(listen: str, bootstrap: Sequence[str], chain_id: str) -> Answer:
    """Listen, join, and return what remotes say, in the form of `outlook.describe`.

    Raises:
      InvalidInput: a malformed address.
      Unavailable: the address can't be listened on.
    """
    try:
        # It takes no place at a relay for the few seconds that it is there.
        host = OwnHost(None, [listen], ways=Ways(circuits=False))
        network = Network(host, bootstrap, chain_id, _Mute())
        return trio.run(_look, network, listen)
    except ValueError as error:
        raise InvalidInput(str(error)) from error
    except OSError as error:
        raise Unavailable(f"{listen} can't be listened on: {error.strerror or error}") from error


def check_port(listen: str, held: Sequence[str] = ()) -> Finding:
    """See whether an address can be listened on; `held`: a node runs already, at these multiaddrs."""
    if held:
        return ok("port", f"the node is at {', '.join(address.partition('/p2p/')[0] for address in held)}")
    try:
        trio.run(check_address, listen)
    except ValueError as error:
        return fail("port", str(error), "an address to listen on is like /ip4/0.0.0.0/tcp/4001")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return fail(
                "port", f"another program listens on {listen}", "end it, or choose another port with --listen"
            )
        return fail(
            "port",
            f"{listen} can't be listened on: {error.strerror}",
            "choose an address of this machine with --listen",
        )
    return ok("port", f"{listen} is free")


def check_remotes(answer: Answer) -> Finding:
    """See whether the network was found at all."""
    if answer["remotes"]:
        return ok("remotes", f"{answer['remotes']} of this chain answered")
    return fail(
        "remotes",
        "nobody of this chain answered",
        "is this machine online? ask for a current --bootstrap address",
    )


def check_reach(answer: Answer, listen: str) -> Finding:
    """Judge whether others can call this node."""
    tried, reached = answer["tried_by"], answer["reached_by"]
    if not tried:
        return warn("reachability", "no remote has tried to call this node", "ask again when it has remotes")
    if answer["reach"] == "reachable":
        return _check_scope(answer["reached_at"], f"{reached} of {tried} remotes reached this node")
    if _is_loopback(listen):
        return warn(
            "reachability",
            f"{tried - reached} of {tried} remotes can't call this node: it listens on {listen} alone",
            "start it with --listen /ip4/0.0.0.0/tcp/4001",
        )
    port = listen.rpartition("/")[2]
    return warn(
        "reachability",
        f"{tried - reached} of {tried} remotes can't call this node; it works, by calling others",
        f"let your router or firewall pass TCP port {port} on to this machine",
    )


def check_clock(answer: Answer, params: Params) -> Finding:
    """Judge this machine's clock by the others'."""
    ahead_ms, error_ms = answer["clock_ahead_ms"], answer["clock_error_ms"]
    if ahead_ms is None:
        return warn("clock", "no remote has told its time", "ask again when the node has remotes")
    way = "behind" if ahead_ms > 0 else "ahead of"
    found = f"{abs(ahead_ms) / 1000:.3f} s {way} the others', give or take {error_ms / 1000:.3f} s"
    sure_ms = abs(ahead_ms) - error_ms
    advice = "set the clock, and keep it right: timedatectl set-ntp true"
    if sure_ms > 1000 * future_time_s_max(params):
        return fail("clock", f"{found}; blocks would be refused", advice)
    return warn("clock", found, advice) if sure_ms > CLOCK_MS_WANTED else ok("clock", found)


async def _look(network: Network, listen: str) -> Answer:
    await check_address(listen)
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        with trio.move_on_after(LOOK_S_MAX):
            while not network.outlook().tried_by:  # noqa: ASYNC110
                await trio.sleep(POLL_S)
        answer = outlook.describe(network, {})
        nursery.cancel_scope.cancel()
    return answer


def _check_scope(addresses: Sequence[str], found: str) -> Finding:
    hosts = [ipaddress.ip_address(match[1]) for match in map(_IP.match, addresses) if match]
    where = ", ".join(addresses)
    if any(host.is_global for host in hosts):
        return ok("reachability", f"{found}, at {where}")
    if all(host.is_loopback for host in hosts):
        return warn(
            "reachability",
            f"{found}, at {where}: nodes on other machines can't",
            "start it with --listen /ip4/0.0.0.0/tcp/4001",
        )
    return ok(
        "reachability", f"{found}, at {where}; whether nodes outside this local network do is not known"
    )


def _is_loopback(listen: str) -> bool:
    match = _IP.match(listen)
    return match is not None and ipaddress.ip_address(match[1]).is_loopback
