"""The example of docs/PLUGIN.md, run as it stands there, against a network of real processes."""

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from libp2p import new_host
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr

from testnet.devnet.launch import Devnet, Node
from tests.functional.network import BOOTSTRAP, height, start, wait_height

PAGE = Path(__file__).parents[2] / "docs" / "PLUGIN.md"
LEFT_S_MAX = 60.0
LINES_MAX = 45


@pytest.fixture
def devnet(tmp_path: Path) -> Iterator[Devnet]:
    with Devnet(tmp_path / "net") as running:
        yield running


def example() -> str:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return code


def run_example(node: Node, wanted: int, directory: Path) -> tuple[str, str]:
    """Run it until p2pai has left, and the echo of its host after that; returns the tip it saw."""
    arguments = (node.multiaddr, str(wanted), str(directory / "plugin"))
    process = subprocess.Popen(
        [sys.executable, "-c", example(), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = trio.run(read_and_ask, process)
    finally:
        process.kill()
        process.communicate()
    return said


async def read_and_ask(process: subprocess.Popen[str]) -> tuple[str, str]:
    lines: list[str] = []
    with trio.fail_after(LEFT_S_MAX):
        while not any(line.startswith("p2pai has left") for line in lines):
            line = await trio.to_thread.run_sync(process.stdout.readline, abandon_on_cancel=True)
            assert line, process.stderr.read()
            lines.append(line)
        echo = await ask_echo(lines[-1].split()[-1], b"still here?")
    (tip,) = (line.split()[1] for line in lines if line.startswith("chain"))
    return tip, echo


async def ask_echo(address: str, data: bytes) -> str:
    host = new_host()
    info = info_from_p2p_addr(Multiaddr(address))
    async with host.run([]):
        await host.connect(info)
        stream = await host.new_stream(info.peer_id, ["/example/echo/1"])
        await stream.write(data)
        answer = await stream.read(1024)
        with contextlib.suppress(Exception):
            for connection in host.get_network().get_connections():
                await connection.close()
                await connection.muxed_conn.secured_conn.close()
    return answer.decode()


def test_the_example_is_short() -> None:
    assert len([line for line in example().splitlines() if line.strip()]) <= LINES_MAX


def test_it_joins_sees_the_chain_leaves_and_its_host_serves_on(devnet: Devnet, tmp_path: Path) -> None:
    node = start(devnet, [])[BOOTSTRAP.name]
    tip, echo = run_example(node, 0, tmp_path)
    assert tip == node.call("node.status")["tip"]
    assert echo == "still here?"
    assert node.call("node.status")["height"] == 0


@pytest.mark.slow
def test_it_sees_the_blocks_of_a_network_that_works(devnet: Devnet, tmp_path: Path) -> None:
    node = start(devnet)[BOOTSTRAP.name]
    wait_height(node, 3)
    tip, _ = run_example(node, 3, tmp_path)
    shown = node.call("block.show", block=tip[:16])
    assert 3 <= shown["height"] <= height(node)
