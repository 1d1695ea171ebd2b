"""`p2pai ticket`: the right to work, bought with a stake, and getting the stake back."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from p2pai.chain.transaction import ROLES
from p2pai.cli import options, screen
from p2pai.cli.access import reader, running
from p2pai.cli.wallet import order
from p2pai.primitives.errors import InvalidInput

app = typer.Typer(no_args_is_help=True, help="Buy tickets to work, look at them, get stakes back.")


@app.command("buy")
def buy(
    role: Annotated[str, typer.Argument(metavar="ROLE", help=f"One of {', '.join(ROLES)}.")],
    *,
    count: Annotated[int, typer.Option(min=1, max=50, help="How many.")] = 1,
    preferences: Annotated[
        str,
        typer.Option(metavar="A,B", help="A weight for each trait of the network; all alike if not given."),
    ] = "",
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """Buy tickets of a role at today's price; needs the running node."""
    node = running(options.expand(data_dir))
    status = node.call("node.status", {})
    params = {"role": role, "count": count, "preferences": _weights(preferences)}
    answer = order(node, "ticket.buy", params)
    if as_json:
        screen.show_json(answer)
        return
    price = screen.coins(status["ticket_price"])
    screen.show_line(
        f"Bought {count} x {role} for {price} each in transaction {answer['txid']}, "
        f"fee {screen.coins(answer['fee'])}."
    )
    if role not in status["roles"]:
        screen.show_line(
            f"Note: this node is no {role}; if the ticket is drawn it must be, or it loses stake."
        )


@app.command("list")
def list_tickets(
    *,
    every: Annotated[bool, typer.Option("--all", help="Those of everybody.")] = False,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """List this node's tickets: immature, live, working or expired."""
    rows = reader(options.expand(data_dir)).call("ticket.list", {} if every else {"own": True})
    if as_json:
        screen.show_json(rows)
    else:
        screen.show(render_list(rows))


@app.command("refund")
def refund(
    *,
    account: options.Account = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what can be refunded, and when.")
    ] = False,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """Get back the stakes of tickets that are over; says which of the others are free when."""
    directory = options.expand(data_dir)
    source = reader(directory) if dry_run else running(directory)
    stakes = source.call("ticket.refundable", {"account": account})
    free = [stake for stake in stakes if stake["free"]]
    answer: dict[str, Any] = {"stakes": stakes}
    if free and not dry_run:
        answer.update(order(source, "ticket.refund", {"account": account}))
    if as_json:
        screen.show_json(answer)
        return
    if stakes:
        screen.show(render_stakes(stakes))
    if "txid" in answer:
        atoms = sum(stake["atoms"] for stake in free)
        screen.show_line(
            f"Refunded {screen.coins(atoms)} in transaction {answer['txid']}, "
            f"fee {screen.coins(answer['fee'])}."
        )
    elif not free:
        screen.show_line("Nothing can be refunded now.")


def render_list(rows: list[dict[str, Any]]) -> RenderableType:
    """Show an answer of `ticket.list`."""
    headings = ("ticket", "role", "state", "stake>", "since>", "expires>", "task", "owner")
    return screen.table(
        headings,
        [
            (
                screen.short(row["ticket"]),
                row["role"],
                f"live from {row['live_from']}" if row["state"] == "immature" else row["state"],
                screen.coins(row["stake"]),
                row["height"],
                row["expires"],
                screen.short(row["task"]),
                "own" if row["own"] else screen.short(row["owner"]),
            )
            for row in rows
        ],
    )


def render_stakes(stakes: list[dict[str, Any]]) -> RenderableType:
    """Show an answer of `ticket.refundable`."""
    return screen.table(
        ("stake", "role", "coins>", "free", "because"),
        [
            (
                screen.short(stake["stake"]),
                stake["role"],
                screen.coins(stake["atoms"]),
                "now" if stake["free"] else f"at height {stake['from']}" if stake["from"] else "-",
                "it is released" if stake["free"] else stake["why"],
            )
            for stake in stakes
        ],
    )


def _weights(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")] if text else []
    except ValueError:
        raise InvalidInput(
            f"preferences are whole numbers with commas between, such as 1,2, not {text!r}"
        ) from None
