"""What the RPC tells of the node's network: how remotes see this node."""

from typing import Any, Final

from p2pai.primitives.errors import InvalidInput
from p2pai.shell.wire import Wire

METHOD: Final = "node.network"


def describe(network: Wire, params: dict[str, Any]) -> dict[str, Any]:
    """Answer `node.network`, in JSON's types.

    Raises:
      InvalidInput: it takes no parameters.
    """
    if params:
        raise InvalidInput(f"{METHOD} takes no parameters")
    found = network.outlook()
    return {
        **network.company(),
        "addresses": list(network.addresses),
        "remotes": len(network.remotes()),
        "reach": str(found.reach),
        "reached_at": list(found.addresses),
        "reached_by": found.reached_by,
        "tried_by": found.tried_by,
        "clock_ahead_ms": found.clock_ahead_ms,
        "clock_error_ms": found.clock_error_ms,
        "clocks": found.clocks,
    }
