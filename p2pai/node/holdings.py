"""What a node holds because others sent it, and what it waits for: how much, and how much at most.

Most limits stand where the tables are filled and hold by construction; that they do shows here. What a node
waits for has no table of its own to bound it: those limits follow from how many remotes, tasks and replays
there are.

Source: docs/ARCHITECTURE.md, "Rules of shape inside the core", 6; RELIABILITY (4), I16.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from p2pai.chain import mempool, orphans
from p2pai.chain.params import SLOT_MESSAGES_MAX
from p2pai.chain.task import FRAGMENT_COUNT_MAX
from p2pai.node.accusations import HELD_MAX
from p2pai.node.judging import REPLAYS_MAX
from p2pai.node.ledger import ANNOUNCED_MAX, CERTIFIED_MAX
from p2pai.node.window import BODY_BYTES_MAX, HEADER_BYTES, HEADERS_AHEAD_MAX, QUESTIONS_MAX
from p2pai.roles.history import SLOTS_KEPT, UNRECORDED_MAX, TaskHistory
from p2pai.roles.validator import SEEN_MAX

if TYPE_CHECKING:
    from p2pai.node.core import NodeCore

Holding = tuple[str, int, int]
"""What, how much of it, how much at most."""

WINDOW_BYTES_MAX: Final = HEADERS_AHEAD_MAX * HEADER_BYTES + BODY_BYTES_MAX
"""Bytes kept because of one remote's chain. Source: window.py."""

TIMERS_MAX: Final = 16 + REPLAYS_MAX
"""Timers of a node with no task: ten have names of their own, and each replay may wait for its capsule."""

TIMERS_PER_TASK_MAX: Final = 16 + FRAGMENT_COUNT_MAX
"""Ten have names of their own, and each fragment may be asked for again."""

QUESTIONS_PER_REMOTE_MAX: Final = 1 + QUESTIONS_MAX
"""For headers, and for bodies."""

QUESTIONS_PER_TASK_MAX: Final = 64
"""Each 0.7 s four questions at most, for 10 s each: what nobody answers fails then."""

QUESTIONS_MORE_MAX: Final = 64
"""Unanswered ones to remotes that are gone, and those about accused blocks and the chain's beginning."""

FETCHES_PER_TASK_MAX: Final = 2 * FRAGMENT_COUNT_MAX
"""Fragments or shards, models, and lists of them."""

FETCHES_MORE_MAX: Final = 8 * REPLAYS_MAX
"""A capsule has five parts."""

JOBS_PER_TASK_MAX: Final = 16
WRITES_MAX: Final = 4_096
"""Writes on their way to the disk: a sync of blocks writes most, 64 of them for each question answered."""


def holdings(core: NodeCore) -> Iterator[Holding]:
    """Yield everything that a node holds for others or waits for, with its limit."""
    yield from _chain(core)
    for followed in core.following.values():
        yield from _messages(followed.history)
    yield from _awaited(core)


def _chain(core: NodeCore) -> Iterator[Holding]:
    ledger, pool = core.ledger, core.ledger.mempool
    yield "transactions in the mempool", len(pool), mempool.COUNT_MAX
    yield "bytes in the mempool", pool.size, mempool.SIZE_BYTES_MAX
    yield "orphans", len(ledger.orphans), orphans.COUNT_MAX
    yield "bytes of orphans", ledger.orphans.size, orphans.SIZE_BYTES_MAX
    yield "announced blocks", len(ledger.announced), ANNOUNCED_MAX
    yield "checked certificates", len(ledger.certified), CERTIFIED_MAX
    for window in ledger.syncing.windows.values():
        yield "headers ahead of one remote", len(window.chain), HEADERS_AHEAD_MAX
        yield "bytes for one remote", window.held_bytes, WINDOW_BYTES_MAX
    yield "replays", len(core.judging.open), REPLAYS_MAX
    yield "proofs that wait for a replay", len(core.accusations.held), HELD_MAX
    yield "blocks that wait for a replay", len(core.accusations.waiting), HELD_MAX
    yield "others' votes", len(core.validator.seen), SEEN_MAX
    yield "evidence", len(core.validator.evidence), SEEN_MAX


def _messages(history: TaskHistory) -> Iterator[Holding]:
    yield "messages in no slot", len(history.unrecorded), UNRECORDED_MAX
    kept = sum(number < history.next_slot for number in history.slots)
    yield "slots", kept, SLOTS_KEPT
    most = len(history.slots) * SLOT_MESSAGES_MAX + UNRECORDED_MAX
    yield "messages", len(history.messages), most
    yield "messages waited for", len(history.wanted), 2 * SLOT_MESSAGES_MAX


def _awaited(core: NodeCore) -> Iterator[Holding]:
    tasks, remotes, counts = len(core.state.tasks), len(core.remotes), core.awaiting()
    most = QUESTIONS_PER_REMOTE_MAX * remotes + QUESTIONS_PER_TASK_MAX * tasks + QUESTIONS_MORE_MAX
    yield "open questions", counts["questions"], most
    yield "timers", counts["timers"], TIMERS_MAX + TIMERS_PER_TASK_MAX * tasks
    yield "fetches", counts["fetches"], FETCHES_MORE_MAX + FETCHES_PER_TASK_MAX * tasks
    yield "jobs", counts["jobs"], REPLAYS_MAX + JOBS_PER_TASK_MAX * (tasks + 1)
    yield "writes", counts["writes"], WRITES_MAX
