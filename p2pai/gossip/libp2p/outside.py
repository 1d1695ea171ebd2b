"""How this node looks from outside: now and then a remote is asked to dial back, and for its time."""

import time
from collections.abc import Callable, Mapping
from typing import Final

import structlog
import trio
from libp2p.peer.id import ID

from p2pai.gossip.libp2p.asking import Asker
from p2pai.gossip.libp2p.dial_back import DialBacks
from p2pai.gossip.libp2p.frames import CLOCK_SIZE, Kind
from p2pai.gossip.reachability import Answers, Outlook, read_clock
from p2pai.primitives.errors import Unavailable
from p2pai.primitives.ids import PeerId

WITNESSES: Final = 4
"""Remotes whose word is enough, as many as the specification of AutoNAT wants for a verdict."""

FRESH_S: Final = 600.0
"""Seconds that an answer counts; routers change, and so do clocks."""

POLL_S: Final = 1.0
"""Seconds between two looks at whether somebody should be asked."""

CLOCK_S_MAX: Final = 5.0
"""Seconds for telling the time; a slow answer is worth little."""

_log = structlog.get_logger(__name__)


class Outside:
    """Asks whoever can be asked; `outlook` is what they say."""

    def __init__(
        self, dial_backs: DialBacks, askers: Mapping[ID, Asker], addresses: Callable[[], list[str]]
    ) -> None:
        """Begin without knowing anything.

        Args:
          dial_backs: asks them to dial back.
          askers: who can be asked, always as it is now.
          addresses: multiaddrs at which we might be called, likeliest first.
        """
        self._dial_backs = dial_backs
        self._askers = askers
        self._addresses = addresses
        self._answers = Answers()
        self._asked_at: dict[ID, float] = {}

    async def run(self) -> None:
        """Ask one remote after another until cancelled."""
        while True:
            witness = self._next_witness()
            if witness is not None:
                self._asked_at[witness] = trio.current_time()
                await self._ask(witness)
            await trio.sleep(POLL_S)

    def outlook(self) -> Outlook:
        """Return what remotes say at present."""
        return self._answers.sum_up()

    def _next_witness(self) -> ID | None:
        stale_s = trio.current_time() - FRESH_S
        for remote, asked_s in list(self._asked_at.items()):
            if asked_s < stale_s or remote not in self._askers:
                del self._asked_at[remote]
                self._answers.forget(PeerId(str(remote)))
        if len(self._asked_at) >= WITNESSES:
            return None
        return next((remote for remote in self._askers if remote not in self._asked_at), None)

    async def _ask(self, remote: ID) -> None:
        name, asker = PeerId(str(remote)), self._askers[remote]
        try:
            sent_ms = _now_ms()
            said = await asker.request(Kind.CLOCK, b"", CLOCK_S_MAX)
            if len(said) == CLOCK_SIZE:
                reading = read_clock(sent_ms, int.from_bytes(said, "little"), max(sent_ms, _now_ms()))
                self._answers.clocks[name] = reading
            self._answers.dials[name] = await self._dial_backs.ask(remote, self._addresses())
        except Unavailable as error:
            _log.debug("a remote doesn't say how it sees us", remote=name, reason=str(error))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
