"""`p2pai wallet`: what a node owns, where to pay it, and paying others."""

import secrets
import time
from typing import Annotated, Any, Final

import typer
from rich.console import RenderableType

from p2pai.cli import keys, options, screen
from p2pai.cli.access import Source, reader, running
from p2pai.cli.money import parse_coins
from p2pai.primitives.errors import InvalidInput, Unavailable

app = typer.Typer(no_args_is_help=True, help="Make keys, see what this node owns, pay others.")
app.command("create")(keys.create)
app.command("restore")(keys.restore)

SUBMIT_WAIT_S_MAX: Final = 120.0
"""Until a submission is posted: preparing a large dataset takes the longest."""

POLL_S: Final = 0.3


@app.command("balance")
def balance(*, data_dir: options.DataDir = options.DATA_DIR_DEFAULT, as_json: options.AsJson = False) -> None:
    """Show what this node owns: spendable, not yet mature, and locked as stake."""
    answer = reader(options.expand(data_dir)).call("wallet.balance", {})
    if as_json:
        screen.show_json(answer)
    else:
        screen.show(render_balance(answer))


@app.command("address")
def address(*, data_dir: options.DataDir = options.DATA_DIR_DEFAULT, as_json: options.AsJson = False) -> None:
    """Show the address that others pay to."""
    answer = reader(options.expand(data_dir)).call("wallet.balance", {})
    if as_json:
        screen.show_json({"address": answer["address"]})
    else:
        screen.show_line(answer["address"])


@app.command("send")
def send(
    to: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="Who is paid; addresses of devnet begin dpai1.")
    ],
    coins: Annotated[str, typer.Argument(metavar="COINS", help="How much, such as 12.5.")],
    *,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """Pay an address; needs the running node."""
    atoms = parse_coins(coins)
    node = running(options.expand(data_dir))
    submission = node.call("wallet.send", {"address": to, "atoms": atoms, "order": secrets.token_hex(8)})
    answer = wait_until_posted(node, submission["id"])
    if as_json:
        screen.show_json(answer)
    else:
        where = f" in transaction {answer['txid']}" if answer["txid"] else ""
        screen.show_line(f"Sent {screen.coins(atoms)} to {to}{where}.")


def wait_until_posted(node: Source, submission: str) -> dict[str, Any]:
    """Wait until what was submitted is a transaction on its way.

    Raises:
      InvalidInput: the node refused it, and why.
      Unavailable: it took longer than `SUBMIT_WAIT_S_MAX`.
    """
    deadline = time.monotonic() + SUBMIT_WAIT_S_MAX
    while time.monotonic() < deadline:
        answer: dict[str, Any] = node.call("submission", {"id": submission})
        if answer["state"] == "posted":
            return answer
        if answer["state"] == "failed":
            raise InvalidInput(str(answer["error"]))
        time.sleep(POLL_S)
    raise Unavailable(
        f"the node still prepares it after {SUBMIT_WAIT_S_MAX:.0f} s; look at node.log in its data directory"
    )


def render_balance(answer: dict[str, Any]) -> RenderableType:
    """Show an answer of `wallet.balance`."""
    amounts = [(name.capitalize(), screen.coins(answer[name])) for name in ("spendable", "staked", "total")]
    return screen.facts([("Address", answer["address"]), *amounts])
