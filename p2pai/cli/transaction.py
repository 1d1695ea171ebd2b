"""`p2pai tx`: one transaction, waiting or in a block."""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from p2pai.cli import options, screen
from p2pai.cli.access import Source, reader
from p2pai.primitives.errors import Unavailable

app = typer.Typer(no_args_is_help=True, help="Look at transactions.")


@app.command("show")
def show_transaction(
    tx: Annotated[str, typer.Argument(metavar="TXID", help="A txid, or its first 8 digits or more.")],
    *,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """Show one transaction: what it spends and makes, what it says, where it stands, whether it is signed."""
    answer = find(reader(options.expand(data_dir)), tx)
    if as_json:
        screen.show_json(answer)
    else:
        screen.show(render(answer))


def find(source: Source, tx: str) -> dict[str, Any]:
    """Return a transaction; the whole chain is looked through, part by part, from its tip.

    Raises:
      Unavailable: neither the mempool nor the chain has it.
    """
    answer: dict[str, Any] = source.call("tx.show", {"tx": tx})
    while not answer["found"] and answer["below"] > 0:
        answer = source.call("tx.show", {"tx": tx, "below": answer["below"]})
    if not answer["found"]:
        raise Unavailable(f"neither the mempool nor the chain has a transaction {tx}")
    return answer


def render(answer: dict[str, Any]) -> RenderableType:
    """Show an answer of `tx.show`."""
    facts = [
        ("Transaction", answer["txid"]),
        ("Type", answer["type"]),
        ("Size", f"{answer['size']} bytes"),
        ("Where", _where(answer["block"])),
        ("Fee", screen.coins(answer["fee"])),
        ("Signatures", {True: "valid", False: "NOT VALID", None: "none needed"}[answer["signatures_valid"]]),
    ]
    data = [(key.replace("_", " ").capitalize(), screen.line(value)) for key, value in answer["data"].items()]
    spent = [(i["outpoint"], screen.coins(i["value"]), i["kind"], i["address"]) for i in answer["inputs"]]
    made = [(n, screen.coins(o["value"]), o["kind"], o["address"]) for n, o in enumerate(answer["outputs"])]
    return screen.stack(
        screen.facts(facts),
        screen.facts(data) if data else None,
        screen.table(("input", "value>", "kind", "of"), spent) if spent else None,
        screen.table(("output>", "value>", "kind", "to"), made),
    )


def _where(block: dict[str, Any] | None) -> str:
    if block is None:
        return "mempool: it waits for a block"
    times = "1 confirmation" if block["confirmations"] == 1 else f"{block['confirmations']} confirmations"
    return f"block {block['height']}, {block['hash']}, {times}, {screen.moment(block['time'])}"
