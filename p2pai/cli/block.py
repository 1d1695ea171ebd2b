"""`p2pai block`: the chain, block by block."""

from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType

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
    # The genesis block was not mined, so nobody judges it.
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
    own = {"transactions", "approvals_by", "approvals", "verifiers", "subsidy_paid"}
    rest = {key: value for key, value in block.items() if key not in own}
    if "time" in block:
        rest["time"] = screen.moment(block["time"])
    plain = [(_title(k), screen.line(v)) for k, v in rest.items() if not isinstance(v, dict)]
    plain += [("Approvals", approvals(block)), ("Subsidy paid", screen.coins(block.get("subsidy_paid")))]
    nested = [_part(key, value) for key, value in rest.items() if isinstance(value, dict)]
    return screen.stack(
        screen.facts(plain),
        *nested,
        screen.table(("approved by",), [(address,) for address in block["approvals_by"]]),
        screen.table(("transaction", "type"), [(t["txid"], t["type"]) for t in block["transactions"]]),
    )


def _part(key: str, values: dict[str, Any]) -> RenderableType:
    pairs = [(f"  {_title(name)}", screen.line(value)) for name, value in values.items()]
    return Group(screen.clean(_title(key)), screen.facts(pairs))


def _title(key: str) -> str:
    return key.replace("_", " ").capitalize()
