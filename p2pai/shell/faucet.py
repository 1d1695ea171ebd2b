"""A faucet for test networks: an HTTP server that gives coins away, paid by the running node beside it.

`GET /` is a page with a form; `POST /claim` takes the form, or JSON `{"address": ...}`, and answers in kind.
Each answer is a sentence and a status: 200 paid, 400 not an address, 413 too large, 429 too often, 502 it
can't be told whether it was paid, 503 not now. One payment is made at a time and few may wait.

The address of the connection is the client's; headers that a proxy may set are not believed.

Source: docs/adr/0028-wallet.md.
"""

import html
import json
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final, Protocol
from urllib.parse import parse_qs

import structlog
import trio
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from p2pai.chain.params import ATOMS_PER_COIN
from p2pai.primitives import address
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import Amount
from p2pai.shell.claims import Claims, TooMany, client_name
from p2pai.shell.http import read_body, server_config

MAINNET_PREFIX: Final = "pai"
BODY_BYTES_MAX: Final = 2048
WAITING_MAX: Final = 16
"""Claims that wait for their payment; a payment takes a fraction of a second."""

PAY_S_MAX: Final = 10.0
POLL_S: Final = 0.2

_log = structlog.get_logger(__name__)


class Node(Protocol):
    """The node that pays; shell/client.RpcClient is one."""

    def call(self, method: str, params: dict[str, Any]) -> Any:  # noqa: ANN401
        """Return the result of one call; InvalidInput or Unavailable."""


