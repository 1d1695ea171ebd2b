"""The peer: a node without a role of its own; it keeps the chain and passes on what others say.

Source: PoUW §3.1.
"""

from typing import ClassVar

from p2pai.roles.base import Role


class Peer(Role):
    """See the module."""

    name: ClassVar[str] = "peer"
