"""`p2pai faucet`: give coins of a test network away, and claim some from a faucet elsewhere."""

import logging
import signal
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import trio
import typer

from p2pai.cli import options, screen
from p2pai.cli.money import parse_coins
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import Amount
from p2pai.shell import claims as granted
from p2pai.shell import telemetry
from p2pai.shell.client import RpcClient

app = typer.Typer(help="Give coins of a test network away.")

CLAIM_S_MAX: Final = 60.0
PORT_MAX: Final = 65_535


@app.callback(invoke_without_command=True)
def faucet(
    context: typer.Context,
    *,
    coins: Annotated[str, typer.Option(help="How much each claim is paid.")] = "10",
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to serve; port 0 is any free one.")
    ] = "127.0.0.1:8080",
    hour_max: Annotated[
        int, typer.Option(min=1, metavar="N", help="Claims paid in an hour, all together.")
    ] = granted.HOUR_MAX,
    data_dir: options.DataDir = options.DATA_DIR_DEFAULT,
) -> None:
    """Serve a faucet in the foreground, paid by the node that runs on the data directory; Ctrl-C ends it."""
    if context.invoked_subcommand is not None:
        return
    atoms, (host, port) = parse_coins(coins), _place(listen)
    trio.run(_serve, options.expand(data_dir), atoms, host, port, hour_max)


@app.command("claim")
def claim(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="The faucet's page, such as http://127.0.0.1:8080.")
    ],
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Who gets the coins.")],
    *,
    as_json: options.AsJson = False,
) -> None:
    """Claim coins from a faucet; exit status 0 only if it paid."""
    try:
        response = httpx.post(f"{url.rstrip('/')}/claim", json={"address": address}, timeout=CLAIM_S_MAX)
        answer: dict[str, Any] = response.json()
        sentence = str(answer["sentence"])
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unavailable(f"there is no faucet at {url}: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"what answers at {url} is no faucet") from error
    if response.status_code != httpx.codes.OK:
        raise InvalidInput(sentence.rstrip("."))
    if as_json:
        screen.show_json(answer)
    else:
        screen.show_line(sentence)


async def _serve(directory: Path, atoms: Amount, host: str, port: int, hour_max: int) -> None:
    from p2pai.shell.faucet import Faucet, run_faucet
    from p2pai.shell.http import listen as listen_on

    with granted.open_claims(directory, hour_max) as claims:
        served = Faucet(RpcClient(directory), claims, atoms)
        listener = listen_on(host, port)
        telemetry.configure_tool(stderr_level=logging.INFO)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, nursery.cancel_scope)
            nursery.start_soon(run_faucet, served, listener, _announce)


async def _stop_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()


def _announce(url: str) -> None:
    screen.show_line(f"The faucet serves on {url}")


def _place(text: str) -> tuple[str, int]:
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdecimal() or int(port) > PORT_MAX:
        raise InvalidInput(f"--listen is HOST:PORT, such as 127.0.0.1:8080, not {text}")
    return host.removeprefix("[").removesuffix("]"), int(port)
