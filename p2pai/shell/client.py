"""Calls to the node that runs on a data directory, for the command line."""

import json
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
