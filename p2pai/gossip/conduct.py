"""What each remote may send, what it did send, and how it stands for that: rates, scores and counts in one.

Everything that a remote makes us do costs *tokens*, about 30 us of CPU each. A remote that is out of tokens
isn't punished: its reader waits until they are back, so it is slowed down by its own connection and nothing
is lost. Only who keeps its reader waiting is blamed, a little for each second (`Offence.FLOOD`).

A message on a topic beyond that topic's rate is left unjudged and not marked as seen, so that it can still
come another way: one busy topic doesn't eat what the remote may say on others.

Source: RELIABILITY (1) L4 and L6: 80 messages and 5 MiB a second from one remote must pass, tenfold is shed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from p2pai.gossip import topics
from p2pai.gossip.buckets import Bucket, Rate
from p2pai.gossip.scores import Offence, Scores, Standing
from p2pai.gossip.sightings import Banned, Blamed, Outcome, Sighting
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import PeerId

REMOTE_RATE: Final = Rate(2_048, 16_384)
"""Tokens of one remote. The burst is what an outbox of 4 MiB holds of the smallest messages (400 bytes): a
remote that was paused may send all of it at once."""

BYTES_RATE: Final = Rate(16 << 20, 32 << 20)
"""Bytes of gossip frames of one remote; three times what a full task group says."""

TOPIC_RATE: Final = Rate(1_024, 8_192)
TOPIC_BYTES_RATE: Final = Rate(8 << 20, 24 << 20)
"""New messages, and their bytes, of one remote on one topic."""

DUPLICATE_TOKENS: Final = 1
NEW_TOKENS: Final = 2
USELESS_TOKENS: Final = 16
"""Tokens of a message that was judged and is of no use: whoever repeats old ones under new numbers makes us
open an envelope each time. 128 a second."""

ENTRY_TOKENS: Final = 1
"""Tokens of a frame, and of each graft, prune, offer or request in it."""

SUBSCRIPTION_TOKENS: Final = 8
"""Tokens of a topic joined or left: who joins is sent what was said last."""

QUESTION_TOKENS: Final = 4
"""Tokens of a question: 512 a second, as chunks of a blob 512 MiB."""

IDS_PER_TOKEN: Final = 8
"""Message ids in offers and requests."""

FLOWS_MAX: Final = 1_024
"""Remotes whose rates are remembered."""

TOPICS_MAX: Final = 256
"""Topics of this chain that one remote may follow: a handful per task."""

FOREIGN_TOPICS_MAX: Final = 16
"""Other topics of one remote that are remembered: other applications may use the same host."""

_MILLI: Final = 1000


class Loss(Enum):
    """Why something that arrived was not used, or something to send was not sent."""

    TOPIC_RATE = "topic rate"
    IGNORED_REMOTE = "ignored remote"
    CRUMBS = "crumbs"
    SUBSCRIPTION = "subscription"
    STREAM = "stream"
    CONNECTION = "connection"
    OUTBOX = "outbox"
    REQUEST = "request"


@dataclass(slots=True)
class _Flow:
    """What one remote may still send."""

    tokens: Bucket
    bytes: Bucket
    topics: dict[str, tuple[Bucket, Bucket]] = field(default_factory=dict)
    waited_ms: int = 0


class Conduct:
    """The behaviour of all remotes, and what this node refused."""

    def __init__(self, note: Callable[[Sighting], None], ban: Callable[[PeerId, int], None]) -> None:
        """Begin with clean sheets.

        Args:
          note: shown each blame and each ban.
          ban: told whom to disconnect and for how many milliseconds to refuse him, once per ban.
        """
        self.scores = Scores()
        self.losses: dict[Loss, int] = {}
        self._note = note
        self._ban = ban
        self._flows: dict[PeerId, _Flow] = {}

    def standing(self, remote: PeerId, now_ms: int) -> Standing:
        """Return what may be done with a remote."""
        return self.scores.standing(remote, now_ms)

    def blame(self, remote: PeerId, offence: Offence, now_ms: int, times: int = 1) -> None:
        """Hold something against a remote; it is banned when that was too much."""
        before = self.scores.is_banned(remote, now_ms)
        standing = self.scores.blame(remote, offence, now_ms, times)
        self._note(Blamed(remote, offence.label, times, max(0, -self.scores.score(remote, now_ms))))
        if standing is Standing.BANNED and not before:
            ban_ms = self.scores.ban_ms(remote, now_ms)
            self._note(Banned(remote, ban_ms // _MILLI))
            self._ban(remote, ban_ms)

    def lose(self, loss: Loss, count: int = 1) -> None:
        """Count what was not used, or not sent."""
        if count:
            self.losses[loss] = self.losses.get(loss, 0) + count

    def admits(self, remote: PeerId, topic: str, size: int, now_ms: int) -> bool:
        """Tell whether a new message on a topic is within that topic's rate."""
        flow = self._flow(remote, now_ms)
        if topic not in flow.topics:
            # Asked for topics that we follow alone, hence few; what is full again need not be kept.
            flow.topics = {name: pair for name, pair in flow.topics.items() if not pair[0].is_full(now_ms)}
            flow.topics[topic] = Bucket(TOPIC_RATE, now_ms), Bucket(TOPIC_BYTES_RATE, now_ms)
        count, volume = flow.topics[topic]
        if count.try_draw(1, now_ms) and volume.try_draw(size, now_ms):
            return True
        self.lose(Loss.TOPIC_RATE)
        return False

    def judged(self, remote: PeerId, outcome: Outcome, now_ms: int, *, is_evident: bool = False) -> None:
        """Note what became of a message, and what it cost.

        Args:
          remote: who sent it.
          outcome: what became of it.
          now_ms: the time.
          is_evident: whether the remote could tell that it would be rejected.
        """
        tokens = USELESS_TOKENS
        match outcome:
            case Outcome.ACCEPTED:
                tokens = NEW_TOKENS
                self.scores.credit(remote, now_ms)
            case Outcome.DUPLICATE:
                tokens = DUPLICATE_TOKENS
            case Outcome.REJECTED:
                self.blame(remote, Offence.REJECTED if is_evident else Offence.PASSED_ON, now_ms)
        self._flow(remote, now_ms).tokens.draw(tokens, now_ms)

    def framed(self, remote: PeerId, size: int, tokens: int, now_ms: int) -> int:
        """Charge a remote for a frame that was dealt with; return how long its reader must wait, ms.

        Args:
          remote: who sent it.
          size: its bytes.
          tokens: what it cost, apart from the messages in it.
          now_ms: the time.
        """
        flow = self._flow(remote, now_ms)
        return max(flow.tokens.draw(tokens, now_ms), flow.bytes.draw(size, now_ms))

    def waited(self, remote: PeerId, waited_ms: int, now_ms: int) -> None:
        """Note that a remote's reader had to wait; each full second is an offence."""
        flow = self._flow(remote, now_ms)
        seconds, flow.waited_ms = divmod(flow.waited_ms + waited_ms, _MILLI)
        if seconds:
            self.blame(remote, Offence.FLOOD, now_ms, seconds)

    def report(self, remote: PeerId, now_ms: int) -> dict[str, object]:
        """Describe a remote: its score, standing and offences, and how long it is refused."""
        return {
            "score": self.scores.score(remote, now_ms),
            "standing": self.standing(remote, now_ms).name.lower(),
            "offences": {offence.label: count for offence, count in self.scores.offences(remote).items()},
            "refused_ms": self.scores.ban_ms(remote, now_ms),
        }

    def _flow(self, remote: PeerId, now_ms: int) -> _Flow:
        flow = self._flows.get(remote)
        if flow is None:
            self._forget_quiet(now_ms)
            flow = self._flows[remote] = _Flow(Bucket(REMOTE_RATE, now_ms), Bucket(BYTES_RATE, now_ms))
        return flow

    def _forget_quiet(self, now_ms: int) -> None:
        # Kept beyond the connection, so that coming again doesn't fill a bucket.
        if len(self._flows) < FLOWS_MAX:
            return
        quiet = [name for name, flow in self._flows.items() if flow.tokens.is_full(now_ms)]
        for name in quiet or [next(iter(self._flows))]:
            del self._flows[name]


def is_of_chain(topic: str, chain: str) -> bool:
    """Tell whether a topic is a well-formed one of a chain."""
    try:
        return topics.parse(topic).chain == chain
    except InvalidMessage:
        return False
