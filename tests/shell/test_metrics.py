"""Metrics and probes over real HTTP on loopback, of a real core."""

from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from p2pai import __version__
from p2pai.chain.spec import dev_account_seed
from p2pai.gossip.sightings import Arrived, Banned, Dropped, Message, Outcome, Sent
from p2pai.node.core import NodeCore
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import PeerId
from p2pai.primitives.keys import derive_keys
from p2pai.shell import metrics
from p2pai.shell.specs import load_spec
from testnet.simulator.disk import Disk

SPEC = load_spec("devnet")
REMOTE = PeerId("remote")


def core():
    keys = derive_keys(dev_account_seed(SPEC.name, 7))
    return NodeCore(SPEC, keys, PeerId("me"), ("peer",), Disk())


@asynccontextmanager
async def serving(remotes=0, observers=None, where="127.0.0.1:0"):
    """Serve; yields a function that gets a path."""
    seen = [] if observers is None else observers
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery, httpx.AsyncClient(trust_env=False) as http:
            url = await nursery.start(metrics.run_metrics, core(), lambda: remotes, seen, where)

            async def get(path):
                return await http.get(url.removesuffix("/metrics") + path)

            yield get
            nursery.cancel_scope.cancel()


def samples(text):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_the_ledger_is_asked_at_each_scrape():
    async with serving(remotes=3) as get:
        answer = await get("/metrics")
    found = samples(answer.text)
    assert answer.headers["content-type"].startswith("text/plain")
    assert found["p2pai_remotes",] == 3
    assert found["p2pai_height_blocks",] == 0
    assert found["p2pai_tip_time_seconds",] == SPEC.genesis_time
    assert found["p2pai_ticket_price_atoms",] == SPEC.params.ticket_price_atoms
    assert found["p2pai_tasks", ("stage", "training")] == len(SPEC.tasks)
    assert found["process_resident_memory_bytes",] > 1 << 20
    info = {"chain": SPEC.name, "chain_id": SPEC.id.hex(), "version": __version__}
    assert found["p2pai_node_info", *sorted(info.items())] == 1


async def test_gossip_is_counted_by_what_is_said_not_by_topic():
    observers = []
    async with serving(observers=observers) as get:
        (see,) = observers
        for task in ("a" * 64, "b" * 64):
            topic = f"/p2pai/{SPEC.short_id}/{task}/it_res/1"
            see(Arrived(REMOTE, Message(b"1", b"", topic, b"xyz"), Outcome.ACCEPTED))
        for noise in range(50):
            see(Arrived(REMOTE, Message(b"2", b"", f"noise {noise}", b""), Outcome.INVALID))
        see(Sent(REMOTE, topic, b"1", 100))
        see(Dropped(REMOTE, topic, b"1", 100))
        see(Banned(REMOTE, 60))
        found = samples((await get("/metrics")).text)
    arrived = {key: value for key, value in found.items() if key[0].endswith("arrived_messages_total")}
    assert arrived == {
        ("p2pai_gossip_arrived_messages_total", ("outcome", "accepted"), ("topic", "it_res")): 2,
        ("p2pai_gossip_arrived_messages_total", ("outcome", "invalid"), ("topic", "other")): 50,
    }
    assert found["p2pai_gossip_bytes_total", ("direction", "arrived"), ("topic", "it_res")] == 6
    assert found["p2pai_gossip_bytes_total", ("direction", "sent"), ("topic", "it_res")] == 100
    assert found["p2pai_gossip_sent_messages_total", ("outcome", "dropped"), ("topic", "it_res")] == 1
    assert found["p2pai_banned_remotes_total",] == 1


@pytest.mark.parametrize(("remotes", "status"), [(0, 503), (1, 200)])
async def test_a_node_is_ready_once_it_knows_somebody(remotes, status):
    async with serving(remotes) as get:
        assert (await get("/livez")).status_code == 200
        assert (await get("/readyz")).status_code == status


async def test_nothing_else_is_served_and_nothing_can_be_ordered():
    async with serving() as get:
        for path in ("/", "/rpc", "/gossip", "/health"):
            assert (await get(path)).status_code == 404


@pytest.mark.parametrize("where", ["", "9464", ":9464", "127.0.0.1:", "127.0.0.1:x", "h:65536", "h:٣"])
def test_a_malformed_address_is_a_sentence(where):
    with pytest.raises(InvalidInput, match="HOST:PORT"):
        metrics.parse_address(where)


def test_addresses_of_both_kinds_are_read():
    assert metrics.parse_address("0.0.0.0:9464") == ("0.0.0.0", 9464)
    assert metrics.parse_address("[::1]:80") == ("::1", 80)


async def test_a_port_that_is_taken_is_a_sentence():
    async with serving() as get:
        taken = (await get("/livez")).url.port
        with pytest.raises(Unavailable, match="can't be used"):
            await metrics.run_metrics(
                core(), lambda: 0, [], f"127.0.0.1:{taken}", task_status=trio.TASK_STATUS_IGNORED
            )
