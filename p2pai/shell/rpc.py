"""JSON-RPC 2.0 over HTTP for the local user: `POST /rpc`, `/gossip`, and `/health` for probes.

Who may call: whoever can read `DIR/rpc.json` (0600), which holds the address and a bearer token of 32 random
bytes made anew at each start. The server listens on loopback only, and refuses a `Host` that is not loopback
and any `Origin` but its own, so that no web page can reach it through a browser's back door (DNS rebinding).

What may be called: the questions of `core.query`, passed through; and `SUBMIT_METHODS`, which become
`events.Submitted` and answer `{"id": hex}` at once, to be asked about with the question `submission`. No
method hands out a key. Parameters are an object of JSON's types without fractions. Batches are refused.

`GET /gossip`, with the same token, is a recording (docs/RECORDING.md) of the node's gossip from now on, for
`seconds` or without end; who reads it too slowly is cut off. `GET /gossip/report` is the node's gossip in
numbers since its start, as JSON (gossip/meter.py). `POST /gossip/publish?topic=NAME` publishes its body as it
is, and answers `{"remotes": N}`: for how many it was queued.

Source: JSON-RPC 2.0 specification; RELIABILITY (5), "RPC".
"""

import hmac
import json
import os
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

import structlog
import trio
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Send

from p2pai.events import Event, Submitted
from p2pai.gossip.limits import GOSSIP_SIZE_MAX
from p2pai.primitives import cbor
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.hashing import tagged_hash
from p2pai.shell.files import write_atomically
from p2pai.shell.http import listen, read_body, server_config
from p2pai.shell.recorder import Recorder
from p2pai.shell.watching import Watching

FILE_NAME: Final = "rpc.json"
RECORDING_TYPE: Final = "application/vnd.p2pai.recording"
HOST: Final = "127.0.0.1"
SUBMIT_METHODS: Final = frozenset(
    {
        *("task.submit", "task.revoke", "task.pause", "task.resume"),
        *("wallet.send", "wallet.add_account", "ticket.buy", "ticket.refund"),
    }
)
BODY_BYTES_MAX: Final = 1 << 20
TOKEN_SIZE: Final = 32

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
INVALID_INPUT: Final = -32602
"""The specification's "invalid params"; also an unknown method, which only the core knows to be unknown."""
INTERNAL_ERROR: Final = -32603
UNAVAILABLE: Final = -32001

_LOOPBACK_NAMES: Final = (HOST, "localhost", "[::1]")
_INTEGER_DIGITS_MAX: Final = 20

_log = structlog.get_logger(__name__)


class Node(Protocol):
    """What answers; the runtime does."""

    def query(self, method: str, params: dict[str, Any]) -> Any:  # noqa: ANN401
        """Answer a question."""

    def feed(self, event: Event) -> object:
        """Take an event."""


class Started(Protocol):
    """How the server says that it serves, and where."""

    def started(self, url: str) -> None:
        """Say so, once."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A well-formed request."""

    method: str
    params: dict[str, Any]
    identifier: str | int | None
    is_notification: bool


