"""What one remote has ahead of our block tree: a chain of checked headers, and the bodies on their way.

A window is bounded whatever the remote does: `HEADERS_AHEAD_MAX` headers, and `BODY_BYTES_MAX` bytes of
bodies that wait for earlier ones or may still come as answers, together less than 16 MiB.

Source: RELIABILITY (2), "long-range, deep fork".
"""

from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from p2pai.chain.fork_choice import BlockTree
from p2pai.chain.headers import Ancestry
from p2pai.gossip.limits import ANSWER_SIZE_MAX
from p2pai.gossip.sync import HEADERS_MAX
from p2pai.primitives.ids import Hash32

HEADERS_AHEAD_MAX: Final = 2 * HEADERS_MAX
"""Headers of one remote whose blocks are not connected: the next answer comes while the last is worked on."""

BODIES_AHEAD_MAX: Final = 1_024
"""Blocks ahead of the last connected one whose bodies are asked for. Source: Bitcoin's download window."""

BODY_BYTES_MAX: Final = 14 << 20
"""Bytes of bodies of one remote that wait or may come: 16 MiB with its headers."""

HEADER_BYTES: Final = 300
"""Bytes of memory that a header takes in a window: its hash, and places in two tables."""

QUESTIONS_MAX: Final = 2
"""Questions for bodies to one remote at once: one answer travels while the other is connected."""


@dataclass(slots=True, eq=False)
class Question:
    """Bodies asked of one remote."""

    blocks: tuple[Hash32, ...]
    since_ms: int
    is_given_up: bool = False
    """It took too long, and others are asked for the same bodies; what comes is still taken."""


@dataclass(slots=True, eq=False)
class Window:
    """One remote's chain ahead of ours."""

    line: Ancestry | None = None
    """After the last header that the remote is known to have; None before its first answer."""
    chain: deque[Hash32] = field(default_factory=deque)
    """Headers whose blocks are not connected, oldest first; the first one's parent is."""
    members: dict[Hash32, None] = field(default_factory=dict)
    """The same, to look up."""
    bodies: dict[Hash32, bytes] = field(default_factory=dict)
    """Bodies from this remote that wait for earlier ones."""
    waiting_bytes: int = 0
    questions: list[Question] = field(default_factory=list)
    is_asked: bool = False
    """A question for headers is unanswered."""
    has_more: bool = False
    """The last answer was full: the remote has more headers."""
    unanswered: int = 0
    """Questions for bodies in a row that brought none."""
    failures: int = 0
    """How often it did not give in time what it had offered, less how often it did."""

    def append(self, line: Ancestry) -> None:
        """Add a checked header."""
        self.line = line
        self.chain.append(line.tip)
        self.members[line.tip] = None

    def clear(self) -> None:
        """Forget the chain and what waits; questions under way stay counted."""
        self.line = None
        self.chain.clear()
        self.members.clear()
        self.bodies.clear()
        self.waiting_bytes = 0
        self.has_more = False

    def advance(self, tree: BlockTree) -> list[Hash32]:
        """Drop the headers whose blocks are connected by now; return them."""
        passed = []
        while self.chain and self.chain[0] in tree:
            block = self.chain.popleft()
            del self.members[block]
            self.take_body(block)
            passed.append(block)
        return passed

    def put_body(self, block: Hash32, data: bytes) -> None:
        """Let a body wait for its turn."""
        self.bodies[block] = data
        self.waiting_bytes += len(data)

    def take_body(self, block: Hash32) -> bytes | None:
        """Return a body that waits no more."""
        data = self.bodies.pop(block, None)
        self.waiting_bytes -= len(data or b"")
        return data

    @property
    def held_bytes(self) -> int:
        """Bytes of memory that are held because of this remote, answers that may come included."""
        coming = len(self.questions) * ANSWER_SIZE_MAX
        return len(self.chain) * HEADER_BYTES + self.waiting_bytes + coming

    @property
    def wants_headers(self) -> bool:
        """Whether the next answer of headers has room."""
        return self.has_more and not self.is_asked and self.has_header_room

    @property
    def has_header_room(self) -> bool:
        """Whether a full answer of headers fits."""
        return len(self.chain) + HEADERS_MAX <= HEADERS_AHEAD_MAX

    @property
    def may_ask(self) -> bool:
        """Whether one more question for bodies is within the bounds.

        One answer's worth is kept free for the first block, which does not wait: else what waits for it could
        be what keeps it out.
        """
        return self._has_room(BODY_BYTES_MAX - ANSWER_SIZE_MAX)

    @property
    def may_ask_first(self) -> bool:
        """Whether the first block alone may be asked for."""
        return self._has_room(BODY_BYTES_MAX)

    def _has_room(self, bytes_max: int) -> bool:
        coming = (len(self.questions) + 1) * ANSWER_SIZE_MAX
        return len(self.questions) < QUESTIONS_MAX and self.waiting_bytes + coming <= bytes_max

    def ahead(self) -> "islice[Hash32]":
        """Return the blocks whose bodies may be asked for now, oldest first."""
        return islice(self.chain, BODIES_AHEAD_MAX)
