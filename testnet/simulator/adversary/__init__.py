"""Dishonest nodes, one module per idea, one class per kind.

    testnet.scenario.adversaries: who, from when, how much   ->   KINDS[kind](plan, core, setting)

What comes out has `handle` as the core has it, so the world can't tell the two apart.
"""

from typing import Final

from testnet.simulator.adversary.base import Adversary, Setting

KINDS: Final[dict[str, type[Adversary]]] = {}
"""By the word that a scenario file has for `kind`."""

__all__ = ["KINDS", "Adversary", "Setting"]