class _Refused(Exception):  # noqa: N818
    """A request that gets an error of JSON-RPC."""

    def __init__(self, code: int, message: str, identifier: str | int | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.identifier = code, message, identifier


async def run_server(
    node: Node,
    data_dir: Path,
    port: int,
    addresses: Sequence[str],
    gossip: Recorder | None = None,
    watching: Watching | None = None,
    *,
    task_status: Started,
) -> None:
    """Serve until cancelled; `rpc.json` stands there meanwhile.

    Args:
      node: what answers.
      data_dir: where `rpc.json` goes.
      port: TCP port on loopback; 0 lets the system choose.
      addresses: the node's multiaddrs, noted in `rpc.json` for whoever wants to connect to it.
      gossip: what the node's gossip is read from; None: nobody reads it.
      watching: its numbers, and messages for tests; None: there are none.
      task_status: told the URL.

    Raises:
      Unavailable: the port is taken.
    """
    listener = listen(HOST, port)
    url = f"http://{HOST}:{listener.getsockname()[1]}/rpc"
    token = secrets.token_hex(TOKEN_SIZE)
    path = data_dir / FILE_NAME
    # The two libraries write the same interface in types that don't match.
    app: Any = make_app(node, token, gossip, watching)
    async with trio.open_nursery() as nursery:
        config = server_config(listener)
        await nursery.start(partial(serve, app, config, shutdown_trigger=trio.sleep_forever))
        door = {"url": url, "token": token, "pid": os.getpid(), "addresses": list(addresses)}
        write_atomically(path, json.dumps(door).encode())
        task_status.started(url)
        try:
            await trio.sleep_forever()
        finally:
            path.unlink(missing_ok=True)


def make_app(
    node: Node, token: str, gossip: Recorder | None = None, watching: Watching | None = None
) -> Starlette:
    """Return the web application that answers for `node`."""

    async def answer_rpc(request: Request) -> Response:
        body = await read_body(request, BODY_BYTES_MAX)
        if body is None:
            return _refusal(413, f"a request has at most {BODY_BYTES_MAX} bytes")
        return _respond(node, body)

    async def answer_gossip(request: Request) -> Response:
        if gossip is None or gossip.is_full:
            return _refusal(
                503, "this node's gossip can't be read now: it has too many readers, or none to give"
            )
        return _Gossip(gossip, _seconds(request))

    async def answer_report(request: Request) -> Response:  # noqa: ARG001
        return (
            _refusal(503, "this node counts nothing") if watching is None else JSONResponse(watching.report())
        )

    async def answer_publish(request: Request) -> Response:
        body = await read_body(request, GOSSIP_SIZE_MAX)
        if watching is None or body is None:
            return _refusal(413, f"a message has at most {GOSSIP_SIZE_MAX} bytes")
        try:
            return JSONResponse(await watching.publish(request.query_params.get("topic", ""), body))
        except InvalidInput as error:
            return _refusal(400, str(error))

    async def answer_health(request: Request) -> Response:
        return _refuse_stranger(request) or JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/rpc", _for_owner(answer_rpc, token), methods=["POST"]),
            Route("/gossip", _for_owner(answer_gossip, token), methods=["GET"]),
            Route("/gossip/report", _for_owner(answer_report, token), methods=["GET"]),
            Route("/gossip/publish", _for_owner(answer_publish, token), methods=["POST"]),
            Route("/health", answer_health, methods=["GET"]),
        ]
    )


def _for_owner(answer: Callable[[Request], Awaitable[Response]], token: str) -> Any:  # noqa: ANN401
    async def answer_owner(request: Request) -> Response:
        return _refuse_stranger(request) or _refuse_token(request, token) or await answer(request)

    return answer_owner


def _seconds(request: Request) -> float:
    """Return for how long somebody wants to read: the parameter `seconds`, or for ever."""
    given = request.query_params.get("seconds", "")
    return float(given) if given.isascii() and given.isdigit() else inf


class _Gossip(StreamingResponse):
    """A recording of so many seconds; for a reader that is cut off it never comes to its end."""

    def __init__(self, recorder: Recorder, seconds: float) -> None:
        super().__init__((), media_type=RECORDING_TYPE)
        self._recorder, self._seconds = recorder, seconds

    async def stream_response(self, send: Send) -> None:
        with self._recorder.reading() as feed:
            start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
            await send(start)
            with trio.move_on_after(self._seconds):
                while data := await feed.take():
                    await send({"type": "http.response.body", "body": data, "more_body": True})
        if not feed.is_cut:
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def submit(node: Node, method: str, params: dict[str, Any]) -> str:
    """Give an order to a node; returns the id under which it is asked about, in hex.

    Raises:
      InvalidInput: no order has this name, or the parameters are too deep or of other types.
    """
    if method not in SUBMIT_METHODS:
        raise InvalidInput(f"there is no order {method}; orders are {', '.join(sorted(SUBMIT_METHODS))}")
    try:
        data = cbor.encode(params)
    except AssertionError as error:
        raise InvalidInput("parameters are of JSON's types, without fractions") from error
    # Encoding does not bound the nesting, reading does.
    cbor.decode(data, size_max=BODY_BYTES_MAX)
    node.feed(Submitted(method, data))
    return submission_id(params)