class _Unsure(Exception):  # noqa: N818
    """It can't be told whether a payment was made."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: HTTPStatus
    sentence: str
    txid: str | None = None
    wait_s: int | None = None


class Faucet:
    """Pays claims, one after the other."""

    def __init__(
        self,
        node: Node,
        claims: Claims,
        atoms: Amount,
        *,
        now_s: Callable[[], int] = lambda: int(time.time()),
    ) -> None:
        """Look at the node that will pay.

        Raises:
          InvalidInput: its network's coins are worth something.
          Unavailable: no node runs.
        """
        self.status: dict[str, Any] = node.call("node.status", {})
        self.prefix = str(self.status["address"]).rpartition("1")[0]
        if self.prefix == MAINNET_PREFIX:
            raise InvalidInput("a faucet gives coins away, and those of mainnet are worth something")
        self.atoms, self._node, self._claims, self._now_s = atoms, node, claims, now_s
        self._lock, self._waiting = trio.Lock(), 0

    async def claim(self, text: str, host: str) -> _Answer:
        """Pay one claim, at most once."""
        try:
            receiver = address.encode(self.prefix, address.decode(self.prefix, text.strip()))
        except InvalidInput as error:
            return _Answer(HTTPStatus.BAD_REQUEST, str(error))
        if self._waiting >= WAITING_MAX:
            return _Answer(HTTPStatus.SERVICE_UNAVAILABLE, "Too many claims at once; try again in a minute.")
        self._waiting += 1
        try:
            async with self._lock:
                return await self._grant(receiver, client_name(host))
        finally:
            self._waiting -= 1

    async def _grant(self, receiver: str, client: str) -> _Answer:
        try:
            claim = self._claims.grant(receiver, client, self._now_s())
        except TooMany as error:
            return _Answer(HTTPStatus.TOO_MANY_REQUESTS, f"Sorry, {error}.", wait_s=error.wait_s)
        try:
            # Who leaves meanwhile is paid all the same, and never twice.
            with trio.CancelScope(shield=True):
                txid = await trio.to_thread.run_sync(partial(self._pay, receiver))
        except (InvalidInput, Unavailable) as error:
            self._claims.take_back(claim)
            _log.warning("claim not paid", reason=str(error))
            return _Answer(HTTPStatus.SERVICE_UNAVAILABLE, f"The faucet can't pay now: {error}.")
        except _Unsure as error:
            _log.warning("claim perhaps not paid", reason=str(error))
            return _Answer(
                HTTPStatus.BAD_GATEWAY, "The node did not say whether it paid; look at your balance."
            )
        _log.info("claim paid", address=receiver, txid=txid)
        return _Answer(HTTPStatus.OK, f"Sent to {receiver} in transaction {txid}.", txid)

    def _pay(self, receiver: str) -> str:
        """Order a payment and wait for it.

        Raises:
          InvalidInput: the node refused it.
          Unavailable: the node does not run, so it was not ordered.
          _Unsure: it was ordered, and what came of it is not known.
        """
        self._node.call("node.status", {})
        order = {"address": receiver, "atoms": self.atoms, "order": secrets.token_hex(16)}
        try:
            submission = self._node.call("wallet.send", order)["id"]
            deadline_s = time.monotonic() + PAY_S_MAX
            while time.monotonic() < deadline_s:
                answer = self._node.call("submission", {"id": submission})
                if answer["state"] == "posted":
                    return str(answer["txid"])
                if answer["state"] == "failed":
                    raise InvalidInput(str(answer["error"]))
                time.sleep(POLL_S)
        except Unavailable as error:
            raise _Unsure(str(error)) from error
        raise _Unsure("the node takes too long")


async def run_faucet(
    faucet: Faucet, listener: socket.socket, started: Callable[[str], None] = lambda _: None
) -> None:
    """Serve until cancelled.

    Args:
      faucet: what pays.
      listener: from `http.listen`.
      started: told the URL, once it serves.
    """
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
    app: Any = make_app(faucet)
    async with trio.open_nursery() as nursery:
        config = server_config(listener)
        await nursery.start(partial(serve, app, config, shutdown_trigger=trio.sleep_forever))
        started(url)


def make_app(faucet: Faucet) -> Starlette:
    """Return the web application of a faucet."""

    async def show(request: Request) -> Response:
        del request
        return _page(faucet, HTTPStatus.OK, "")

    async def claim(request: Request) -> Response:
        body = await read_body(request, BODY_BYTES_MAX)
        is_json = request.headers.get("content-type", "").partition(";")[0].strip() == "application/json"
        if body is None:
            status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            answer = _Answer(status, f"A claim has at most {BODY_BYTES_MAX} bytes.")
        else:
            host = request.client.host if request.client else ""
            answer = await _claim(faucet, body, host, is_json=is_json)
        return _respond(faucet, answer, is_json=is_json)

    return Starlette(routes=[Route("/", show, methods=["GET"]), Route("/claim", claim, methods=["POST"])])


async def _claim(faucet: Faucet, body: bytes, host: str, *, is_json: bool) -> _Answer:
    try:
        return await faucet.claim(_read(body, is_json=is_json), host)
    except InvalidInput as error:
        return _Answer(HTTPStatus.BAD_REQUEST, str(error))


def _read(body: bytes, *, is_json: bool) -> str:
    """Return the address of a claim.

    Raises:
      InvalidInput: there is none.
    """
    try:
        if is_json:
            found = json.loads(body)["address"]
        else:
            found = parse_qs(body.decode(), strict_parsing=True, max_num_fields=4)["address"][0]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InvalidInput("A claim names an address.") from None
    if not isinstance(found, str):
        raise InvalidInput("A claim names an address.")
    return found


def _respond(faucet: Faucet, answer: _Answer, *, is_json: bool) -> Response:
    if is_json:
        content = {"sentence": answer.sentence, "txid": answer.txid}
        response: Response = JSONResponse(content, status_code=answer.status)
    else:
        response = _page(faucet, answer.status, answer.sentence)
    if answer.wait_s is not None:
        response.headers["Retry-After"] = str(answer.wait_s)
    return response


_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Faucet of {chain}</title>
<h1>Faucet of {chain}</h1>
<p>Gives {coins} coins of this test network to an address, once a day. They are worth nothing.</p>
<form method="post" action="/claim">
<label>Address <input name="address" size="60" required placeholder="{prefix}1..."></label>
<button>Claim</button>
</form>
<p>{sentence}</p>
</html>
"""


def _page(faucet: Faucet, status: HTTPStatus, sentence: str) -> Response:
    whole, rest = divmod(faucet.atoms, ATOMS_PER_COIN)
    coins = f"{whole}.{rest:08d}".rstrip("0").rstrip(".")
    parts = {"chain": faucet.status["chain"], "coins": coins, "prefix": faucet.prefix, "sentence": sentence}
    text = _PAGE.format(**{name: html.escape(str(value)) for name, value in parts.items()})
    headers = {"Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'"}
    return HTMLResponse(text, status_code=status, headers=headers)
