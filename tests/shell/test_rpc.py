"""The RPC over real HTTP on loopback, and the client that calls it."""

import contextlib
import json
import os
import socket
from contextlib import asynccontextmanager

import httpx
import pytest
import trio
from parts import ScriptedCore

from p2pai.events import Submitted
from p2pai.primitives import cbor
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.hashing import tagged_hash
from p2pai.shell import rpc
from p2pai.shell.client import RpcClient

BUSY_S = 20


class Node(ScriptedCore):
    """A core without its runtime: takes events as they are."""

    def feed(self, event):
        self.seen.append(event)


@asynccontextmanager
async def serving(directory, node=None, port=0):
    """Serve; yields the URL."""
    with trio.fail_after(BUSY_S):
        async with trio.open_nursery() as nursery:
            url = await nursery.start(
                rpc.run_server, node or Node(), directory, port, ("/ip4/127.0.0.1/tcp/7",)
            )
            yield url
            nursery.cancel_scope.cancel()


def _token(directory):
    return json.loads((directory / "rpc.json").read_text())["token"]


async def _post(url, content, **headers):
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.post(url, content=content, headers=headers)


async def _send(directory, url, content):
    response = await _post(url, content, authorization=f"Bearer {_token(directory)}")
    assert response.status_code in (200, 204), response.text
    return response.json() if response.content else None


async def _call(directory, url, method, params=None, **more):
    request = {
        "jsonrpc": "2.0",
        "id": 7,
        "method": method,
        "params": {} if params is None else params,
        **more,
    }
    return await _send(directory, url, json.dumps(request).encode())


async def _client_call(directory, method, params):
    return await trio.to_thread.run_sync(RpcClient(directory).call, method, params)


async def test_a_question_passes_through(tmp_path):
    async with serving(tmp_path) as url:
        answer = await _call(tmp_path, url, "echo", {"text": "ü", "list": [1, None, True]})
    assert answer == {"jsonrpc": "2.0", "id": 7, "result": {"text": "ü", "list": [1, None, True]}}


async def test_the_door_is_noted_privately_and_removed_at_the_end(tmp_path):
    async with serving(tmp_path) as url:
        path = tmp_path / "rpc.json"
        assert path.stat().st_mode & 0o777 == 0o600
        door = json.loads(path.read_text())
        assert door["url"] == url
        assert url.startswith("http://127.0.0.1:")
        assert door["pid"] == os.getpid()
        assert door["addresses"] == ["/ip4/127.0.0.1/tcp/7"]
        assert len(bytes.fromhex(door["token"])) == 32
        first = door["token"]
    assert not path.exists()
    async with serving(tmp_path):
        assert _token(tmp_path) != first


@pytest.mark.parametrize("method", sorted(rpc.SUBMIT_METHODS))
async def test_a_submission_becomes_an_event_and_has_an_id(tmp_path, method):
    node, params = Node(), {"fee": 2**63, "address": "dpai1", "nested": {"a": [1, -2]}}
    async with serving(tmp_path, node) as url:
        answer = await _call(tmp_path, url, method, params)
    assert node.of(Submitted) == [Submitted(method, cbor.encode(params))]
    assert answer["result"] == {"id": tagged_hash("p2pai/submission", cbor.encode(params)).hex()}
    assert rpc.submission_id(params) == answer["result"]["id"]


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer " + "0" * 64,
        "Basic {token}",
        "{token}",
        "Bearer {token}0",
        "bearer {token}",
        "Bearer \u00e9",
    ],
)
async def test_without_the_token_nothing_is_answered(tmp_path, header):
    node = Node()
    request = b'{"jsonrpc": "2.0", "id": 1, "method": "task.submit", "params": {}}'
    async with serving(tmp_path, node) as url:
        headers = {}
        if header is not None:
            headers["authorization"] = header.format(token=_token(tmp_path)).encode()
        response = await _post(url, request, **headers)
    assert response.status_code == 401
    assert "result" not in response.json()
    assert node.seen == []


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:80"},
        {"host": "127.0.0.1.evil.example"},
        {"host": ""},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:1"},
    ],
)
async def test_strangers_are_refused_even_with_the_token(tmp_path, headers):
    request = b'{"jsonrpc": "2.0", "id": 1, "method": "echo", "params": {}}'
    async with serving(tmp_path) as url:
        response = await _post(url, request, authorization=f"Bearer {_token(tmp_path)}", **headers)
        probe = await _post(
            url, request, authorization=f"Bearer {_token(tmp_path)}", origin=url[: -len("/rpc")]
        )
    assert response.status_code == 403
    assert probe.status_code == 200


async def test_health_needs_no_token_and_other_paths_are_nothing(tmp_path):
    async with serving(tmp_path) as url, httpx.AsyncClient(trust_env=False) as http:
        base = url[: -len("/rpc")]
        assert (await http.get(f"{base}/health")).json() == {"status": "ok"}
        assert (await http.get(f"{base}/health", headers={"host": "evil.example"})).status_code == 403
        assert (await http.get(url)).status_code == 405
        assert (await http.get(f"{base}/keys.json")).status_code == 404