def submission_id(params: dict[str, Any]) -> str:
    """Return the id under which a submission with these parameters is asked about, in hex."""
    return tagged_hash("p2pai/submission", cbor.encode(params)).hex()


def _refuse_stranger(request: Request) -> Response | None:
    host = request.headers.get("host", "")
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if name not in _LOOPBACK_NAMES:
        return _refusal(403, "this host name is not served")
    origin = request.headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return _refusal(403, "this origin is not served")
    return None


def _refuse_token(request: Request, token: str) -> Response | None:
    given = request.headers.get("authorization", "").encode("utf-8", "replace")
    if hmac.compare_digest(given, f"Bearer {token}".encode()):
        return None
    return _refusal(401, "the bearer token is missing or wrong")


def _refusal(status: int, sentence: str) -> Response:
    return JSONResponse({"error": sentence}, status_code=status)


def _respond(node: Node, body: bytes) -> Response:
    try:
        call = parse(body)
        result = _carry_out(node, call)
    except _Refused as refused:
        error = {"code": refused.code, "message": refused.message}
        return JSONResponse({"jsonrpc": "2.0", "id": refused.identifier, "error": error})
    if call.is_notification:
        return Response(status_code=204)
    return JSONResponse({"jsonrpc": "2.0", "id": call.identifier, "result": result})


def parse(body: bytes) -> _Call:
    """Read a request.

    Raises:
      _Refused: it is not JSON, or not a request of JSON-RPC 2.0 with an object for its parameters.
    """
    try:
        request = json.loads(
            body, parse_float=_refuse_number, parse_constant=_refuse_number, parse_int=_integer
        )
        # What can't be written as UTF-8 (lone surrogates) has no canonical bytes.
        json.dumps(request, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise _Refused(PARSE_ERROR, f"the request is not JSON that p2pai takes: {error}") from error
    if not isinstance(request, dict) or request.get("jsonrpc") != "2.0":
        raise _Refused(INVALID_REQUEST, 'a request is one object with "jsonrpc": "2.0"')
    identifier = request.get("id")
    if not isinstance(identifier, str | int | None) or isinstance(identifier, bool):
        raise _Refused(INVALID_REQUEST, "an id is text or an integer")
    method, params = request.get("method"), request.get("params", {})
    if not isinstance(method, str):
        raise _Refused(INVALID_REQUEST, "a method is text", identifier)
    if not isinstance(params, dict):
        raise _Refused(INVALID_INPUT, "parameters are an object", identifier)
    return _Call(method, params, identifier, "id" not in request)


def _carry_out(node: Node, call: _Call) -> Any:  # noqa: ANN401
    try:
        if call.method in SUBMIT_METHODS:
            return {"id": submit(node, call.method, call.params)}
        return node.query(call.method, call.params)
    except InvalidInput as error:
        raise _Refused(INVALID_INPUT, str(error), call.identifier) from error
    except Unavailable as error:
        raise _Refused(UNAVAILABLE, str(error), call.identifier) from error
    except Exception as error:
        _log.exception("question failed", method=call.method)
        raise _Refused(INTERNAL_ERROR, "the node failed to answer; see its log", call.identifier) from error


def _integer(text: str) -> int:
    if len(text) > _INTEGER_DIGITS_MAX or abs(int(text)) > cbor.INTEGER_MAX:
        raise ValueError("an integer is wider than 64 bits")
    return int(text)


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:20]} is not an integer")
