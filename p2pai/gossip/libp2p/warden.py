"""`gossip.conduct` where remotes really are: with a clock, with waiting, and with what follows a ban."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import trio
from libp2p.peer.id import ID

from p2pai.effects import Verdict
from p2pai.gossip import hearing
from p2pai.gossip.conduct import Conduct, Loss, is_of_chain
from p2pai.gossip.libp2p.refusals import Refusals
from p2pai.gossip.scores import Offence, Standing
from p2pai.gossip.sightings import Observer, Outcome, Sighting
from p2pai.primitives.ids import PeerId

PACE_MS_MAX: Final = 1000
"""Milliseconds that a reader waits before it looks again whether its remote is still wanted."""


class Warden:
    """Knows how each remote stands; one per network."""

    def __init__(
        self,
        chain: str,
        refusals: Refusals,
        observers: Sequence[Observer],
        disconnect: Callable[[ID], None],
    ) -> None:
        """Begin with clean sheets.

        Args:
          chain: whose topics count as ours.
          refusals: where those who are banned are refused.
          observers: shown each blame and each ban.
          disconnect: begins to end all that we have with a remote.
        """
        self.conduct = Conduct(self._note, self._ban)
        self._chain = chain
        self._refusals = refusals
        self._observers = observers
        self._disconnect = disconnect

    def is_welcome(self, remote: ID) -> bool:
        """Tell whether a remote isn't refused at present."""
        return self._refusals.is_welcome(remote)

    def arrive(self, remote: ID, group: str | None) -> None:
        """Note that a remote connected to us, and from which network, if that matters."""
        self.conduct.scores.arrive(_name(remote), group)

    def depart(self, remote: ID) -> None:
        """Note that a remote is gone."""
        self.conduct.scores.depart(_name(remote))

    def lost(self) -> dict[str, int]:
        """Return how much was not used, or not sent, and why."""
        return {loss.value: count for loss, count in self.conduct.losses.items()}

    def seconds_left(self, remote: ID) -> float:
        """Return for how long a remote is refused still."""
        return self._refusals.seconds_left(remote)

    def is_of_chain(self, topic: str) -> bool:
        """Tell whether a topic is a well-formed one of our chain."""
        return is_of_chain(topic, self._chain)

    def standing(self, remote: ID) -> Standing:
        """Return what may be done with a remote."""
        return self.conduct.standing(_name(remote), _now_ms())

    def report(self, remote: PeerId) -> dict[str, object]:
        """Describe a remote: its score, standing and offences, and how long it is refused."""
        return self.conduct.report(remote, _now_ms())

    def blame(self, remote: ID, offence: Offence, times: int = 1) -> None:
        """Hold something against a remote."""
        self.conduct.blame(_name(remote), offence, _now_ms(), times)

    def give_up(self, remote: ID) -> None:
        """Disconnect a remote that doesn't read or write as it should; it may come back."""
        self.blame(remote, Offence.STALLED)
        self._disconnect(remote)

    def lose(self, loss: Loss, count: int = 1) -> None:
        """Count what was not used, or not sent."""
        self.conduct.lose(loss, count)

    def admits(self, remote: ID, topic: str, size: int) -> bool:
        """Tell whether a new message on a topic is within its rate."""
        return self.conduct.admits(_name(remote), topic, size, _now_ms())

    def judged(self, remote: ID, msg: Any, outcome: Outcome) -> None:  # noqa: ANN401
        """Note what became of a message."""
        is_evident = outcome is Outcome.REJECTED and (
            msg.from_id == remote.to_bytes() or hearing.judge(msg.topicIDs[0], msg.data) is Verdict.REJECT
        )
        self.conduct.judged(_name(remote), outcome, _now_ms(), is_evident=is_evident)

    async def pace(self, remote: ID, size: int, tokens: int) -> None:
        """Charge a remote for a frame, and wait while it has sent more than it may."""
        name = _name(remote)
        wait_ms = self.conduct.framed(name, size, tokens, _now_ms())
        while wait_ms and self.is_welcome(remote):
            step_ms = min(wait_ms, PACE_MS_MAX)
            await trio.sleep(step_ms / 1000)
            self.conduct.waited(name, step_ms, _now_ms())
            wait_ms -= step_ms

    def _note(self, sighting: Sighting) -> None:
        for observe in self._observers:
            observe(sighting)

    def _ban(self, remote: PeerId, ban_ms: int) -> None:
        known = ID.from_base58(remote)
        self._refusals.add(known, ban_ms / 1000)
        self._disconnect(known)


def _name(remote: ID) -> PeerId:
    return PeerId(str(remote))


def _now_ms() -> int:
    return int(trio.current_time() * 1000)
