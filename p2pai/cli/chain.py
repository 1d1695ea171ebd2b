"""`p2pai chain` and `p2pai supply`: where the chain stands, and where its money is."""

from typing import Any

import typer
from rich.console import RenderableType

from p2pai.cli import options, screen
from p2pai.cli.access import reader

app = typer.Typer(no_args_is_help=True, help="Look at the chain as a whole.")


@app.command("status")
def status(*, data_dir: options.DataDir = options.DATA_DIR_DEFAULT, as_json: options.AsJson = False) -> None:
    """Show tip, weight, checkpoint, next target, tickets by role, side branches and mempool."""
    answer = reader(options.expand(data_dir)).call("chain.status", {})
    if as_json:
        screen.show_json(answer)
    else:
        screen.show(render_status(answer))


def supply(*, data_dir: options.DataDir = options.DATA_DIR_DEFAULT, as_json: options.AsJson = False) -> None:
    """Show where all coins are, and whether every atom issued is accounted for."""
    answer = reader(options.expand(data_dir)).call("supply", {})
    if as_json:
        screen.show_json(answer)
    else:
        screen.show(render_supply(answer))


def render_status(answer: dict[str, Any]) -> RenderableType:
    """Show an answer of `chain.status`."""
    checkpoint, pool = answer["checkpoint"], answer["mempool"]
    side = [f"{branch['tip']} at height {branch['height']}" for branch in answer["side_branches"]]
    facts = [
        ("Chain", f"{answer['chain']}, {answer['chain_id']}"),
        ("Height", answer["height"]),
        ("Tip", answer["tip"]),
        ("Time of the tip", screen.moment(answer["time"])),
        ("Weight", f"{answer['weight']} expected hashes, approved"),
        ("Last checkpoint", f"height {checkpoint['height']}, block {checkpoint['block']}"),
        ("Its snapshot", checkpoint["snapshot"]),
        ("Next target", f"{answer['next_bits']}, {answer['next_work']} expected hashes"),
        ("Ticket price", screen.coins(answer["ticket_price"])),
        ("Side branches", "\n".join(side) or "none"),
        ("Mempool", f"{pool['count']} transactions, {pool['bytes']} bytes"),
        ("Least fee rate", f"{pool['fee_rate_min']} atoms per byte"),
    ]
    stages = ("live", "immature", "working", "expired")
    rows = [(row["role"], *(row[stage] for stage in stages)) for row in answer["tickets"]]
    return screen.stack(
        screen.facts(facts), screen.table(("tickets", *(f"{stage}>" for stage in stages)), rows)
    )


def render_supply(answer: dict[str, Any]) -> RenderableType:
    """Show an answer of `supply`."""
    staked = answer["staked_by_tickets"] + answer["staked_by_tasks"]
    balance = "issued - burned = unspent" if answer["holds"] else "NO: issued - burned is not unspent"
    return screen.facts(
        [
            ("At height", answer["height"]),
            ("Genesis", screen.coins(answer["genesis"])),
            ("Subsidies", screen.coins(answer["subsidies"])),
            ("Issued", screen.coins(answer["issued"])),
            ("Burned", screen.coins(answer["burned"] - answer["captured"])),
            ("Captured of stakes", f"{screen.coins(answer['captured'])}, to be paid when their tasks end"),
            ("Unspent", screen.coins(answer["unspent"])),
            ("  staked by tickets", screen.coins(answer["staked_by_tickets"])),
            ("  staked by tasks", screen.coins(answer["staked_by_tasks"])),
            ("  free", screen.coins(answer["unspent"] - staked)),
            ("Holds", balance),
        ]
    )
