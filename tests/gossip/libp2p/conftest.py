"""Starts the nodes of a test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from gossip_lab import CHAIN, Node, Recorder, Start

from p2pai.gossip.libp2p.network import Network
from p2pai.gossip.libp2p.own_host import OwnHost


@pytest.fixture
async def start(tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Start]:
    """Start nodes; each test's nodes end with it."""

    async def start_node(
        name: str, *bootstrap: Node | str, chain: str = CHAIN, listen: str = "/ip4/127.0.0.1/tcp/0"
    ) -> Node:
        seen = Recorder()
        addresses = [b if isinstance(b, str) else b.network.addresses[0] for b in bootstrap]
        network = Network(OwnHost(tmp_path / f"{name}.key", [listen]), addresses, chain, seen)
        node = Node(network, seen, trio.CancelScope(), trio.Event())

        async def run(task_status: trio.TaskStatus[None]) -> None:
            try:
                with node.scope:
                    await network.run(task_status)
            finally:
                node.ended.set()

        with trio.fail_after(5):
            await nursery.start(run)
        return node

    yield start_node
    nursery.cancel_scope.cancel()
