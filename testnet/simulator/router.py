"""What one node remembers of gossip: its meshes, what it saw, what it offers, and how its remotes stand."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from p2pai.gossip.conduct import ENTRY_TOKENS, Conduct
from p2pai.gossip.promises import Promises
from p2pai.gossip.scores import Offence
from p2pai.gossip.seen import SeenMessages
from p2pai.primitives.ids import PeerId
from testnet.simulator.links import OUTBOX_BYTES_MAX

WINDOW_BEATS: Final = 3
"""Heartbeats for which a message is offered."""

HISTORY_BEATS: Final = 5
"""Heartbeats for which it is kept for who asks."""

OFFERS_MAX: Final = 500
"""Ids in one offer."""

ANSWERS_MAX: Final = 3
"""Times that one message is sent to one remote that asks for it."""

_MS_PER_S: Final = 1000


@dataclass(frozen=True, slots=True)
class Message:
    """What travels."""

    id: bytes
    """The author's name and a number, so that the same bytes said twice are two messages."""
    author: PeerId
    topic: str
    data: bytes


class Router:
    """One node's part of all meshes."""

    def __init__(self, name: PeerId, now_ms: int, ban: Callable[[PeerId, int], None]) -> None:
        """Begin without neighbours; `ban` is told whom to refuse for how many milliseconds."""
        self.name = name
        self.mesh: dict[str, dict[PeerId, None]] = {}
        """Neighbours by topic."""
        self.seen = SeenMessages(now_ms / _MS_PER_S)
        self.conduct = Conduct(lambda _: None, ban)
        self._promises = Promises()
        self._answered: Counter[tuple[PeerId, bytes]] = Counter()
        self._pages: list[dict[bytes, Message]] = [{}]
        """What was said in each of the last heartbeats, the newest first."""
        self._topics: list[dict[str, list[Message]]] = [{}]
        """The same by topic."""
        self._backs_off: dict[tuple[str, PeerId], int] = {}
        self._pruned_us: dict[tuple[str, PeerId], None] = {}
        """Whose back-off is of their own making: they may come back before its time."""
        self._paces: dict[PeerId, int] = {}
        """Until when a remote that is too fast isn't read."""
        self._unread: dict[PeerId, deque[Message]] = {}
        self._unread_bytes: Counter[PeerId] = Counter()
        self._born_ms, self._count = now_ms, 0

    # --- messages

    def author(self, topic: str, data: bytes, now_ms: int) -> Message:
        """Return a message of this node's own, which it has seen then."""
        self._count += 1
        # The number goes on from the clock, as in a process: a restarted node repeats none.
        number = f"{self.name}/{self._born_ms}/{self._count}".encode()
        message = Message(number, self.name, topic, data)
        self.see(message, now_ms)
        self.remember(message)
        return message

    def see(self, message: Message, now_ms: int) -> None:
        """Note that a message came."""
        self.seen.add(message.id, now_ms / _MS_PER_S)

    def remember(self, message: Message) -> None:
        """Keep a good message for those who lack it."""
        self._pages[0][message.id] = message
        self._topics[0].setdefault(message.topic, []).append(message)

    def recent(self, topic: str) -> list[Message]:
        """Return what is offered of a topic, oldest first."""
        return [message for page in reversed(self._topics) for message in page.get(topic, ())]

    def offered(self, topic: str) -> tuple[bytes, ...]:
        """Return the ids of what is offered of a topic."""
        return tuple(message.id for message in self.recent(topic)[-OFFERS_MAX:])

    def ask(self, remote: PeerId, ids: Sequence[bytes], now_ms: int) -> tuple[bytes, ...]:
        """Return which of the messages that a remote offers are wanted of it."""
        new = [message_id for message_id in ids if not self.seen.has(message_id)]
        return tuple(self._promises.ask(remote, new, now_ms / _MS_PER_S))

    def answer(self, remote: PeerId, ids: Sequence[bytes]) -> Iterator[Message]:
        """Yield those messages that a remote asks for and may have."""
        for message_id in ids:
            kept = next((page[message_id] for page in self._pages if message_id in page), None)
            if kept is not None and self._answered[remote, message_id] < ANSWERS_MAX:
                self._answered[remote, message_id] += 1
                yield kept

    def turn_page(self, now_ms: int) -> None:
        """Let a heartbeat be over."""
        self._backs_off = {key: until for key, until in self._backs_off.items() if until > now_ms}
        self._pages.insert(0, {})
        self._topics.insert(0, {})
        del self._topics[WINDOW_BEATS:]
        for old in self._pages[HISTORY_BEATS:]:
            for remote, message_id in [key for key in self._answered if key[1] in old]:
                del self._answered[remote, message_id]
        del self._pages[HISTORY_BEATS:]

    # --- remotes

    def settle_promises(self, now_ms: int) -> None:
        """Hold against remotes what they offered and did not send."""
        for remote in self._promises.broken(self.seen.has, now_ms / _MS_PER_S):
            self.conduct.blame(remote, Offence.BROKEN_PROMISE, now_ms)

    def pace(self, remote: PeerId, size: int, now_ms: int) -> None:
        """Charge a remote for a frame; who is too fast is not read for a while."""
        wait_ms = self.conduct.framed(remote, size, ENTRY_TOKENS, now_ms)
        if wait_ms:
            self._paces[remote] = now_ms + wait_ms
            self.conduct.waited(remote, wait_ms, now_ms)

    def paced_ms(self, remote: PeerId, now_ms: int) -> int:
        """Return for how long a remote isn't read yet."""
        return max(0, self._paces.get(remote, 0) - now_ms)

    def is_behind(self, remote: PeerId) -> bool:
        """Tell whether messages of a remote wait to be read."""
        return remote in self._unread

    def put_off(self, remote: PeerId, message: Message) -> bool:
        """Keep a message until its remote is read; False when that is more than the remote's outbox holds."""
        unread = self._unread.setdefault(remote, deque())
        if self._unread_bytes[remote] + len(message.data) > OUTBOX_BYTES_MAX:
            return False
        self._unread_bytes[remote] += len(message.data)
        unread.append(message)
        return True

    def next(self, remote: PeerId) -> Message:
        """Return the oldest message of a remote that waits to be read."""
        unread = self._unread[remote]
        message = unread.popleft()
        self._unread_bytes[remote] -= len(message.data)
        if not unread:
            del self._unread[remote]
        return message

    def back_off(self, topic: str, remote: PeerId, until_ms: int) -> None:
        """Graft no more, and take no graft, before a time."""
        self._backs_off[topic, remote] = until_ms

    def be_pruned(self, topic: str, remote: PeerId, until_ms: int) -> None:
        """Take it that a remote wants this node in its mesh no more."""
        self.mesh.get(topic, {}).pop(remote, None)
        self.back_off(topic, remote, until_ms)
        self._pruned_us[topic, remote] = None

    def be_grafted(self, topic: str, remote: PeerId) -> None:
        """Take it that a remote asks for a place in the mesh: who pruned this node may."""
        if (topic, remote) in self._pruned_us:
            self.welcome(topic, remote)

    def welcome(self, topic: str, remote: PeerId) -> None:
        """Forget that a remote has to wait: it follows the topic anew."""
        self._backs_off.pop((topic, remote), None)
        self._pruned_us.pop((topic, remote), None)

    def backs_off(self, topic: str, remote: PeerId, now_ms: int) -> bool:
        """Tell whether a remote must wait."""
        return self._backs_off.get((topic, remote), 0) > now_ms

    def forget(self, remote: PeerId) -> None:
        """Forget a remote whose connection is gone; what it did is remembered."""
        for neighbours in self.mesh.values():
            neighbours.pop(remote, None)
        for key in [key for key in (*self._backs_off, *self._pruned_us) if key[1] == remote]:
            self.welcome(*key)
        self._promises.forget(remote)
        self._paces.pop(remote, None)
        self._unread.pop(remote, None)
        self._unread_bytes.pop(remote, None)
