"""p2pai: a peer-to-peer network whose proof of work trains neural networks.

`p2pai.attach` runs a node on a py-libp2p host (docs/PLUGIN.md).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from p2pai.shell.node import Node
    from p2pai.shell.plugin import attach

__all__ = ["Node", "attach"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Load what the package offers when it is asked for: `import p2pai` alone loads nothing."""
    if name == "attach":
        from p2pai.shell.plugin import attach

        return attach
    if name == "Node":
        from p2pai.shell.node import Node

        return Node
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
