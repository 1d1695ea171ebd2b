"""A faucet over real HTTP: pays once, says what is wrong with a claim, and says so when it does not know.

The node is scripted here; tests/functional/test_wallet.py has a real one.
"""

import httpx
import pytest
import trio

from p2pai.primitives import address
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import Amount
from p2pai.shell import faucet as served
from p2pai.shell.claims import open_claims
from p2pai.shell.faucet import Faucet, run_faucet
from p2pai.shell.http import listen

NOW_S = 1_800_000_000
COIN = 10**8


def dpai(n):
    return address.encode("dpai", bytes([n]) * 20)


class Node:
    """Answers as a running node does; counts what it paid."""

    def __init__(self, prefix="dpai"):
        self.prefix = prefix
        self.paid = []
        self.states = ["preparing", "posted"]
        self.fails = {}

    def call(self, method, params):
        if method in self.fails:
            raise self.fails[method]
        if method == "node.status":
            return {"address": f"{self.prefix}1xyz", "chain": "<devnet>"}
        if method == "wallet.send":
            self.paid.append((params["address"], params["atoms"]))
            self.left = list(self.states)
            return {"id": "11"}
        state = self.left.pop(0) if len(self.left) > 1 else self.left[0]
        return {
            "state": state,
            "txid": "ab" * 32 if state == "posted" else None,
            "error": "the wallet is empty",
        }


@pytest.fixture
def node(monkeypatch):
    monkeypatch.setattr(served, "POLL_S", 0.001)
    monkeypatch.setattr(served, "PAY_S_MAX", 0.3)
    return Node()


@pytest.fixture
async def client(node, tmp_path, nursery):
    with open_claims(tmp_path, hour_max=4) as claims:
        faucet = Faucet(node, claims, Amount(5 * COIN // 2), now_s=lambda: NOW_S)
        listener = listen("127.0.0.1", 0)
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        urls, started = [], trio.Event()
        nursery.start_soon(run_faucet, faucet, listener, lambda url: (urls.append(url), started.set()))
        with trio.fail_after(10):
            await started.wait()
        assert urls == [f"{base}/"]
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=20) as http:
            yield http
        nursery.cancel_scope.cancel()


async def claim(client, receiver):
    response = await client.post("/claim", json={"address": receiver})
    answer = response.json()
    return response.status_code, answer["sentence"], answer["txid"]


async def test_a_claim_is_paid_once(client, node):
    status, sentence, txid = await claim(client, dpai(1))
    assert (status, txid) == (200, "ab" * 32)
    assert sentence == f"Sent to {dpai(1)} in transaction {txid}."
    response = await client.post("/claim", json={"address": dpai(1).upper()})
    assert response.status_code == 429
    assert response.headers["retry-after"] == "86400"
    assert "has had its coins" in response.json()["sentence"]
    assert node.paid == [(dpai(1), 5 * COIN // 2)]


async def test_people_get_a_page(client, node):
    page = await client.get("/")
    assert page.status_code == 200
    assert "Gives 2.5 coins" in page.text
    assert "&lt;devnet&gt;" in page.text
    assert "<devnet>" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    done = await client.post("/claim", data={"address": f" {dpai(2)} "})
    assert done.status_code == 200
    assert "Sent to" in done.text
    bad = await client.post("/claim", data={"address": "<script>alert(1)</script>"})
    assert bad.status_code == 400
    assert "<script>" not in bad.text


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400), (b"[]", 400), (b"{}", 400), (b"{", 400), (b"\xff", 400), (b'{"address": 7}', 400),
        (b'{"address": "nowhere"}', 400), (b'{"address": null}', 400), (b"[" * 2000, 400),
        (b'{"address": "' + b"x" * 3000 + b'"}', 413),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
async def test_a_bad_claim_is_a_sentence(client, node, content, status, kind):
    response = await client.post("/claim", content=content, headers={"content-type": kind})
    assert response.status_code == status
    assert node.paid == []
    if kind == "application/json":
        assert response.json()["sentence"].endswith(".")
    else:
        assert "<p>" in response.text


async def test_an_address_of_another_network(client, node):
    status, sentence, _ = await claim(client, address.encode("tpai", bytes(20)))
    assert (status, "another network" in sentence) == (400, True)


async def test_what_the_node_refuses_may_be_claimed_again(client, node):
    node.states = ["failed"]
    assert await claim(client, dpai(1)) == (503, "The faucet can't pay now: the wallet is empty.", None)
    node.states = ["posted"]
    assert (await claim(client, dpai(1)))[0] == 200


async def test_without_a_node_nothing_is_claimed(client, node):
    node.fails = {"node.status": Unavailable("no node is running")}
    assert (await claim(client, dpai(1)))[0] == 503
    assert node.paid == []
    node.fails = {}
    assert (await claim(client, dpai(1)))[0] == 200


@pytest.mark.parametrize(
    "trouble", [{"wallet.send": Unavailable("lost")}, {"submission": Unavailable("lost")}, {}], ids=str
)
async def test_what_is_not_known_is_never_paid_twice(client, node, trouble):
    """The node may have paid: it does not answer, or does not come to an end."""
    node.fails, node.states = trouble, ["preparing"]
    status, sentence, _ = await claim(client, dpai(1))
    assert (status, "did not say whether it paid" in sentence) == (502, True)
    node.fails, node.states = {}, ["posted"]
    assert (await claim(client, dpai(1)))[0] == 429
    assert len(node.paid) <= 1


async def test_many_at_once_are_paid_within_the_limits(client, node):
    """From one place, so three of them; the same address twice among them."""
    statuses = []

    async def ask(n):
        statuses.append((await claim(client, dpai(n)))[0])

    async with trio.open_nursery() as nursery:
        for n in (1, 1, 2, 3, 4, 5):
            nursery.start_soon(ask, n)
    assert sorted(statuses) == [200] * 3 + [429] * 3
    assert len({receiver for receiver, _ in node.paid}) == len(node.paid) == 3


async def test_a_crowd_is_sent_away(client, node, monkeypatch):
    monkeypatch.setattr(served, "WAITING_MAX", 0)
    assert (await claim(client, dpai(1)))[0] == 503
    assert node.paid == []


def test_mainnet_has_none(tmp_path):
    with open_claims(tmp_path) as claims, pytest.raises(InvalidInput, match="mainnet"):
        Faucet(Node("pai"), claims, Amount(1))
