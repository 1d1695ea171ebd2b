"""Keeping up with the network, headers first.

Each remote is asked for the headers of its best chain after what we share, and has a window (window.py) of
those whose blocks we lack. The bodies of all windows are asked for in order, from several remotes at once, a
body from one remote at a time; what comes before its turn waits in the window of who sent it. Which chain is
the best shows only when blocks are connected, because approvals stand in the bodies, so every remote's chain
is followed; a remote that offers a worthless one gains a window of bounded size and nothing else.

A block that was proven false by a replay is no breach: a remote may not have heard of the proof.

A remote that breaks a rule (a header that can't follow, a body that is not the one asked for or that the
ledger refuses) is hung up. Honest nodes offer only what they connected themselves. A remote that is silent or
slow breaks no rule: others get its work, and it is asked only for what nobody better has.

Source: Bitcoin Core, headers-first synchronisation; RELIABILITY (1), L5; docs/adr/0030-sync.md.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, Protocol

from p2pai import effects
from p2pai.chain import headers
from p2pai.chain.block import Header, read_header
from p2pai.chain.fork_choice import BlockTree
from p2pai.chain.params import Params
from p2pai.gossip import sync
from p2pai.node.services import Services
from p2pai.node.window import QUESTIONS_MAX, Question, Window
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidBlock, InvalidInput, Unavailable
from p2pai.primitives.ids import Hash32, Millis, PeerId

STALL_MS: Final = Millis(2_000)
"""A body that others wait for is asked for elsewhere after this. Source: Bitcoin's stalling timeout."""

HANGUP_MS: Final = Millis(10 * 60 * 1_000)
"""A remote that broke a rule is refused for so long."""

UNANSWERED_MAX: Final = 6
"""Questions in a row for bodies of headers that a remote offered; one that has none of them is hung up."""

UNANSWERED_HANGUP_MS: Final = Millis(60_000)
"""For so long: it may be the network's fault."""

CREDIT_MAX: Final = 8
"""Timely answers that make up for later failures."""

BODY_BYTES_GUESS: Final = 256 << 10
"""Size of a body before the first has come; an answer gives what fits of those asked for."""

CONNECT_BYTES_MAX: Final = 1 << 20
"""Bytes of blocks connected in one event; then other events have their turn. At least one block."""


class Chain(Protocol):
    """Where the blocks go."""

    @property
    def tree(self) -> BlockTree:
        """The blocks that are connected."""
        ...

    def check_time(self, header: Header) -> None:
        """Unavailable: the header is from the future."""
        ...

    def prepare(self, datas: Iterable[bytes]) -> None:
        """Check what can be checked of several blocks at once; InvalidInput: one is malformed."""
        ...

    def connect(self, data: bytes) -> None:
        """Connect a block; InvalidInput: it breaks a rule. Unavailable: not now."""
        ...


