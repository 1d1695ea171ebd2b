"""`p2pai wallet`: what a node owns, where to pay it, and paying others."""

import secrets
import sys
import time
from typing import Annotated, Any, Final

import typer
from rich.console import RenderableType

from p2pai.cli import history, keys, options, passwords, screen, signature
from p2pai.cli.access import Source, reader, running
from p2pai.cli.money import parse_coins
from p2pai.primitives.errors import InvalidInput, Unavailable

app = typer.Typer(no_args_is_help=True, help="Make keys, see what this node owns, pay others.")
app.command("create")(keys.create)
app.command("restore")(keys.restore)
app.command("history")(history.history)
app.command("sign")(signature.sign)
app.command("verify")(signature.verify)

SUBMIT_WAIT_S_MAX: Final = 120.0
"""Until a submission is posted: preparing a large dataset takes the longest."""

POLL_S: Final = 0.3
AMOUNTS: Final = ("spendable", "staked", "waiting", "total")


@app.command("balance")
def balance(*, data_dir: options.DataDir = options.DATA_DIR_DEFAULT, as_json: options.AsJson = False) -> None:
    """Show what this node owns: spendable, locked as stake, and what waits in the mempool."""
    answer = reader(options.expand(data_dir)).call("wallet.balance", {})
    if as_json:
        screen.show_json(answer)
    else:
        screen.show(render_balance(answer))


@app.command("address")
def address(
    *,
    account: options.Account = 0,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """Show the address that others pay to."""
    rows = reader(options.expand(data_dir)).call("wallet.accounts", {})
    if account >= len(rows):
        raise InvalidInput(f"this wallet has accounts 0 to {len(rows) - 1}; wallet accounts --new adds one")
    if as_json:
        screen.show_json(rows[account])
    else:
        screen.show_line(rows[account]["address"])


@app.command("accounts")
def accounts(
    *,
    new: Annotated[bool, typer.Option("--new", help="Add an account; needs the running node.")] = False,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """List the wallet's accounts and their addresses."""
    directory = options.expand(data_dir)
    if new:
        node = running(directory)
        order(node, "wallet.add_account", {})
    rows = reader(directory).call("wallet.accounts", {})
    if as_json:
        screen.show_json(rows)
    else:
        screen.show(screen.table(("account>", "address"), [(row["account"], row["address"]) for row in rows]))


@app.command("send")
def send(
    to: Annotated[
        str, typer.Argument(metavar="ADDRESS", help="Who is paid; addresses of devnet begin dpai1.")
    ],
    coins: Annotated[str, typer.Argument(metavar="COINS", help="How much, such as 12.5.")],
    *,
    account: options.Account = 0,
    fee_rate: Annotated[
        int | None, typer.Option(metavar="R", help="Atoms per byte; more is included sooner.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask on a terminal.")] = False,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
    as_json: options.AsJson = False,
) -> None:
    """Pay an address; needs the running node. On a terminal the fee is shown first."""
    atoms = parse_coins(coins)
    params: dict[str, Any] = {"address": to, "atoms": atoms, "account": account}
    if fee_rate is not None:
        params["fee_rate"] = fee_rate
    node = running(options.expand(data_dir))
    if not yes and not as_json and sys.stdin.isatty() and sys.stdout.isatty():
        fee = node.call("wallet.quote", params)["fee"]
        question = f"Pay {screen.coins(atoms)} to {to}, and {screen.coins(fee)} as fee?"
        if not passwords.agrees(question):
            raise InvalidInput("nothing was sent")
    answer = order(node, "wallet.send", params)
    if as_json:
        screen.show_json(answer)
    else:
        screen.show_line(
            f"Sent {screen.coins(atoms)} to {to} in transaction {answer['txid']}, "
            f"fee {screen.coins(answer['fee'])}."
        )


def order(node: Source, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """Give an order that is like no other, and wait until it is carried out.

    Raises:
      InvalidInput: the node refused it, and why.
      Unavailable: it took longer than `SUBMIT_WAIT_S_MAX`.
    """
    return wait_until_posted(node, node.call(method, {**params, "order": secrets.token_hex(8)})["id"])


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
    rows = [
        (row["account"], row["address"], *(screen.coins(row[name]) for name in AMOUNTS))
        for row in answer["accounts"]
    ]
    if len(rows) > 1:
        rows.append(("all", "", *(screen.coins(answer[name]) for name in AMOUNTS)))
    return screen.table(("account>", "address", *(f"{name}>" for name in AMOUNTS)), rows)
