"""Nodes on one local network find each other by multicast DNS: here two namespaces joined by a cable."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pai.gossip.libp2p import mdns

HERE = Path(__file__).parent
FOUND_S = 40
ADDRESS = "/ip4/10.77.0.1/tcp/4001/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA"


def test_a_record_holds_our_addresses() -> None:
    texts = [ADDRESS.replace("4001", str(port)) for port in range(4001, 4020)]
    assert mdns.parse(mdns.text_of(texts)) == texts[: mdns.TEXTS_MAX]


def test_what_else_is_in_a_record_is_left_out() -> None:
    strings = (b"x=1", b"", b"dnsaddr=\xff", b"dnsaddr=" + ADDRESS.encode())
    text = b"".join(bytes([len(s)]) + s for s in strings)
    assert mdns.parse(text) == [ADDRESS]


@given(st.binary(max_size=3000))
def test_any_record_is_read(text: bytes) -> None:
    assert len(mdns.parse(text)) <= mdns.TEXTS_MAX


@pytest.fixture
def namespaces() -> Iterator[list[str]]:
    """Two network namespaces, 10.77.0.1 and 10.77.0.2, with one cable between them."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("namespaces need root and the command ip")
    names = [f"p2pai-mdns-{os.getpid()}-{n}" for n in (1, 2)]
    ends = [f"pm{os.getpid() % 100_000}-{n}" for n in (1, 2)]
    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for number, (name, end) in enumerate(zip(names, ends, strict=True), 1):
            ip("link", "set", end, "netns", name)
            ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", end)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", end, "up")
        yield names
    finally:
        for name in names:
            subprocess.run(("ip", "netns", "delete", name), check=False, capture_output=True)


def ip(*words: str) -> None:
    done = subprocess.run(("ip", *words), check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"ip {' '.join(words)}: {done.stderr.strip()}")


@pytest.mark.slow
def test_two_namespaces_find_each_other(namespaces: list[str], tmp_path: Path) -> None:
    paths = f"{HERE.parents[2]}:{HERE}"
    nodes: list[subprocess.Popen[str]] = []
    limit = threading.Timer(FOUND_S, lambda: [node.kill() for node in nodes])
    try:
        for number, name in enumerate(namespaces, 1):
            key, cache = tmp_path / f"{number}.key", tmp_path / f"{number}.txt"
            arguments = (key, "/ip4/0.0.0.0/tcp/4001", cache, "--mdns")
            nodes.append(
                subprocess.Popen(
                    ("ip", "netns", "exec", name, sys.executable, HERE / "lone_node.py", *arguments),
                    env={**os.environ, "PYTHONPATH": paths},
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        # Who waits in vain sees the nodes end.
        limit.start()
        ids = [read(node, "serves").split()[1] for node in nodes]
        assert read(nodes[0], "remotes").split()[1] == ids[1]
        assert read(nodes[1], "remotes").split()[1] == ids[0]
    finally:
        limit.cancel()
        for node in nodes:
            node.kill()
            node.wait()
            assert node.stdout is not None
            node.stdout.close()


def read(node: subprocess.Popen[str], word: str) -> str:
    """Return the next line of a node that begins with a word."""
    assert node.stdout is not None
    for line in node.stdout:
        if line.startswith(word):
            return line
    raise AssertionError(f"the node ended before it said {word!r}")
