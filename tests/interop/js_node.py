"""A node in JavaScript (node.mjs) as a child process, told what to do line by line."""

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import trio

HERE = Path(__file__).parent
INSTALLED = shutil.which("node") is not None and (HERE / "node_modules").is_dir()
START_S_MAX = 30
ANSWER_S_MAX = 30


class JsError(Exception):
    """What the JavaScript node said went wrong."""


class JsNode:
    """The running process; calls may overlap."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._numbers = count(1)
        self._answers: dict[int, Any] = {}
        self._wake: dict[int, trio.Event] = {}
        self.peer_id = ""
        self.started = trio.Event()

    async def call(self, do: str, **given: object) -> Any:
        """Do one thing; raises JsError when it fails there."""
        number = next(self._numbers)
        answered = self._wake[number] = trio.Event()
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps({"id": number, "do": do, **given}).encode() + b"\n")
        with trio.fail_after(ANSWER_S_MAX):
            await answered.wait()
        answer = self._answers.pop(number)
        if "error" in answer:
            raise JsError(answer["error"])
        return answer["result"]

    async def address(self) -> str:
        """Return its full multiaddr."""
        (address,) = await self.call("addresses")
        return str(address)

    def kill(self) -> None:
        """End it the hard way."""
        self._process.kill()

    async def read(self) -> None:
        """Take in answers until the process ends."""
        assert self._process.stdout is not None
        rest = b""
        async for part in self._process.stdout:
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                self._take(json.loads(line))

    def _take(self, said: dict[str, Any]) -> None:
        if "peer_id" in said:
            self.peer_id = said["peer_id"]
            self.started.set()
            return
        self._answers[said["id"]] = said
        self._wake.pop(said["id"]).set()


@asynccontextmanager
async def js_node(chain: str, mode: str = "") -> AsyncIterator[JsNode]:
    """Run one; it is ended with the block. In the mode "lazy" it has no mesh."""
    async with trio.open_nursery() as nursery:
        process = await trio.lowlevel.open_process(
            ["node", str(HERE / "node.mjs"), chain, mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        node = JsNode(process)
        try:
            nursery.start_soon(node.read)
            with trio.fail_after(START_S_MAX):
                await node.started.wait()
            yield node
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                await process.stdin.aclose()  # type: ignore[union-attr]
                nursery.cancel_scope.cancel()


async def until_js(node: JsNode, do: str, holds: Any, timeout_s: float = 30, **given: object) -> Any:
    """Ask again and again until the answer is as wanted."""
    with trio.fail_after(timeout_s):
        while not holds(found := await node.call(do, **given)):  # noqa: ASYNC110
            await trio.sleep(0.05)
    return found
