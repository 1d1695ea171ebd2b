"""The fixture that starts the nodes of a test."""

from gossip_lab import start

__all__ = ["start"]
