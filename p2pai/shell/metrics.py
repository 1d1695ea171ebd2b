"""Numbers for Prometheus, and probes for whoever keeps the node running: `p2pai start --metrics HOST:PORT`.

`GET /metrics` is the node in Prometheus's text form, `GET /livez` answers as long as the node works at all,
`GET /readyz` as soon as it is connected with a remote of its chain, and 503 before. Nothing here needs the
token, can be ordered, or is a secret, so it may stand on an address that the scraping machine reaches; it
listens only where it is told to.

Labels have few values, so that no remote can make series without end: topics are counted by what is said on
them (`gossip.topics.NAMES`), the others together.

Source: RELIABILITY (5), "logs, metrics"; Prometheus's exposition format and naming of metrics.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, Protocol

import trio
from hypercorn.trio import serve
from prometheus_client import CollectorRegistry, Counter, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from p2pai import __version__
from p2pai.gossip import sightings, topics
from p2pai.gossip.sightings import Observer, Sighting
from p2pai.primitives.errors import InvalidInput, InvalidMessage
from p2pai.shell.http import listen, server_config

OTHER: Final = "other"
"""Stands for every topic that isn't ours."""

PORT_MAX: Final = 65_535


class Node(Protocol):
    """Whose numbers these are; the runtime does."""

    def query(self, method: str, params: dict[str, Any]) -> Any:  # noqa: ANN401
        """Answer a question."""


class Started(Protocol):
    """How the server says that it serves, and where."""

    def started(self, url: str) -> None:
        """Say so, once."""


def parse_address(text: str) -> tuple[str, int]:
    """Read `HOST:PORT`; an IPv6 address stands in brackets.

    Raises:
      InvalidInput: it is something else.
    """
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > PORT_MAX:
        raise InvalidInput(f"metrics are served on HOST:PORT, such as 127.0.0.1:9464, not on {text[:80]!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


async def run_metrics(
    node: Node, remotes: Callable[[], int], observers: list[Observer], where: str, *, task_status: Started
) -> None:
    """Serve until cancelled.

    Args:
      node: asked at each scrape.
      remotes: tells with how many remotes of its chain the node is connected.
      observers: of its gossip.
      where: `HOST:PORT`; port 0 is any free one.
      task_status: told the URL.

    Raises:
      InvalidInput: there is no such address on this machine.
      Unavailable: the port is taken.
    """
    host, port = parse_address(where)
    listener = listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{listener.getsockname()[1]}/metrics"
    # The two libraries write the same interface in types that don't match.
    app: Any = make_app(make_registry(node, remotes, observers), remotes)
    async with trio.open_nursery() as nursery:
        config = server_config(listener)
        await nursery.start(partial(serve, app, config, shutdown_trigger=trio.sleep_forever))
        task_status.started(url)


def make_app(registry: CollectorRegistry, remotes: Callable[[], int]) -> Starlette:
    """Return the web application."""

    async def answer_metrics(request: Request) -> Response:  # noqa: ARG001
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def answer_live(request: Request) -> Response:  # noqa: ARG001
        return PlainTextResponse("live\n")

    async def answer_ready(request: Request) -> Response:  # noqa: ARG001
        if remotes() == 0:
            return PlainTextResponse("connected with nobody\n", status_code=503)
        return PlainTextResponse("ready\n")

    routes = {"/metrics": answer_metrics, "/livez": answer_live, "/readyz": answer_ready}
    return Starlette(routes=[Route(path, answer, methods=["GET"]) for path, answer in routes.items()])


def make_registry(node: Node, remotes: Callable[[], int], observers: list[Observer]) -> CollectorRegistry:
    """Return all metrics of a node; its gossip is counted from now on."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(_Ledger(node, remotes))
    observers.append(_Gossip(registry).see)
    return registry


class _Gossip:
    """Counts sightings."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._arrived = Counter(
            "p2pai_gossip_arrived_messages",
            "Gossip messages that arrived, by what became of them.",
            ["topic", "outcome"],
            registry=registry,
        )
        self._bytes = Counter(
            "p2pai_gossip_bytes", "Bytes of gossip messages.", ["topic", "direction"], registry=registry
        )
        self._sent = Counter(
            "p2pai_gossip_sent_messages",
            "Gossip messages queued for remotes, or dropped since a remote reads too slowly.",
            ["topic", "outcome"],
            registry=registry,
        )
        self._banned = Counter(
            "p2pai_banned_remotes", "Remotes refused for a while for what they did.", registry=registry
        )

    def see(self, sighting: Sighting) -> None:
        """Take one sighting."""
        match sighting:
            case sightings.Arrived(_, message, outcome):
                topic = _kind(message.topic)
                self._arrived.labels(topic, outcome.value).inc()
                self._bytes.labels(topic, "arrived").inc(len(message.data))
            case sightings.Sent(_, name, _, size):
                self._sent.labels(_kind(name), "queued").inc()
                self._bytes.labels(_kind(name), "sent").inc(size)
            case sightings.Dropped(_, name):
                self._sent.labels(_kind(name), "dropped").inc()
            case sightings.Banned():
                self._banned.inc()


class _Ledger(Collector):
    """What the node knows, asked at each scrape."""

    def __init__(self, node: Node, remotes: Callable[[], int]) -> None:
        self._node, self._remotes = node, remotes

    def describe(self) -> Iterator[Metric]:
        """Name nothing: a registry would otherwise ask the node before it has started."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield all gauges."""
        status: Mapping[str, Any] = self._node.query("chain.status", {})
        info = {"version": __version__, "chain": status["chain"], "chain_id": status["chain_id"]}
        yield InfoMetricFamily("p2pai_node", "The node's software and network.", info)
        yield _gauge("p2pai_remotes", "Remotes of the chain that it is connected with.", self._remotes())
        yield _gauge("p2pai_height_blocks", "Height of the best chain's tip.", status["height"])
        yield _gauge("p2pai_tip_time_seconds", "Unix time that the tip's block names.", status["time"])
        yield _gauge(
            "p2pai_checkpoint_height_blocks", "Height of the last checkpoint.", status["checkpoint"]["height"]
        )
        yield _gauge("p2pai_side_branches", "Tips that are not the best.", len(status["side_branches"]))
        yield _gauge("p2pai_ticket_price_atoms", "Price of a ticket.", status["ticket_price"])
        pool = status["mempool"]
        yield _gauge("p2pai_mempool_transactions", "Transactions that wait for a block.", pool["count"])
        yield _gauge("p2pai_mempool_bytes", "Their size.", pool["bytes"])
        tasks = GaugeMetricFamily("p2pai_tasks", "Tasks that are not over, by stage.", labels=["stage"])
        for stage, count in status["tasks"].items():
            tasks.add_metric([stage], count)
        yield tasks


def _gauge(name: str, text: str, value: int) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value)


def _kind(topic: str) -> str:
    try:
        return topics.parse(topic).name
    except InvalidMessage:
        return OTHER
