"""Targets: a node begins at the snapshot and block that its operator named, and at nothing else; what nobody
has yet is asked for again; what can't be right stops the node with a sentence.

A Beginning alone, its remotes and its blob store played by hand.
"""

from dataclasses import replace

import pytest

from p2pai import effects, events
from p2pai.chain import snapshot
from p2pai.chain.state import Checkpoint
from p2pai.gossip import sync
from p2pai.node import trust
from p2pai.node.beginning import Beginning
from p2pai.node.services import Services
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.ids import BlobId, PeerId
from tests.chain.ledger import devnet, label
from tests.node.parts import grown

A = PeerId("a")


@pytest.fixture(scope="module")
def chain():
    return grown(3)


def checkpoint(chain):
    return Checkpoint(3, chain.state.tip, snapshot.snapshot_id(chain.state))


class Start:
    def __init__(self, trusted, chain_id=None):
        self.services = Services()
        self.services.answer(events.Connected(A))
        self.found = []
        self.beginning = Beginning(
            trusted, chain_id or devnet().id, self.services, lambda *found: self.found.append(found)
        )
        self.beginning.go_on()
        self.effects = self.services.take_effects()

    def of(self, kind):
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def give(self, event):
        self.services.answer(event)
        self.effects += self.services.take_effects()

    def give_snapshot(self, data):
        fetch = self.of(effects.Fetch)[-1]
        self.give(events.Fetched(fetch.blob, None if data is None else (), data))

    def give_block(self, reply):
        asked = self.of(effects.Ask)[-1]
        self.give(events.Answered(asked.request, A, reply and record.encode_tagged(reply)))


@pytest.mark.parametrize("first", ["snapshot", "block"])
def test_both_are_fetched_and_handed_over(chain, first):
    start = Start(checkpoint(chain))
    (fetch,) = start.of(effects.Fetch)
    assert (fetch.blob, fetch.providers, fetch.whole) == (checkpoint(chain).snapshot, (A,), True)
    block = chain.blocks[-1]
    steps = [
        lambda: start.give_snapshot(snapshot.encode(chain.state)),
        lambda: start.give_block(sync.Blocks((block.encoded,))),
    ]
    for step in steps if first == "snapshot" else steps[::-1]:
        assert start.found == []
        step()
    assert start.found == [(block, chain.state)]


def test_what_nobody_has_is_asked_for_again_and_the_user_told(chain):
    start = Start(checkpoint(chain))
    assert start.beginning.said == "the snapshot at height 3 is being fetched"
    start.give_snapshot(None)
    start.give_block(None)
    assert (
        start.beginning.said == "no remote offers the snapshot at height 3 yet; all are asked again and again"
    )
    start.give(events.TimerFired("begin at snapshot"))
    assert len(start.of(effects.Fetch)) == len(start.of(effects.Ask)) == 2
    start.give_snapshot(snapshot.encode(chain.state))
    assert start.beginning.said == "the checkpoint's block at height 3 is being fetched"
    start.give_block(sync.Blocks((chain.blocks[-1].encoded,)))
    assert len(start.found) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda blocks: sync.Headers(b""),
        lambda blocks: sync.Blocks((b"no block",)),
        lambda blocks: sync.Blocks((blocks[0].encoded,)),
        lambda blocks: sync.Blocks((blocks[2].encoded,) * 2),
        lambda blocks: sync.Blocks((replace(blocks[2], transactions=()).encoded,)),
        lambda blocks: sync.Blocks((replace(blocks[2], work_proof=None).encoded,)),
        lambda blocks: sync.Blocks((replace(blocks[2], work_proof=blocks[1].work_proof).encoded,)),
    ],
    ids=["headers", "no block", "another", "two", "without transactions", "no proof", "another proof"],
)
def test_a_remote_that_gives_another_block_is_hung_up(chain, spoil):
    start = Start(checkpoint(chain))
    start.give_block(spoil(chain.blocks))
    assert [e.remote for e in start.of(effects.Hangup)] == [A]
    assert not start.of(effects.Halt)


@pytest.mark.parametrize(
    ("changes", "data", "reason"),
    [
        ({}, b"garbage", "of no ledger"),
        ({"height": 4}, None, "at height 3"),
        ({"block": label("x")}, None, "the snapshot is of block"),
    ],
)
def test_a_snapshot_that_is_not_of_the_checkpoint_stops_the_node(chain, changes, data, reason):
    start = Start(replace(checkpoint(chain), **changes))
    start.give_snapshot(data or snapshot.encode(chain.state))
    (halt,) = start.of(effects.Halt)
    assert reason in halt.reason
    assert start.found == []


def test_so_does_one_of_another_chain(chain):
    start = Start(checkpoint(chain), chain_id=label("other"))
    start.give_snapshot(snapshot.encode(chain.state))
    assert "of another chain" in start.of(effects.Halt)[0].reason


def test_a_checkpoint_is_written_as_it_is_read(chain):
    assert trust.parse(str(checkpoint(chain))) == checkpoint(chain)


BLOCK, SNAPSHOT = label("b").hex(), label("s").hex()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        f"7:{BLOCK}",
        f"x:{BLOCK}:{SNAPSHOT}",
        f"0:{BLOCK}:{SNAPSHOT}",
        f"-7:{BLOCK}:{SNAPSHOT}",
        f"{1 << 41}:{BLOCK}:{SNAPSHOT}",
        f"7:{BLOCK}:{SNAPSHOT}:",
        f"7:{BLOCK[2:]}:{SNAPSHOT}",
        f"7:{BLOCK}:zz",
        f"7:{BLOCK}:{SNAPSHOT}00",
    ],
)
def test_what_is_no_checkpoint_is_refused_with_a_sentence(text):
    with pytest.raises(InvalidInput, match=r"^a checkpoint is HEIGHT:BLOCK:SNAPSHOT"):
        trust.parse(text)


def test_the_blob_that_is_asked_for_is_the_states(chain):
    assert checkpoint(chain).snapshot == BlobId(snapshot.snapshot_id(chain.state))
