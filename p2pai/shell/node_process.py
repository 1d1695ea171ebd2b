"""A node as a program of its own (node.py), on a host of its own, run until a signal.

A signal (SIGTERM, SIGINT) ends all of it within `STOP_S_MAX`; should a thread hang, the process is ended the
hard way, which the journal is made for. A bug of our own ends it with status 1 and one sentence on stderr.
"""

import gc
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import structlog
import trio

from p2pai.gossip.libp2p.own_host import OwnHost
from p2pai.gossip.libp2p.traversal import Ways
from p2pai.primitives.errors import InvalidInput, P2paiError, Unavailable
from p2pai.primitives.keys import KeySource
from p2pai.shell import node, telemetry
from p2pai.shell.config import Config

STOP_S_MAX: Final = 4.5
"""Seconds from a signal to the end; who sends one waits five."""

_log = structlog.get_logger(__name__)


async def run_node(
    config: Config, source: KeySource, ready: Callable[[node.Node], None] = lambda _: None
) -> None:
    """Run a node until SIGTERM or SIGINT.

    Args:
      config: its settings.
      source: its keys, unlocked.
      ready: called once, when it serves.

    Raises:
      P2paiError: it can't start; one sentence says why.
      SystemExit: it had to stop; status 1, the log says why.
    """
    config = node.prepare(config)
    os.umask(0o077)
    telemetry.configure(config.data_dir)
    with _stopped_by_signals() as scope:
        try:
            async with node.running(config, source, partial(_make_host, config), has_rpc=True) as running:
                ready(running)
                await trio.sleep_forever()
        except Exception as error:
            raise _explain(error) from error
    if scope.cancelled_caught:
        _log.info("node stopped")
    # The process ends next; collecting what the libraries leave behind would take most of its last CPU time.
    gc.freeze()


def _make_host(config: Config) -> OwnHost:
    try:
        ways = Ways(config.announce, config.uses_relays, config.relay_service)
        return OwnHost(config.identity, [config.listen], ways=ways)
    except ValueError as error:
        raise InvalidInput(f"an address or the identity file is malformed: {error}") from error


@contextmanager
def _stopped_by_signals() -> Iterator[trio.CancelScope]:
    """Cancel what runs inside at the first SIGTERM or SIGINT."""
    token = trio.lowlevel.current_trio_token()
    scope = trio.CancelScope()

    def stop(*_: object) -> None:
        # Whatever hangs (a thread, a library, the core), the kernel then ends the process.
        signal.setitimer(signal.ITIMER_REAL, STOP_S_MAX)
        token.run_sync_soon(scope.cancel, idempotent=True)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    try:
        with scope:
            yield scope
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _explain(error: Exception) -> BaseException:
    """Return what to raise for it: its own sentence, or a status when the log has the sentence."""
    causes = _leaves(error)
    bug = next((cause for cause in causes if isinstance(cause, AssertionError)), None)
    if bug is None:
        for cause in causes:
            if isinstance(cause, P2paiError):
                return cause
            if isinstance(cause, OSError):
                return Unavailable(f"the system refused: {cause}")
    _log.critical(
        "the node found a bug in itself and stopped; its journal is intact, start it again",
        bug=repr(bug or causes[0]),
        exc_info=error,
    )
    return SystemExit(1)


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for part in error.exceptions for leaf in _leaves(part)]
