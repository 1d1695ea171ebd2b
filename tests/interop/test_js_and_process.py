"""A node of js-libp2p and a real `p2pai start`: a payment made in JavaScript is taken and passed on."""

from pathlib import Path

import pytest
import trio
from gossip_lab import Recorder, until

from p2pai.chain.genesis import genesis_block
from p2pai.chain.spec import dev_account_seed
from p2pai.gossip.libp2p.network import Network
from p2pai.gossip.libp2p.own_host import OwnHost
from p2pai.primitives import address, ecdsa
from p2pai.primitives.errors import Unavailable
from p2pai.primitives.ids import PeerId
from p2pai.primitives.keys import derive_keys
from p2pai.shell.specs import load_spec
from testnet.devnet.launch import Devnet, Plan
from tests.interop.js_node import INSTALLED, js_node, until_js

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not INSTALLED, reason="make interop installs what this needs"),
]

SPEC = load_spec("devnet")
TOPIC = f"/p2pai/{SPEC.short_id}/chain/tx/1"
PAYER = {
    "topic": TOPIC,
    "chainName": SPEC.name,
    "chainId": SPEC.id.hex(),
    "value": 1000 * 10**8,
    "fee": 10**5,
}


class Listener(Recorder):
    """Hears gossip and knows no chain."""

    async def asked(self, remote: PeerId, body: bytes) -> bytes:
        raise Unavailable("nothing here")


@pytest.mark.trio
async def test_a_payment_made_in_javascript(tmp_path: Path, nursery: trio.Nursery) -> None:
    with Devnet(tmp_path) as devnet:
        node = devnet.start(Plan("node", 9, ("peer",)))
        await trio.to_thread.run_sync(devnet.wait_ready, node)
        seen = Listener()
        listen = ["/ip4/127.0.0.1/tcp/0"]
        own = OwnHost(tmp_path / "observer.key", listen)
        observer = Network(own, [node.multiaddr], SPEC.short_id, seen)
        await nursery.start(observer.run)
        await observer.join(TOPIC)
        async with js_node(SPEC.short_id) as js:
            # What the observer hears of JavaScript's messages came through the process.
            await observer.hangup(PeerId(js.peer_id), 600)
            await js.call("connect", remote=node.multiaddr)
            await js.call("join", topic=TOPIC)
            await until_js(js, "mesh", lambda mesh: node.peer_id in mesh, topic=TOPIC)
            await until(lambda: observer.remotes() == (PeerId(node.peer_id),), 30)

            await js.call("pay", **PAYER, account=7, spoil=True)
            txid = await js.call("pay", **PAYER, account=8)
            await until(lambda: seen.messages, 30)
            await trio.sleep(1.2)
            assert len(seen.messages) == 1
            assert node.call("tx.show", tx=txid)["found"]

            genesis = genesis_block(SPEC).hash.hex()
            headers = await js.call(
                "record",
                remote=node.multiaddr,
                question=["AskHeaders", [{"hex": genesis}]],
                patience_ms=5000,
            )
            assert headers == ["Headers", {"hex": ""}]
            found = await until_js(js, "findProviders", bool, key=await js.call("chainKey"))
            assert node.peer_id in {info["id"] for info in found}

            node.call("wallet.send", address=_address(), atoms=1000)
            heard = await until_js(js, "heard", bool)
            assert [h["verdict"] for h in heard] == ["accept"]
        nursery.cancel_scope.cancel()


def _address() -> str:
    keys = derive_keys(dev_account_seed(SPEC.name, 0))
    return address.encode(SPEC.prefix, ecdsa.key_hash(ecdsa.public_key(keys.spending)))
