"""`p2pai topic` on a real network: two nodes, and a listener that is none.

What one node is told to publish is tapped at the other one and heard by the listener, decoded alike; what the
listener publishes reaches both. Nobody mines, so nothing else is said.
"""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from contextlib import suppress

import pytest

from p2pai.primitives import address, ecdsa
from p2pai.shell.client import RpcClient
from testnet.devnet.launch import Devnet, Plan, wait_for
from tests.chain.ledger import devnet as spec
from tests.chain.ledger import keys
from tests.functional.network import BOOTSTRAP, p2pai, start

ACCOUNT = 3
SENDER = address.encode(spec().prefix, ecdsa.key_hash(ecdsa.public_key(keys(ACCOUNT).spending)))
WAIT_S = 30.0
TERMINAL = {**{k: v for k, v in os.environ.items() if k != "COLUMNS"}, "TERM": "xterm-256color"}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    with Devnet(tmp_path_factory.mktemp("topic")) as devnet:
        nodes = start(devnet, [Plan("other", 8, ("peer",))])
        yield devnet, nodes[BOOTSTRAP.name], nodes["other"]


class Tap:
    """A running `p2pai topic tap --json`; a node's begins with what stands, so it is seen to be there."""

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "p2pai", "topic", "tap", "--json", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def next(self, **wanted):
        """Return the next object of this kind."""
        for line in self.process.stdout:
            seen = json.loads(line)
            if wanted.items() <= seen.items():
                return seen
        raise AssertionError(self.process.stderr.read())

    def end(self):
        """Interrupt it as Ctrl-C does; return its status and what it complained of."""
        self.process.send_signal(signal.SIGINT)
        _, err = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, err


@pytest.fixture
def tap():
    running = []

    def start_tap(*arguments):
        running.append(Tap(*arguments))
        return running[-1]

    # No line is waited for without end: what is late is killed, and read to its end.
    ending = threading.Timer(2 * WAIT_S, lambda: [tap.process.kill() for tap in running])
    ending.start()
    yield start_tap
    ending.cancel()
    for started in running:
        started.process.kill()
        started.process.communicate(timeout=10)


def row_of(node, name):
    return next(
        (row for row in RpcClient(node.directory).report()["topics"] if row["topic"].endswith(name)), None
    )


def publish(*arguments):
    command = (sys.executable, "-m", "p2pai", "topic", "publish", *map(str, arguments))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.slow
def test_what_is_published_is_tapped_heard_and_counted(network, tap):
    devnet, first, other = network
    listener = tap("--all", "--bootstrap", first.multiaddr)
    where = f"seen == grafted or sender == {SENDER[:9]}..{SENDER[-4:]} or body.data == 00ff"
    at_other = tap("--all", "--where", where, "--data-dir", other.directory)
    at_other.next(seen="grafted")
    # The listener is in the mesh of a node that it was never told of: it found that one through the first.
    assert wait_for(lambda: len(row_of(other, "/chain/tx/1")["mesh"]) == 2, WAIT_S)
    said = publish("tx", "--text", "none", "--dev-account", ACCOUNT, "--data-dir", first.directory)
    assert said == "4 bytes on chain/tx went to 2 remotes\n"
    check_seen(listener.next(seen="arrived"), at_other.next(seen="arrived"), b"none")
    said = publish("block", "--hex", "00ff", "--bootstrap", first.multiaddr)
    assert said.startswith("2 bytes on chain/block went to ")
    check_seen(
        listener.next(seen="arrived", name="block"), at_other.next(seen="arrived", name="block"), b"\x00\xff"
    )
    # Ctrl-C is how they end, in order.
    assert (listener.end(), at_other.end()) == ((0, ""), (0, ""))
    command = (sys.executable, "-m", "p2pai", "topic", "tap", "blok", "--seconds", "1")
    silent = subprocess.run(
        (*command, "--data-dir", other.directory), capture_output=True, text=True, timeout=60, check=True
    )
    assert silent.stdout == ""
    assert "there are: chain/block, chain/tx" in silent.stderr
    row = row_of(first, "/chain/tx/1")
    assert (row["published"], row["sent"], row["ours"]) == (1, 2, True)
    listed = p2pai(devnet, other.directory, "topic", "list", "chain/tx").splitlines()
    assert "counted for" in listed[0]
    assert listed[3].split()[0] == "chain/tx"
    assert len(listed) == 4


def on_terminal(columns, seconds, *arguments):
    """Run a command on a terminal, interrupt it after a while; return its status and what was drawn."""
    terminal, inner = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    command = (sys.executable, "-m", "p2pai", *map(str, arguments))
    process = subprocess.Popen(command, stdin=inner, stdout=inner, stderr=inner, env=TERMINAL)
    os.close(inner)
    timers = (
        threading.Timer(seconds, process.send_signal, (signal.SIGINT,)),
        threading.Timer(seconds + WAIT_S, process.kill),
    )
    for timer in timers:
        timer.start()
    drawn = b""
    with suppress(OSError):  # how a terminal says that nobody writes to it any more
        while part := os.read(terminal, 1 << 16):
            drawn += part
    os.close(terminal)
    status = process.wait(WAIT_S)
    for timer in timers:
        timer.cancel()
    return status, drawn.decode()


@pytest.mark.slow
def test_a_followed_table_is_renewed_in_place_within_eighty_columns(network):
    _, _, other = network
    status, drawn = on_terminal(80, 6, "topic", "list", "--follow", "--data-dir", other.directory)
    assert status == 0
    assert drawn.count("counted for") >= 2
    assert "\x1b[1A" in drawn, "the cursor went nowhere"
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn)
    assert max(map(len, re.split(r"[\r\n]+", plain))) <= 80


def check_seen(heard, tapped, body):
    """Check that a listener and a node saw one message, and that the node knows better what it is worth."""
    assert (heard["outcome"], tapped["outcome"]) == ("accepted", "rejected")
    assert (heard["id"], heard["sender"], heard["body"]) == (tapped["id"], tapped["sender"], tapped["body"])
    assert heard["body"] == {"size": len(body), "data": body.hex()}
    assert 0 <= heard["latency_ms"] < 60_000
    assert tapped["kind"] == "bytes"
