"""`p2pai topic trace`: the way of one message through the network, from several nodes' recordings."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.tree import Tree

from p2pai.cli import options, screen
from p2pai.cli.recordings import opened
from p2pai.gossip.message_names import MessageName, read_name
from p2pai.gossip.recording import Holds
from p2pai.gossip.sightings import Outcome
from p2pai.gossip.traces import Witness
from p2pai.gossip.traces import trace as put_together

Report = dict[str, Any]


def trace(
    message: Annotated[
        str,
        typer.Argument(metavar="MESSAGE", help="How its id begins or ends, in hexadecimal, or BEGIN..END."),
    ],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Recordings of one or more nodes.")],
    *,
    as_json: options.AsJson = False,
) -> None:
    """Show who had a message when and from whom, and what each node made of it."""
    name = read_name(message)
    answer = put_together([witness(file, name) for file in files])
    if as_json:
        screen.show_json(answer)
    else:
        screen.show(render(answer))


def witness(file: Path, name: MessageName) -> Witness:
    """Read what one node saw of a message.

    Raises:
      InvalidInput: the file is no recording of gossip.
    """
    with opened(file, Holds.GOSSIP) as reading:
        made = Witness(reading.head, name)
        for entry in reading:
            made.see(entry)
    return made


def render(answer: Report) -> RenderableType:
    """Show the way of a message as a tree, and all copies of it."""
    facts = [
        ("Message", answer["id"]),
        ("Topic", answer["topic"]),
        ("Size", f"{answer['size']} bytes"),
        ("Said at", f"{screen.moment(answer['start_us'] // 1_000_000)}, by the first node's clock"),
        ("Not seen by", ", ".join(n["node"] for n in answer["nodes"] if n["first_us"] is None) or "nobody"),
    ]
    outcomes = {n["node"]: _outcome(n) for n in answer["nodes"]}
    return screen.stack(
        screen.facts(facts),
        *(_grow(branch, Tree(_label(branch, outcomes)), outcomes) for branch in answer["tree"]),
        screen.table(
            ("node", "after>", "from", "outcome"), [row for n in answer["nodes"] for row in _copies(n)]
        ),
        screen.table(
            ("node", "clock ahead by>", "give or take>"), [_clock(node) for node in answer["nodes"]]
        ),
    )


def _grow(branch: Report, tree: Tree, outcomes: dict[str, str]) -> Tree:
    for child in branch["children"]:
        _grow(child, tree.add(_label(child, outcomes)), outcomes)
    return tree


def _label(branch: Report, outcomes: dict[str, str]) -> RenderableType:
    if not branch["recorded"]:
        return screen.clean(f"{branch['node']}  (not recorded)")
    return screen.clean(
        f"{branch['node']}  {screen.milliseconds(branch['after_us'])}  {outcomes[branch['node']]}"
    )


def _outcome(node: Report) -> str:
    if node["published"]:
        return "published"
    sound = (copy["outcome"] for copy in node["copies"] if copy["outcome"] != Outcome.INVALID)
    return next(sound, "not seen")


def _copies(node: Report) -> list[tuple[object, ...]]:
    came = [
        (node["node"], screen.milliseconds(c["after_us"]), c["from"], c["outcome"]) for c in node["copies"]
    ]
    lost = [
        (node["node"], screen.milliseconds(d["after_us"]), f"to {d['to']}", "dropped")
        for d in node["dropped"]
    ]
    return [*came, *lost]


def _clock(node: Report) -> tuple[object, ...]:
    if node["clock"] is None:
        return node["node"], "not known", ""
    ahead, error = node["clock"]["ahead_us"], node["clock"]["error_us"]
    return node["node"], screen.milliseconds(ahead), screen.milliseconds(error)
