"""Calls to the node that runs on a data directory, for the command line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.shell import rpc

CALL_S_MAX: Final = 30.0
"""Seconds for one call; a node that replays its journal answers late."""


class RpcClient:
    """Calls one node; finds it anew at each call, so that a node started again is found."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def call(self, method: str, params: dict[str, Any]) -> Any:  # noqa: ANN401
        """Return the result of one call, in JSON's types.

        Raises:
          Unavailable: no node runs there, or it can't tell now.
          InvalidInput: the node refused the call; its sentence.
        """
        url, token = self._find()
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        try:
            # A proxy from the environment must not see the token.
            with httpx.Client(trust_env=False, timeout=CALL_S_MAX) as http:
                response = http.post(url, json=request, headers={"Authorization": f"Bearer {token}"})
        except httpx.TimeoutException as error:
            raise Unavailable(f"the node on {self._data_dir} does not answer; see its node.log") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._not_running() from error
        return self._result(response)

    def report(self) -> dict[str, Any]:
        """Return the node's gossip in numbers (see gossip/meter.py).

        Raises:
          Unavailable: no node runs there.
        """
        return self._exchange("GET", "/gossip/report", {}, b"")

    def publish(self, topic: str, data: bytes) -> int:
        """Let the node publish a message; return for how many remotes it was queued.

        Raises:
          Unavailable: no node runs there.
          InvalidInput: the node refused; its sentence.
        """
        return int(self._exchange("POST", "/gossip/publish", {"topic": topic}, data)["remotes"])

    def _exchange(self, method: str, path: str, params: dict[str, str], body: bytes) -> dict[str, Any]:
        url, token = self._find()
        try:
            with httpx.Client(trust_env=False, timeout=CALL_S_MAX) as http:
                response = http.request(
                    method,
                    url.removesuffix("/rpc") + path,
                    params=params,
                    content=body,
                    headers={"Authorization": f"Bearer {token}"},
                )
            answer: dict[str, Any] = response.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise self._not_running() from error
        if response.status_code in (httpx.codes.BAD_REQUEST, httpx.codes.REQUEST_ENTITY_TOO_LARGE):
            raise InvalidInput(str(answer.get("error", "the node refused")))
        if response.status_code != httpx.codes.OK:
            raise self._not_running()
        return answer

    @contextmanager
    def gossip(self, seconds: int | None = None) -> Iterator[Iterator[bytes]]:
        """Give a recording of the node's gossip from now on, in pieces as they come.

        Args:
          seconds: after which it ends; None: it goes on for ever.

        Raises:
          Unavailable: no node runs there, it has too many readers, or (while reading) it stopped or cut this
            reader off.
        """
        url, token = self._find()
        known: dict[str, Any] = {
            "url": url.removesuffix("/rpc") + "/gossip",
            "params": {} if seconds is None else {"seconds": str(seconds)},
            "headers": {"Authorization": f"Bearer {token}"},
        }
        timeout = httpx.Timeout(CALL_S_MAX, read=None)
        try:
            with (
                httpx.Client(trust_env=False, timeout=timeout) as http,
                http.stream("GET", **known) as answer,
            ):
                if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                    raise Unavailable(str(json.loads(answer.read())["error"]))
                if answer.status_code != httpx.codes.OK:
                    raise self._not_running()
                yield self._pieces(answer)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._not_running() from error

    def _pieces(self, answer: httpx.Response) -> Iterator[bytes]:
        try:
            yield from answer.iter_raw()
        except httpx.HTTPError as error:
            reason = "has stopped, or cut this reader off because it was too slow"
            raise Unavailable(f"the node on {self._data_dir} {reason}") from error

    def _find(self) -> tuple[str, str]:
        try:
            values = json.loads((self._data_dir / rpc.FILE_NAME).read_bytes())
            return str(values["url"]), str(values["token"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._not_running() from error

    def _result(self, response: httpx.Response) -> Any:  # noqa: ANN401
        if response.status_code != httpx.codes.OK:
            raise self._not_running()
        try:
            answer = response.json()
            if "error" not in answer:
                return answer["result"]
            code, message = answer["error"]["code"], str(answer["error"]["message"])
        except (ValueError, KeyError, TypeError) as error:
            raise self._not_running() from error
        if code in (rpc.UNAVAILABLE, rpc.INTERNAL_ERROR):
            raise Unavailable(message)
        raise InvalidInput(message)

    def _not_running(self) -> Unavailable:
        directory = self._data_dir
        return Unavailable(
            f"no node is running on {directory}; start it with p2pai start --data-dir {directory}"
        )
