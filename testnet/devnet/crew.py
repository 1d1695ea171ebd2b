"""The processes of a scenario's nodes: started, killed, started again, paused, asked.

A node is `down` from a kill to its next start, and `quiet` while it can't answer: down, paused, or still
starting. Nothing here waits for a node that was started again; whoever wants to know asks `answers`.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

from p2pai.primitives.errors import P2paiError
from testnet.devnet import launch
from testnet.devnet.launch import Devnet, Node, Plan

BOOTSTRAPS: Final = 3
"""Nodes whose addresses whoever starts later is given at most: were it one, its end would cut him off."""


class Crew:
    """All nodes by name."""

    def __init__(self, devnet: Devnet, plans: Iterable[Plan]) -> None:
        """Plan the nodes; none runs yet."""
        self._devnet = devnet
        self._plans = {plan.name: plan for plan in plans}
        self._nodes: dict[str, Node] = {}
        self._down: dict[str, None] = {}
        self._paused: dict[str, None] = {}
        self._starting: dict[str, None] = {}
        self._is_retired = False
        self.starts = dict.fromkeys(self._plans, 0)
        """How often each was started."""

    @property
    def nodes(self) -> Mapping[str, Node]:
        """Those that were started, by name."""
        return self._nodes

    def launch(self, names: Iterable[str]) -> None:
        """Start the first nodes and wait until all of them answer; the others join by the first."""
        started = self._devnet.launch([self._plans[name] for name in names])
        self._nodes.update(started)
        self.starts.update(dict.fromkeys(started, 1))

    def start(self, name: str) -> None:
        """Start a node for the first time, or again after it ended."""
        if self._is_retired:
            return
        known = self._nodes.get(name)
        if known is None:
            met = [node.multiaddr for node in self._nodes.values() if node.peer_id]
            self._nodes[name] = self._devnet.start(self._plans[name], met[:BOOTSTRAPS])
        else:
            self._nodes[name] = self._devnet.restart(known)
        self.starts[name] += 1
        self._down.pop(name, None)
        self._starting[name] = None

    def kill(self, name: str) -> None:
        """End a node by SIGKILL, in whatever it does."""
        launch.kill(self._nodes[name])
        self._paused.pop(name, None)
        self._starting.pop(name, None)
        self._down[name] = None

    def pause(self, name: str) -> None:
        """Stop a node where it is (SIGSTOP)."""
        self._nodes[name].pause()
        self._paused[name] = None

    def resume(self, name: str) -> None:
        """Let a paused node go on; one that was killed meanwhile stays dead."""
        if name in self._paused and not self._is_retired:
            self._nodes[name].resume()
            del self._paused[name]

    def retire(self) -> None:
        """Start nothing and wake nothing from now on: all are about to be ended."""
        self._is_retired = True

    def is_down(self, name: str) -> bool:
        """Return whether a node was killed, or did not start yet."""
        return name in self._down or name not in self._nodes

    def is_paused(self, name: str) -> bool:
        """Return whether a node is stopped."""
        return name in self._paused

    def answers(self, name: str) -> bool:
        """Return whether a node can be asked now; one that starts is tried.

        Raises:
          NodeFailure: it ended by itself.
        """
        if self.is_down(name) or self.is_paused(name):
            return False
        if name in self._starting and self._nodes[name].answers():
            del self._starting[name]
        return name not in self._starting

    def ask(self, name: str, method: str, **params: Any) -> Any:  # noqa: ANN401
        """Ask a node; None when it can't answer, or refuses."""
        with suppress(P2paiError):
            if self.answers(name):
                return self._nodes[name].call(method, **params)
        return None

    def check(self) -> None:
        """Raise NodeFailure when a node ended that nobody killed."""
        for name, node in self._nodes.items():
            if name not in self._down:
                node.check()