@pytest.mark.parametrize(
    ("body", "code", "identifier"),
    [
        (b"", rpc.PARSE_ERROR, None),
        (b"{", rpc.PARSE_ERROR, None),
        (b"\xff\xfe", rpc.PARSE_ERROR, None),
        (b"[" * 100_000, rpc.PARSE_ERROR, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"a":1.5}}', rpc.PARSE_ERROR, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"a":NaN}}', rpc.PARSE_ERROR, None),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"a":18446744073709551616}}',
            rpc.PARSE_ERROR,
            None,
        ),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"echo","params":{"a":' + b"9" * 9000 + b"}}",
            rpc.PARSE_ERROR,
            None,
        ),
        (b'{"jsonrpc":"2.0","id":1,"method":"task.submit","params":{"a":"\\ud800"}}', rpc.PARSE_ERROR, None),
        (b"[]", rpc.INVALID_REQUEST, None),
        (b"7", rpc.INVALID_REQUEST, None),
        (b'[{"jsonrpc":"2.0","id":1,"method":"echo"}]', rpc.INVALID_REQUEST, None),
        (b'{"id":1,"method":"echo"}', rpc.INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":true,"method":"echo"}', rpc.INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":[],"method":"echo"}', rpc.INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', rpc.INVALID_REQUEST, 1),
        (b'{"jsonrpc":"2.0","id":"x","method":"echo","params":[1]}', rpc.INVALID_INPUT, "x"),
        (b'{"jsonrpc":"2.0","id":1,"method":"no.such"}', rpc.INVALID_INPUT, 1),
        (b'{"jsonrpc":"2.0","id":1,"method":"later"}', rpc.UNAVAILABLE, 1),
        (b'{"jsonrpc":"2.0","id":1,"method":"crash"}', rpc.INTERNAL_ERROR, 1),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"task.submit","params":{"a":' + b"[" * 30 + b"]" * 30 + b"}}",
            rpc.INVALID_INPUT,
            1,
        ),
    ],
)
async def test_malformed_requests_get_their_error_and_reach_nobody(tmp_path, body, code, identifier):
    node = Node()
    async with serving(tmp_path, node) as url:
        answer = await _send(tmp_path, url, body)
    assert answer["error"]["code"] == code
    assert answer["error"]["message"]
    assert answer["id"] == identifier
    assert node.seen == []


async def test_an_internal_error_tells_nothing_of_the_inside(tmp_path):
    async with serving(tmp_path) as url:
        answer = await _call(tmp_path, url, "crash")
    assert "a slip" not in json.dumps(answer)


async def test_a_notification_is_done_without_an_answer(tmp_path):
    node = Node()
    async with serving(tmp_path, node) as url:
        assert await _send(tmp_path, url, b'{"jsonrpc":"2.0","method":"wallet.send","params":{}}') is None
    assert len(node.of(Submitted)) == 1


async def test_a_body_beyond_the_limit_is_refused(tmp_path):
    async with serving(tmp_path) as url:
        headers = {"authorization": f"Bearer {_token(tmp_path)}"}
        padding = b" " * (rpc.BODY_BYTES_MAX - len(b"[]"))
        fits = await _post(url, b"[]" + padding, **headers)
        too_long = await _post(url, b"[] " + padding, **headers)
        unsized = await _converse(url, f"{_head(tmp_path)}Transfer-Encoding: chunked\r\n\r\n", bytes(1 << 16))
    assert fits.status_code == 200
    assert too_long.status_code == 413
    assert unsized.startswith(b"HTTP/1.1 413")


def _head(directory):
    return f"POST /rpc HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {_token(directory)}\r\n"


async def _converse(url, head, part):
    """Send chunks without an end until the server answers."""
    stream = await trio.open_tcp_stream("127.0.0.1", httpx.URL(url).port)
    answer = []

    async def listen():
        answer.append(await stream.receive_some(4096))
        nursery.cancel_scope.cancel()

    async with stream, trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        await stream.send_all(head.encode())
        with contextlib.suppress(trio.BrokenResourceError):
            while True:
                await stream.send_all(b"%x\r\n%s\r\n" % (len(part), part))
        await trio.sleep_forever()
    return answer[0]


async def test_a_body_that_never_comes_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("p2pai.shell.http.BODY_S_MAX", 0.1)
    async with serving(tmp_path) as url:
        stream = await trio.open_tcp_stream("127.0.0.1", httpx.URL(url).port)
        async with stream:
            await stream.send_all(_head(tmp_path).encode() + b"Content-Length: 50\r\n\r\n{")
            answer = b""
            while str(rpc.PARSE_ERROR).encode() not in answer:
                part = await stream.receive_some(4096)
                assert part, answer
                answer += part


async def test_a_taken_port_is_one_sentence(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BaseExceptionGroup) as caught:
            async with serving(tmp_path, port=port):
                pass
    assert caught.group_contains(Unavailable, match=f"port {port} can't be used")
    assert not (tmp_path / "rpc.json").exists()


async def test_the_client_calls_and_tells_whose_fault_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with serving(tmp_path):
        assert await _client_call(tmp_path, "echo", {"a": "b"}) == {"a": "b"}
        with pytest.raises(InvalidInput, match="there is no method nothing"):
            await _client_call(tmp_path, "nothing", {})
        with pytest.raises(Unavailable, match="not here yet"):
            await _client_call(tmp_path, "later", {})
        with pytest.raises(Unavailable, match="see its log"):
            await _client_call(tmp_path, "crash", {})


def _door(directory, **values):
    (directory / "rpc.json").write_text(json.dumps(values))


async def test_the_client_says_how_to_start_a_node_that_is_not_there(tmp_path):
    sentence = f"no node is running on {tmp_path}; start it with p2pai start --data-dir {tmp_path}"

    async def refused():
        with pytest.raises(Unavailable) as caught:
            await _client_call(tmp_path, "echo", {})
        assert str(caught.value) == sentence

    with trio.fail_after(BUSY_S):
        await refused()
        (tmp_path / "rpc.json").write_text("{")
        await refused()
        _door(tmp_path, url="nonsense", token="x")
        await refused()
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
        _door(tmp_path, url=f"http://127.0.0.1:{port}/rpc", token="x")
        await refused()
    async with serving(tmp_path / ".." / tmp_path.name) as url:
        # Another process took the port of a node that was killed: it does not know our token.
        _door(tmp_path, url=url, token="old")
        await refused()
