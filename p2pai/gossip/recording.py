"""Recordings of what a node saw, in the one form that files, the local RPC's stream and the simulator share.

A recording is a head and then entries, each a record in canonical CBOR behind its length as u32 big-endian.
An entry has a time and says one thing: a sighting of gossip, or a step of the node's core. Entries can be
appended at any time, and read while they come. Whoever was killed while it wrote leaves half an entry, which
`Reading` counts and does not mind.

What belongs to the core (`Holds.INBOX`) is everything that its effects follow from, but for the node's keys,
so that somebody who has those can live its life again: `Found` and `Happened(Started)`, then for each event
one `Happened`, what the core read from its disk meanwhile, and `Reacted`; now and then a `Noted`.

Source: docs/RECORDING.md, byte by byte.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from p2pai.chain.spec import ChainSpec
from p2pai.chain.state import Checkpoint
from p2pai.events import Event
from p2pai.gossip.sightings import Sighting
from p2pai.primitives import cbor, record
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import Hash32, PeerId, PublicKey

FORMAT: Final = 1
"""Raised when recordings change their form."""

HEAD_SIZE_MAX: Final = 8 << 20
"""Bytes; nearly all of it a chain spec, whose file has at most 4 MiB."""

ENTRY_SIZE_MAX: Final = 256 << 20
"""Bytes; a snapshot that was fetched from remotes is handed to the core whole."""

LENGTH_SIZE: Final = 4


class Holds(StrEnum):
    """A kind of entries."""

    GOSSIP = "gossip"
    """Sightings."""
    INBOX = "inbox"
    """All steps of the core, from the node's start."""


@dataclass(frozen=True, slots=True)
class Birth:
    """What a core is made from, besides its keys, its peer id and its roles."""

    spec: ChainSpec
    checkpoint: Checkpoint | None
    """Where its chain was to begin on an empty disk; None: at genesis."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The head: whose recording it is, and what it holds."""

    format: int
    software: str
    """Version of p2pai that wrote it."""
    chain: Hash32
    """The chain's id; zeros where a listener did not know it."""
    peer: PeerId
    """The node's libp2p identity."""
    roles: tuple[str, ...]
    public_key: PublicKey | None
    """Of the node's spending key; None: it has none."""
    began_us: int
    """Unix time in microseconds."""
    holds: tuple[Holds, ...]
    birth: Birth | None
    """Where the inbox is held."""


class Place(StrEnum):
    """Where on its disk a node found something when it started."""

    JOURNAL = "journal"
    SNAPSHOT = "snapshot"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Found:
    """A part of the `Started` that follows, in the order in which it stands there."""

    place: Place
    body: bytes


@dataclass(frozen=True, slots=True)
class Happened:
    """The core was given an event; a `Started` stands here empty, after what was `Found`."""

    now_ms: int
    """What the core was told of the time; Unix milliseconds."""
    event: Event


@dataclass(frozen=True, slots=True)
class BodyRead:
    """The core read a stored block."""

    block: Hash32
    body: bytes | None


@dataclass(frozen=True, slots=True)
class HeightRead:
    """The core read the height of a final block."""

    block: Hash32
    height: int | None


@dataclass(frozen=True, slots=True)
class HashRead:
    """The core read which final block is at a height."""

    height: int
    block: Hash32 | None


@dataclass(frozen=True, slots=True)
class NamesRead:
    """The core read which final blocks have hashes between two."""

    first: Hash32
    last: Hash32
    count_max: int
    blocks: tuple[Hash32, ...]


@dataclass(frozen=True, slots=True)
class Reacted:
    """What the core did about the event before."""

    effects: tuple[str, ...]
    """Their names in order."""
    digests: tuple[Hash32, ...]
    """Of each."""


@dataclass(frozen=True, slots=True)
class Noted:
    """Where the core stood after the event before."""

    number: int
    """Events so far, the first is 1."""
    height: int
    tip: Hash32
    state: Hash32
    """The state hash; see node/state_hash.py."""


DiskRead = BodyRead | HeightRead | HashRead | NamesRead
Step = Found | Happened | DiskRead | Reacted | Noted
What = Sighting | Step


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was seen."""

    time_us: int
    """Unix time in microseconds, by the clock of whoever recorded."""
    what: What


def begin(head: Recording) -> bytes:
    """Return the bytes that a recording begins with."""
    return _frame(record.encode_tagged(head))


def encode(entry: Entry) -> bytes:
    """Return the bytes of one entry, to be put behind those that are there."""
    return _frame(record.encode(entry))


class Reading:
    """A recording that is read piece by piece; iterate over it for its entries, once."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        """Read the head.

        Args:
          pieces: the recording's bytes in order, cut anywhere.

        Raises:
          InvalidMessage: this is no recording, or one of another format.
        """
        self._pieces = iter(pieces)
        self._held = bytearray()
        self._start = 0
        """Where in `_held` what was not read yet begins."""
        self.position = 0
        """Bytes read, up to the end of the last whole entry."""
        self.cut_bytes = 0
        """At the end of the iteration: bytes of an entry that was cut off there."""
        self.head = self._read_head()

    def __iter__(self) -> Iterator[Entry]:
        """Give entry after entry, holding one at a time.

        Raises:
          InvalidMessage: an entry is damaged; says where.
        """
        while True:
            at = self.position
            try:
                body = self._next(ENTRY_SIZE_MAX)
                if body is None:
                    self.cut_bytes = len(self._held) - self._start
                    return
                entry = record.decode(Entry, body, size_max=ENTRY_SIZE_MAX)
            except InvalidMessage as error:
                raise InvalidMessage(f"the recording is damaged at byte {at}: {error}") from error
            yield entry

    def _read_head(self) -> Recording:
        try:
            body = self._next(HEAD_SIZE_MAX) or b""
            value = cbor.decode(body, size_max=HEAD_SIZE_MAX)
        except InvalidMessage:
            value = None
        if not isinstance(value, list) or len(value) < 2 or value[0] != Recording.__name__:
            raise InvalidMessage("this is no recording of p2pai")
        if value[1] != FORMAT:
            raise InvalidMessage(
                f"a recording of format {value[1]!s:.20}; this version reads format {FORMAT}"
            )
        head: Recording = record.decode_tagged(Recording, body, size_max=HEAD_SIZE_MAX)
        return head

    def _next(self, size_max: int) -> bytes | None:
        """Return the body of the next frame; None where the bytes end before it does."""
        if not self._fill(LENGTH_SIZE):
            return None
        size = int.from_bytes(self._held[self._start : self._start + LENGTH_SIZE], "big")
        if size > size_max:
            raise InvalidMessage(f"{size} bytes, at most {size_max}")
        if not self._fill(LENGTH_SIZE + size):
            return None
        body = bytes(self._held[self._start + LENGTH_SIZE : self._start + LENGTH_SIZE + size])
        self._start += LENGTH_SIZE + size
        self.position += LENGTH_SIZE + size
        return body

    def _fill(self, size: int) -> bool:
        """Hold at least so many unread bytes; False where there are no more."""
        while len(self._held) - self._start < size:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            del self._held[: self._start]
            self._start = 0
            self._held += piece
        return True


def _frame(body: bytes) -> bytes:
    assert len(body) < 1 << 8 * LENGTH_SIZE, "an entry is too large for a recording"
    return len(body).to_bytes(LENGTH_SIZE, "big") + body
