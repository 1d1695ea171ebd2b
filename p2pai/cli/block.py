"""`p2pai block`: the chain, block by block."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from p2pai.cli import options, screen
from p2pai.cli.access import reader

app = typer.Typer(no_args_is_help=True, help="Look at blocks: who mined them, from which work, who approved.")

Which = Annotated[str, typer.Argument(metavar="BLOCK", help="A height, or the beginning of a block's hash.")]


@app.command("list")
def list_blocks(
    *,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 20,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """List the newest blocks."""
    blocks = reader(options.expand(data_dir)).call("block.list", {"count": count})
    if as_json:
        screen.show_json(blocks)
    else:
        screen.show(render_list(blocks))


@app.command("show")
def show_block(
    block: Which,
    *,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """Show one block: header, work proof, transactions, and who approved it by replay."""
    answer = reader(options.expand(data_dir)).call("block.show", {"block": block})
    if as_json:
        screen.show_json(answer)
    else:
        screen.show(render_block(answer))


def render_list(blocks: list[dict[str, Any]]) -> RenderableType:
    """Show an answer of `block.list`, or the `blocks` of a task's progress."""
    headings = ("height>", "hash", "task", "miner", "iteration>", "approvals>", "paid>")
    return screen.table(headings, [_row(b) for b in blocks])


def approvals(block: dict[str, Any]) -> str:
    """Show approvals out of the verifiers asked."""
    return f"{block['approvals']}/{block['verifiers']}" if block.get("miner") else "-"


def _row(block: dict[str, Any]) -> tuple[object, ...]:
    return (
        block["height"],
        screen.short(block["hash"]),
        block.get("task_name") or screen.short(block.get("task")),
        screen.short(block.get("miner")),
        block.get("iteration"),
        approvals(block),
        screen.coins(block["subsidy_paid"]) if block["settled"] else "not yet",
    )


def render_block(block: dict[str, Any]) -> RenderableType:
    """Show an answer of `block.show`."""
    known = {"transactions", "approvals_by", "approvals", "verifiers", "subsidy_paid"}
    pairs = [(_title(k), _plain(v)) for k, v in block.items() if k not in known and not _is_nested(v)]
    nested = [(_title(k), None, v) for k, v in block.items() if k not in known and isinstance(v, dict) and v]
    return screen.stack(
        screen.facts(
            [
                *pairs,
                ("Approvals", approvals(block)),
                ("Subsidy paid", screen.coins(block.get("subsidy_paid"))),
            ]
        ),
        *(
            screen.stack(screen.clean(t), screen.facts([(k, _plain(v)) for k, v in d.items()]))
            for t, _, d in nested
        ),
        screen.table(("approved by",), [(a,) for a in block["approvals_by"]]),
        screen.table(("transaction", "type"), [(t["txid"], t["type"]) for t in block["transactions"]]),
    )


def _title(key: str) -> str:
    return key.replace("_", " ").capitalize()


def _is_nested(value: object) -> bool:
    return isinstance(value, dict)


def _plain(value: object) -> object:
    return ", ".join(str(v) for v in value) if isinstance(value, list) else value