class Syncing:
    """Follows the chains of all remotes."""

    def __init__(self, chain: Chain, services: Services, params: Params) -> None:
        self._chain, self._services, self._params = chain, services, params
        self.windows: dict[PeerId, Window] = {}
        self._claims: dict[Hash32, PeerId] = {}
        """Where a body is asked for, or waits."""
        self._body_bytes = BODY_BYTES_GUESS
        """Size of a body, averaged over the last ones: how many of them fit in an answer."""
        self._is_watching = False
        self.is_paused = False
        """There is no chain yet to go on from."""
        self.counts: dict[str, int] = {}
        """How often remotes failed, by what they did."""

    # --- what others tell

    def ask(self, remote: PeerId) -> None:
        """Ask a connected remote what it has beyond our blocks."""
        if self.is_paused:
            return
        window = self.windows.setdefault(remote, Window())
        if window.is_asked or not window.has_header_room:
            return
        window.is_asked = True
        known = (window.line.tip,) if window.line else ()
        locator = (*known, *self._chain.tree.locator())
        question = record.encode_tagged(sync.AskHeaders(locator))
        self._services.ask(remote, question, lambda body: self._take_headers(remote, window, locator, body))

    def announced(self, remote: PeerId, header: Header) -> None:
        """Get a block that a remote says it has: from that remote, and what it lacks before it.

        Raises:
          InvalidBlock: no block can have this header.
        """
        tree = self._chain.tree
        if header.hash in tree or self.is_paused:
            return
        window = self.windows.setdefault(remote, Window())
        parent = tree.get(header.prev)
        if parent is None or window.chain:
            self.ask(remote)
            return
        window.line = headers.lineage(parent.state)
        self._extend(window, (header,))
        self._schedule()

    def disconnected(self, remote: PeerId) -> None:
        """Give a remote's work to others."""
        self._drop(remote)
        self._go_on()

    def held_bytes(self, remote: PeerId) -> int:
        """Return the bytes of headers and bodies kept because of a remote."""
        window = self.windows.get(remote)
        return window.held_bytes if window else 0

    # --- headers

    def _take_headers(
        self, remote: PeerId, window: Window, locator: tuple[Hash32, ...], body: bytes | None
    ) -> None:
        if self.windows.get(remote) is not window:
            return
        window.is_asked = False
        if not body:
            self._count("headers not answered")
            return
        try:
            found = sync.read_headers(body)
            if found:
                self._attach(window, found, locator)
        except InvalidInput as error:
            self._hang_up(remote, "invalid headers", str(error))
        self._schedule()

    def _attach(self, window: Window, found: tuple[Header, ...], locator: tuple[Hash32, ...]) -> None:
        first = found[0].prev
        if first not in locator:
            raise InvalidBlock("headers that do not follow what was asked for")
        goes_on = window.line is None or window.line.tip == first
        if window.line is None or window.line.tip != first:
            parent = self._chain.tree.get(first)
            self._forget(window)
            if parent is None:  # a checkpoint was made meanwhile
                return
            window.line = headers.lineage(parent.state)
        new = self._extend(window, found)
        is_whole = window.line is not None and window.line.tip == found[-1].hash
        window.has_more = is_whole and len(found) == sync.HEADERS_MAX and (new > 0 or goes_on)

    def _extend(self, window: Window, found: tuple[Header, ...]) -> int:
        """Add headers to a remote's chain; return how many of them are of blocks that we lack."""
        assert window.line is not None
        new = 0
        for header in found:
            known = None if window.chain else self._chain.tree.get(header.hash)
            if known is not None and header.prev == window.line.tip:
                window.line = headers.lineage(known.state)
                continue
            if self._chain.tree.is_condemned(header):
                break  # the remote has not heard of the proof yet
            line = self._follow(window.line, header)
            try:
                self._chain.check_time(header)
            except Unavailable:
                break
            window.append(line)
            new += 1
        return new

    def _follow(self, before: headers.Ancestry, header: Header) -> headers.Lineage:
        """Check a header, unless another remote has it and it was checked there."""
        is_checked = any(header.hash in window.members for window in self.windows.values())
        if is_checked and header.prev == before.tip:
            return headers.follow(before, header, header.hash)
        return headers.extend(before, header, self._params)

    # --- asking for bodies

    def _schedule(self) -> None:
        """Ask for what may be asked for, one question to each remote in turn, the best remotes first."""
        self._advance()
        wanting = [item for item in self.windows.items() if item[1].chain or item[1].wants_headers]
        ranked = sorted(wanting, key=lambda item: (item[1].failures, item[0]))
        for _ in range(QUESTIONS_MAX):
            for remote, window in ranked:
                if window.chain:
                    self._ask_bodies(remote, window)
        for remote, window in ranked:
            if window.wants_headers:
                self.ask(remote)
        self._watch()

    def _ask_bodies(self, remote: PeerId, window: Window) -> None:
        wanted = self._choose(window)
        if not wanted:
            return
        question = Question(wanted, self._services.now_ms)
        window.questions.append(question)
        self._claims.update(dict.fromkeys(wanted, remote))
        body = record.encode_tagged(sync.AskBodies(wanted))
        self._services.ask(remote, body, lambda answer: self._take_bodies(remote, window, question, answer))

    def _choose(self, window: Window) -> tuple[Hash32, ...]:
        free = (b for b in window.ahead() if b not in self._claims and not self._has_better(window, b))
        if window.may_ask:
            count = min(max(sync.ANSWER_BYTES_MAX // self._body_bytes, 1), sync.BODIES_MAX)
            return tuple(islice(free, count))
        first = next(window.ahead(), None)
        if first is None or first in self._claims or not window.may_ask_first:
            return ()
        return () if self._has_better(window, first) else (first,)

    def _has_better(self, window: Window, block: Hash32) -> bool:
        """Return whether a remote that failed before may leave a body to another one."""
        if window.failures <= 0:
            return False
        return any(w.failures < window.failures and block in w.members for w in self.windows.values())

    # --- taking bodies

    def _take_bodies(self, remote: PeerId, window: Window, question: Question, body: bytes | None) -> None:
        if self.windows.get(remote) is not window:
            return
        window.questions.remove(question)
        self._release(remote, question)
        try:
            found = sync.read_blocks(body) if body else ()
            if found:
                self._keep(remote, window, question, found)
            else:
                self._miss(remote, window)
        except InvalidInput as error:
            self._hang_up(remote, "invalid bodies", str(error))
        self._go_on()

    def _keep(self, remote: PeerId, window: Window, question: Question, found: tuple[bytes, ...]) -> None:
        for data in found:
            block = read_header(data).hash
            if block not in question.blocks:
                raise InvalidBlock("a block that was not asked for")
            self._body_bytes = (7 * self._body_bytes + len(data)) // 8 + 1
            if block in window.members and not self._has_body(block):
                window.put_body(block, data)
                self._claims[block] = remote
        self._chain.prepare(found)
        window.unanswered = 0
        if not question.is_given_up:
            window.failures = max(window.failures - 1, -CREDIT_MAX)

    def _has_body(self, block: Hash32) -> bool:
        holder = self.windows.get(self._claims.get(block, PeerId("")))
        return holder is not None and block in holder.bodies

    def _miss(self, remote: PeerId, window: Window) -> None:
        self._count("bodies not answered")
        window.failures += 1
        window.unanswered += 1
        if window.unanswered >= UNANSWERED_MAX:
            self._hang_up(remote, "headers without bodies", "", UNANSWERED_HANGUP_MS)

    # --- connecting

    def _go_on(self) -> None:
        left = CONNECT_BYTES_MAX
        for block, holder in self._ready():
            left -= self._connect(block, holder)
            if left <= 0:
                self._services.set_timer("connect", Millis(0), self._go_on)
                break
        self._schedule()

    def _ready(self) -> Iterator[tuple[Hash32, PeerId]]:
        """Yield blocks whose turn it is, each after what was done about the one before."""
        while True:
            self._advance()
            firsts = (w.chain[0] for w in self.windows.values() if w.chain)
            ready = next((block for block in firsts if self._has_body(block)), None)
            if ready is None:
                return
            yield ready, self._claims[ready]

    def _connect(self, block: Hash32, holder: PeerId) -> int:
        window = self.windows[holder]
        data = window.take_body(block)
        assert data is not None
        del self._claims[block]
        try:
            self._chain.connect(data)
        except InvalidInput as error:
            if self._chain.tree.is_condemned(read_header(data)):
                self._forget(window)
            else:
                self._hang_up(holder, "invalid block", str(error))
        except Unavailable:
            self._forget(window)
        return len(data)

    def _advance(self) -> None:
        for window in self.windows.values():
            for block in window.advance(self._chain.tree):
                self._claims.pop(block, None)

    # --- remotes that fail

    def _watch(self) -> None:
        if not self._is_watching and any(window.questions for window in self.windows.values()):
            self._is_watching = True
            self._services.set_timer("stall", STALL_MS, self._look)

    def _look(self) -> None:
        """Find who holds up the others."""
        self._is_watching = False
        for window in list(self.windows.values()):
            remote = self._claims.get(window.chain[0]) if window.chain else None
            holder = self.windows.get(remote) if remote else None
            if remote is not None and holder is not None and holder is not window:
                self._look_at(remote, holder, window.chain[0])
        self._schedule()

    def _look_at(self, remote: PeerId, holder: Window, block: Hash32) -> None:
        late = self._services.now_ms - STALL_MS
        if any(block in q.blocks and q.since_ms <= late and not q.is_given_up for q in holder.questions):
            self._count("stalled")
            holder.failures += 1
            for question in holder.questions:
                question.is_given_up = True
                self._release(remote, question)

    def _release(self, remote: PeerId, question: Question) -> None:
        for block in question.blocks:
            if self._claims.get(block) == remote and not self._has_body(block):
                del self._claims[block]

    def _hang_up(self, remote: PeerId, what: str, reason: str, duration: Millis = HANGUP_MS) -> None:
        self._count(what)
        self._drop(remote)
        self._services.emit(effects.Hangup(remote, duration, f"{what}: {reason}" if reason else what))

    def _drop(self, remote: PeerId) -> None:
        window = self.windows.pop(remote, None)
        if window is not None:
            self._claims = {b: r for b, r in self._claims.items() if r != remote}

    def _forget(self, window: Window) -> None:
        """Forget a remote's chain; what is under way from it comes for nothing."""
        for block in window.members:
            holder = self.windows.get(self._claims.get(block, PeerId("")))
            if holder is window:
                del self._claims[block]
        window.clear()

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
