"""`p2pai wallet history`: what came in and went out, newest first."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from p2pai.cli import options, screen
from p2pai.cli.access import Source, reader


def history(
    *,
    count: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 50,
    account: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="One account; all together if not given.")
    ] = None,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """Show what came in and went out: amount, fee, and what was owned after it, stakes included."""
    params = {"count": count} if account is None else {"count": count, "account": account}
    entries = read(reader(options.expand(data_dir)), params)
    if as_json:
        screen.show_json(entries)
    else:
        screen.show(render(entries))


def read(source: Source, params: dict[str, int]) -> list[dict[str, Any]]:
    """Ask until the whole chain is read: the node reads a bounded part of it at each question."""
    answer = source.call("wallet.history", params)
    while answer["read"] < answer["height"]:
        answer = source.call("wallet.history", params)
    entries: list[dict[str, Any]] = answer["entries"]
    return entries


def render(entries: list[dict[str, Any]]) -> RenderableType:
    """Show the entries of `wallet.history`."""
    headings = ("height>", "time", "transaction", "type", "amount>", "fee>", "owned after>")
    return screen.table(headings, [_row(entry) for entry in entries])


def _row(entry: dict[str, Any]) -> tuple[object, ...]:
    return (
        entry["height"],
        screen.moment(entry["time"]),
        entry["txid"],
        entry["type"],
        screen.coins(entry["amount"]),
        screen.coins(entry["fee"]),
        screen.coins(entry["balance"]),
    )
