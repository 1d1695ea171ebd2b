"""`p2pai dkg`: look at how a task's supervisors made their common key."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from p2pai.cli import options, screen
from p2pai.cli.access import reader

app = typer.Typer(no_args_is_help=True, help="Check how supervisors made their common key.")

Which = Annotated[str, typer.Argument(metavar="TASK", help="The task's id, or the beginning of it.")]


@app.command("verify")
def verify(
    task: Which, *, data_dir: options.DataDir = options.DATA_DIR_DEFAULT, as_json: options.AsJson = False
) -> None:
    """Check every deal, complaint and confirmation of a task's key again, from the chain alone."""
    answer = reader(options.expand(data_dir)).call("dkg.transcript", {"task": task})
    if as_json:
        screen.show_json(answer)
    else:
        screen.show(render(answer))


def render(answer: dict[str, Any]) -> RenderableType:
    """Show an answer of `dkg.transcript`."""
    headings = ("height>", "attempt>", "type", "by", "found")
    rows = [
        (s["height"], s["attempt"], s["type"], screen.short(s["by"]), s["found"]) for s in answer["steps"]
    ]
    facts = [
        ("Task", answer["task"]),
        ("Group key", answer["group_key"]),
        ("Members", f"{answer['members']}, of whom {answer['threshold']} sign"),
        ("Deals", f"{answer['deals']}{', in the chain spec' if answer['genesis'] else ''}"),
        ("Transcript", "holds: every proof, and the key and shares that the deals give"),
    ]
    return screen.stack(screen.table(headings, rows) if rows else None, screen.facts(facts))
