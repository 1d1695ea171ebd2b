"""`p2pai task`: order a training, follow it, look at what came of it."""

import secrets
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

from p2pai.cli import check as checking
from p2pai.cli import definition, options, progress, screen
from p2pai.cli.access import Source, reader, running
from p2pai.cli.wallet import wait_until_posted

app = typer.Typer(no_args_is_help=True, help="Order the training of a network, and follow it.")

Which = Annotated[str, typer.Argument(metavar="TASK", help="The task's id, or the beginning of it.")]


@app.command("submit")
def submit(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.yaml", help="What to train; see examples/digits.yaml.")
    ],
    *,
    data: Annotated[Path | None, typer.Option(help="Data file, in place of the one the task names.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the task until it is paid.")] = False,
    replace: Annotated[
        str | None, typer.Option(metavar="TASK", help="A task of yours, not started, to post this one for.")
    ] = None,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """Order a training and put its fee in escrow; needs the running node, which serves the data."""
    submission = definition.load(file, data)
    if not as_json:
        for note in submission.notes:
            screen.show_line(f"Note: {note}.")
    node = running(options.expand(data_dir))
    order = {**submission.params(), "order": secrets.token_hex(8)}
    if replace is not None:
        order["replaces"] = node.call("task.show", {"task": replace})["task"]
    posted = wait_until_posted(node, node.call("task.submit", order)["id"])
    if not as_json:
        screen.show_line(f"Task {posted['task']} submitted for {screen.coins(submission.fee)}.")
    if watch:
        _follow(node, posted["task"], options.expand(data_dir), is_ours=True, as_json=as_json)
    elif as_json:
        screen.show_json({**posted, "notes": list(submission.notes)} if submission.notes else posted)


@app.command("revoke")
def revoke(
    task: Which, *, data_dir: options.DataDir = options.DATA_DIR_DEFAULT, as_json: options.AsJson = False
) -> None:
    """Take back a task that waits for workers still; its fee is yours again."""
    node = running(options.expand(data_dir))
    known = node.call("task.show", {"task": task})["task"]
    order = {"task": known, "order": secrets.token_hex(8)}
    posted = wait_until_posted(node, node.call("task.revoke", order)["id"])
    if as_json:
        screen.show_json(posted)
    else:
        screen.show_line(f"Task {known} is revoked by transaction {posted['txid']}.")


@app.command("pause")
def pause(
    task: Which, *, data_dir: options.DataDir = options.DATA_DIR_DEFAULT, as_json: options.AsJson = False
) -> None:
    """Consider a pause of a task that this node works on; it pauses when a majority of its workers does."""
    _consider("task.pause", task, data_dir, as_json=as_json)


@app.command("resume")
def resume(
    task: Which, *, data_dir: options.DataDir = options.DATA_DIR_DEFAULT, as_json: options.AsJson = False
) -> None:
    """Consider going on with a paused task; it goes on when a majority of its workers does."""
    _consider("task.resume", task, data_dir, as_json=as_json)


def _consider(method: str, task: str, data_dir: Path, *, as_json: bool) -> None:
    node = running(options.expand(data_dir))
    known = node.call("task.show", {"task": task})["task"]
    order = {"task": known, "order": secrets.token_hex(8)}
    posted = wait_until_posted(node, node.call(method, order)["id"])
    if as_json:
        screen.show_json(posted)
    else:
        screen.show_line(f"This node considers it; transaction {posted['txid']}.")


@app.command("check")
def check_task(
    file: Annotated[Path, typer.Argument(metavar="FILE.yaml", help="The task to check.")],
    *,
    data: Annotated[Path | None, typer.Option(help="Data file, in place of the one the task names.")] = None,
    chain: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="The network whose rules of work count.")
    ] = checking.DEVNET,
    iterations: Annotated[
        int, typer.Option(min=0, max=checking.ITERATIONS_MAX, help="Iterations to run and time; 0 for none.")
    ] = checking.ITERATIONS_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """Check a task with its data, here and without a node, and show what its training costs."""
    answer = checking.check(definition.load(file, data), chain, iterations)
    if as_json:
        screen.show_json(answer)
    else:
        screen.show(checking.render(answer))


@app.command("list")
def list_tasks(
    *, data_dir: options.DataDir = options.DATA_DIR_DEFAULT, as_json: options.AsJson = False
) -> None:
    """List the tasks of the chain."""
    tasks = reader(options.expand(data_dir)).call("task.list", {})
    if as_json:
        screen.show_json(tasks)
    else:
        screen.show(render_list(tasks))


@app.command("show")
def show_task(
    task: Which,
    *,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """Show a task: what was ordered, who worked on it, its result and its payments."""
    answer = reader(options.expand(data_dir)).call("task.show", {"task": task})
    if as_json:
        screen.show_json(answer)
    else:
        screen.show(render_task(answer))


@app.command("watch")
def watch_task(
    task: Which,
    *,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """Follow a task until it has ended; exit status 0 only if it was paid. Needs the running node."""
    directory = options.expand(data_dir)
    node = running(directory)
    known = node.call("task.show", {"task": task})["task"]
    _follow(node, known, directory, is_ours=False, as_json=as_json)


def _follow(node: Source, task: str, directory: Path, *, is_ours: bool, as_json: bool) -> None:
    answer = progress.watch(node, task, directory, is_ours=is_ours, quiet=as_json)
    if as_json:
        screen.show_json(answer)
    if not progress.is_paid(answer):
        screen.complain(f"the task ended {answer['state']}; p2pai task show {task} tells its history")
        raise typer.Exit(1)


def render_list(tasks: list[dict[str, Any]]) -> RenderableType:
    """Show an answer of `task.list`."""
    headings = ("task", "name", "state", "fee>", "miners>", "iterations>", "metric", "score>")
    return screen.table(
        headings,
        [
            (
                screen.short(t["task"]),
                t["name"],
                t["state"],
                screen.coins(t["fee"]),
                t["miners"],
                "-" if t["iterations"] is None else t["iterations"],
                t["metric"],
                screen.fraction(t["score"]),
            )
            for t in tasks
        ],
    )


def render_task(task: dict[str, Any]) -> RenderableType:
    """Show an answer of `task.show`."""
    result = task.get("result") or {}
    workers = [(w["address"], w["role"], screen.short(w["ticket"])) for w in task["workers"]]
    return screen.stack(
        screen.facts(_plain_facts(task)),
        Group(screen.clean("Ordered"), screen.facts(_pairs(task["definition"]))),
        Group(screen.clean("Common key"), screen.facts(_pairs(task["keys"]))),
        screen.table(("worker", "role", "ticket"), workers),
        Group(screen.clean("Result"), screen.facts(_pairs(result))) if result else None,
        progress.render_payouts(result["payouts"]) if result.get("payouts") else None,
        screen.table(("height>", "state"), [(h["height"], h["state"]) for h in task.get("history", ())]),
    )


def _plain_facts(task: dict[str, Any]) -> list[tuple[str, object]]:
    return [
        (key.capitalize(), screen.coins(value) if key == "fee" else value)
        for key, value in task.items()
        if not isinstance(value, dict | list)
    ]


def _pairs(values: dict[str, Any]) -> list[tuple[str, object]]:
    return [(f"  {k.replace('_', ' ')}", screen.line(v)) for k, v in values.items() if k != "payouts"]
