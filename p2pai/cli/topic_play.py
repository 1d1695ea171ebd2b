"""`p2pai topic play`: let a node hear a recording's messages again."""

from collections.abc import Iterator
from math import inf
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from p2pai.chain.spec import ChainSpec
from p2pai.cli import options, screen, topic_source
from p2pai.cli.recordings import check_chain, opened
from p2pai.cli.topic_record import File, Pattern, select
from p2pai.gossip.recording import Entry, Holds, Recording
from p2pai.gossip.sightings import Message
from p2pai.gossip.topics import short_name
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.keys import derive_keys
from p2pai.shell.specs import load_spec

OFFLINE = "offline"
Report = dict[str, Any]


def play(
    file: File,
    *,
    to: Annotated[
        str, typer.Option("--to", metavar="MULTIADDR|offline", help="Who shall hear it; offline: a new core.")
    ] = OFFLINE,
    speed: Annotated[
        float, typer.Option(min=0, metavar="X", help="So many times as fast as it was; 0: without pauses.")
    ] = 1.0,
    topic: Pattern = "*",
    chain: topic_source.Chain = None,
    as_json: options.AsJson = False,
) -> None:
    """Let a node hear a recording's messages again, each as its author signed it.

    Offline a new core hears them at the times at which they were recorded, without waiting, and what it makes
    of each is held against what the recorded node did. A real node gets them by gossip; what it makes of them
    is shown by p2pai topic tap and record on that node.
    """
    with opened(file, Holds.GOSSIP) as reading:
        spec = _spec(reading.head, chain)
        if to == OFFLINE:
            answer = play_offline(select(reading, topic), spec)
        else:
            answer = _play_to(to, select(reading, topic), spec, speed)
    if not answer["topics"]:
        raise InvalidInput(f"{file} holds no message on a topic that {topic} means")
    if as_json:
        screen.show_json(answer)
    else:
        screen.show(render(answer))
    if to != OFFLINE and not any(row["left"] for row in answer["topics"]):
        raise Unavailable(f"nothing was sent: {to} follows none of the topics")


def play_offline(entries: Iterator[Entry], spec: ChainSpec) -> Report:
    """Let a new core hear messages; return what it made of them and where it stands then."""
    from p2pai.node.playing import Player
    from p2pai.node.state_hash import Standing

    player = Player(spec, derive_keys(bytes(32)))
    counts: dict[str, dict[str, int]] = {}
    others: list[Report] = []
    for heard in player.play(entries):
        row = counts.setdefault(heard.message.topic, {})
        row[heard.verdict.value] = row.get(heard.verdict.value, 0) + 1
        verdict = OUTCOMES[heard.verdict.value]
        if heard.before not in (verdict, "published"):
            others.append(
                {
                    "id": heard.message.id.hex(),
                    "topic": heard.message.topic,
                    "before": heard.before,
                    "now": verdict,
                    "reason": heard.reason,
                }
            )
    core = player.core
    return {
        "topics": [{"topic": name, **counts[name]} for name in sorted(counts)],
        "judged_differently": others,
        "height": core.state.height,
        "tip": core.state.tip.hex(),
        "mempool": len(core.ledger.mempool),
        "state": Standing().note(core).state.hex(),
    }


OUTCOMES = {"accept": "accepted", "ignore": "ignored", "reject": "rejected"}
"""What a verdict is called of a message that arrived."""


def _play_to(address: str, entries: Iterator[Entry], spec: ChainSpec, speed: float) -> Report:
    from p2pai.gossip.libp2p.listener import Listener
    from p2pai.shell import listening

    listener = Listener(spec.short_id, [address], lambda _: False)
    counts = listening.play(listener, _timed(entries), speed or inf)
    return {
        "topics": [
            {"topic": name, "messages": counts[name][0], "left": counts[name][1]} for name in sorted(counts)
        ]
    }


def _timed(entries: Iterator[Entry]) -> Iterator[tuple[int, Message]]:
    """Give messages with the time since the first."""
    from p2pai.node.playing import messages

    begin_us: int | None = None
    for entry, message, _, _ in messages(entries):
        begin_us = entry.time_us if begin_us is None else begin_us
        yield max(0, entry.time_us - begin_us), message


def _spec(head: Recording, chain: str | None) -> ChainSpec:
    """Return the chain's spec: the recording's own, or the one named."""
    spec = head.birth.spec if head.birth and chain is None else load_spec(chain or "devnet")
    check_chain(head, spec)
    return spec


def render(answer: Report) -> RenderableType:
    """Show what became of the messages."""
    columns = [
        name for name in ("messages", "left", *OUTCOMES) if any(name in row for row in answer["topics"])
    ]
    rows = [(short_name(row["topic"]), *(row.get(name, 0) for name in columns)) for row in answer["topics"]]
    others = [
        (f"..{m['id'][-screen.END_LENGTH :]}", short_name(m["topic"]), m["before"], m["now"], m["reason"])
        for m in answer.get("judged_differently", ())
    ]
    facts = [
        (name.capitalize(), answer[name]) for name in ("height", "tip", "mempool", "state") if name in answer
    ]
    return screen.stack(
        screen.table(("topic", *(f"{name}>" for name in columns)), rows),
        screen.facts(facts) if facts else None,
        screen.table(("message", "topic", "before", "now", "reason"), others) if others else None,
    )
