"""A small devnet of real processes for functional tests; the same commands as a user gives."""

import json
import os
import signal
import subprocess
from pathlib import Path

from testnet.devnet.eight import BOOTSTRAP, WORKERS
from testnet.devnet.launch import Devnet, Node, wait_for

GROW_S = 180.0
"""For a few blocks of 6 s on a loaded machine."""


def start(devnet: Devnet, plans=WORKERS) -> dict[str, Node]:
    """Start the bootstrap peer and the given nodes; return them by name when all answer."""
    return devnet.launch((BOOTSTRAP, *plans))


def height(node: Node) -> int:
    return node.call("node.status")["height"]


def wait_height(node: Node, wanted: int) -> None:
    assert wait_for(lambda: height(node) >= wanted, GROW_S), f"{node.plan.name} stays at {height(node)}"


def kill_9(node: Node) -> None:
    """Kill a node and its trainer the hard way."""
    os.killpg(node.pid, signal.SIGKILL)
    node.process.wait(10)


def p2pai(devnet: Devnet, directory: Path, *arguments: str, status: int = 0) -> str:
    """Run a command as a user would; return what it printed."""
    done = subprocess.run(
        (*devnet.executable, *arguments, "--data-dir", str(directory)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
    return done.stdout if status == 0 else done.stderr


def p2pai_json(devnet: Devnet, directory: Path, *arguments: str):
    return json.loads(p2pai(devnet, directory, *arguments, "--json"))
