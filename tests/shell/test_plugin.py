"""`p2pai.attach` in one program: two stock hosts, a node on each, with the real core."""

import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from libp2p import new_host
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

import p2pai
from p2pai.primitives.errors import InvalidInput, P2paiError, Unavailable
from p2pai.shell.client import RpcClient
from p2pai.shell.specs import published_keys

SAFE = {"heartbeat_interval": 1, "spam_protection_enabled": False, "adaptive_gossip_enabled": False}
WAIT_S_MAX = 20.0


@asynccontextmanager
async def stock_host() -> AsyncIterator[tuple[Any, Any]]:
    listen = [Multiaddr("/ip4/127.0.0.1/tcp/0")]
    host = new_host(listen_addrs=listen)
    router = GossipSub([PROTOCOL_ID_V11], 3, 2, 6, **SAFE)
    pubsub = Pubsub(host, router)
    async with host.run(listen), background_trio_service(pubsub), background_trio_service(router):
        try:
            yield host, pubsub
        finally:
            # The stock host leaves its sockets open, and their warnings are errors here.
            with trio.move_on_after(2) as scope, contextlib.suppress(Exception):
                scope.shield = True
                for connection in host.get_network().get_connections():
                    await connection.close()
                    await connection.muxed_conn.secured_conn.close()


async def until(condition: Any) -> None:
    with trio.fail_after(WAIT_S_MAX):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.05)


@pytest.mark.trio
async def test_two_nodes_in_one_program_share_a_ledger(tmp_path):
    async with stock_host() as one, stock_host() as two:
        async with (
            p2pai.attach(*one, data_dir=tmp_path / "1", dev_account=1) as first,
            p2pai.attach(
                *two,
                data_dir=tmp_path / "2",
                keys=published_keys("devnet", 2),
                bootstrap=first.addresses,
                rpc_port=0,
            ) as second,
        ):
            assert first.peer_id == str(one[0].get_id())
            assert first.roles == ("peer",)
            await until(lambda: first.remotes() == (second.peer_id,))
            address = second.query("node.status")["address"]
            order = first.submit("wallet.send", {"address": address, "atoms": 1000})
            await until(lambda: second.query("node.status")["mempool"] == 1)
            assert first.query("submission", {"id": order})["state"] != "failed"
            assert first.rpc_url is None
            status = await trio.to_thread.run_sync(RpcClient(second.data_dir).call, "node.status", {})
            assert status["mempool"] == 1
        with pytest.raises(Unavailable, match="no node is running"):
            RpcClient(tmp_path / "2").call("node.status", {})
        # It comes again, with what it had said before.
        kept = {"data_dir": tmp_path / "1", "dev_account": 1, "record": tmp_path / "node.rec"}
        async with p2pai.attach(*one, **kept) as again:
            assert again.query("node.status")["mempool"] == 1
    recorded = (tmp_path / "node.rec").read_bytes()
    assert first.peer_id.encode() in recorded[:200], "its head names the node"


@pytest.mark.trio
async def test_the_program_is_told_what_was_wrong_in_one_sentence(tmp_path):
    async with stock_host() as host:

        async def attach(**settings: Any) -> None:
            async with p2pai.attach(*host, data_dir=tmp_path / "n", **settings):
                raise AssertionError("it started")

        for settings, said in (
            ({}, "needs one of keys, password and dev_account"),
            ({"dev_account": 1, "password": "p"}, "needs one of"),
            ({"dev_account": 99}, "has no dev account 99"),
            ({"password": "p"}, "holds no keys"),
            ({"dev_account": 1, "chain": "nowhere"}, "there is no chain nowhere"),
            ({"dev_account": 1, "bootstrap": ["/ip4/nonsense"]}, "malformed"),
            ({"dev_account": 1, "roles": ["king"]}, "king"),
        ):
            with pytest.raises(P2paiError, match=said):
                await attach(**settings)
        async with p2pai.attach(*host, data_dir=tmp_path / "n", dev_account=1) as node:
            with pytest.raises(Unavailable, match="another node is running"):
                await attach(dev_account=1)
            for method, params in (("nothing", {}), ("wallet.send", {"atoms": 0.5})):
                with pytest.raises(InvalidInput):
                    node.submit(method, params)
        with pytest.raises(InvalidInput, match="node with other keys"):
            await attach(dev_account=2)


@pytest.mark.trio
async def test_what_the_block_raises_comes_out_bare(tmp_path):
    async with stock_host() as host:
        with pytest.raises(ZeroDivisionError):
            async with p2pai.attach(*host, data_dir=tmp_path / "n", dev_account=1):
                raise ZeroDivisionError


@pytest.mark.trio
async def test_a_bug_of_the_node_ends_the_block_and_not_the_host(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise AssertionError("two tips")

    async with stock_host() as host:
        cancelled = []

        async def attach() -> None:
            async with p2pai.attach(*host, data_dir=tmp_path / "n", dev_account=1) as node:
                monkeypatch.setattr(node.runtime._core, "handle", fail)
                node.submit("ticket.buy", {"role": "miner"})
                try:
                    await trio.sleep_forever()
                finally:
                    cancelled.append(True)

        with trio.fail_after(WAIT_S_MAX), pytest.raises(AssertionError, match="two tips"):
            await attach()
        assert cancelled
        assert host[1].manager.is_running


def test_importing_the_package_loads_nothing():
    code = (
        "import sys, p2pai; loaded = {name.split('.')[0] for name in sys.modules};"
        "assert not loaded & {'trio', 'libp2p', 'jax', 'numpy', 'cbor2', 'structlog'}, loaded;"
        "assert callable(p2pai.attach) and p2pai.Node.__name__ == 'Node';"
        "assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    with pytest.raises(AttributeError, match="detach"):
        p2pai.detach  # noqa: B018
