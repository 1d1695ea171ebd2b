"""Nodes of ours for the tests with other implementations."""

from gossip_lab import start

__all__ = ["start"]
