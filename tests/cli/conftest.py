"""The commands against a real HTTP server, answered by a node that knows fixed answers."""

import json
import threading

import pytest
import trio

from p2pai.primitives import cbor
from p2pai.primitives.errors import InvalidInput
from p2pai.shell import rpc
from tests.cli.answers import ANSWERS, HASH, PAID, PROGRESS, TASK


class FixedNode:
    """Answers from a table; what is submitted goes through the states that a real node shows."""

    def __init__(self):
        self.answers = {name: [answer] for name, answer in ANSWERS.items()}
        self.answers["task.progress"] = [PROGRESS, PAID]
        self.answers["submission"] = [
            {"state": "preparing", "task": None, "txid": None, "error": None},
            {"state": "posted", "task": TASK, "txid": HASH, "error": None, "fee": 236},
        ]
        self.asked = []
        self.submitted = []

    def query(self, method, params):
        self.asked.append((method, params))
        if method not in self.answers:
            raise InvalidInput(f"there is no method {method}")
        left = self.answers[method]
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def feed(self, event):
        self.submitted.append((event.method, cbor.decode(event.params, size_max=1 << 20)))


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A node that serves on `tmp_path`, which is the commands' data directory."""
    monkeypatch.setenv("P2PAI_DATA_DIR", str(tmp_path))
    made, ready, ends = FixedNode(), threading.Event(), []

    async def serve():
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                await nursery.start(rpc.run_server, made, tmp_path, 0, ())
                ends.append((trio.lowlevel.current_trio_token(), nursery.cancel_scope))
                ready.set()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    assert ready.wait(20)
    yield made
    token, scope = ends[0]
    token.run_sync_soon(scope.cancel)
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def p2pai_json(p2pai):
    """Run the command line with --json; gives what it printed."""

    def run(*arguments):
        status, out, err = p2pai(*arguments, "--json")
        assert (status, err) == (0, "")
        return json.loads(out)

    return run
