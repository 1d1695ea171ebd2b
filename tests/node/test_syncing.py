"""Targets: headers first, bodies in order from several remotes at once; whoever is silent or slow loses its
work, whoever breaks a rule is hung up; a window stays within its bounds whatever a remote sends.

A real core, given headers and blocks of real chains by hand; tests/sim/test_syncing.py has whole networks.
"""

from dataclasses import replace

import pytest

from p2pai import effects, events
from p2pai.chain.params import future_time_s_max
from p2pai.gossip import sync
from p2pai.node.syncing import HANGUP_MS, STALL_MS, UNANSWERED_HANGUP_MS, UNANSWERED_MAX
from p2pai.primitives.errors import InvalidBlock
from p2pai.primitives.ids import PeerId
from tests.chain.ledger import MINERS, Chain, label, with_proof
from tests.node.parts import START_MS, Driven, grown, of

A, B, C = PeerId("a"), PeerId("b"), PeerId("c")
GENESIS = Chain().state.tip


@pytest.fixture(scope="module")
def long():
    """A chain of more blocks than a question asks for; nobody changes it."""
    return grown(sync.BODIES_MAX + 6)


@pytest.fixture(scope="module")
def three(long):
    return long.blocks[:3]


class Net:
    """A node, its remotes, and what it has asked them and not been told."""

    def __init__(self, *remotes):
        self.node = Driven()
        self.open = []
        """Questions that nobody answered."""
        for remote in remotes:
            self.take(self.node.connect(remote))

    @property
    def syncing(self):
        return self.node.core.ledger.syncing

    @property
    def tip(self):
        return self.node.tip

    def take(self, reaction):
        self.open += of(reaction, effects.Ask)
        return reaction

    def asked(self, kind, remote=None):
        """Return the open questions of a kind."""
        return [a for a in self.open if isinstance(read(a), kind) and (remote is None or a.remote == remote)]

    def answer(self, asked, reply):
        self.open.remove(asked)
        return self.take(self.node.answer(asked, reply))

    def give_headers(self, remote, blocks):
        (asked,) = self.asked(sync.AskHeaders, remote)
        return self.answer(asked, headers(blocks))

    def give_bodies(self, asked, blocks):
        known = {block.hash: block.encoded for block in blocks}
        return self.answer(asked, sync.Blocks(tuple(known[h] for h in read(asked).blocks if h in known)))

    def serve(self, blocks, *remotes):
        """Answer all that these remotes are asked, until nothing is asked any more."""
        while mine := [a for a in self.open if a.remote in remotes]:
            question = read(mine[0])
            if isinstance(question, sync.AskBodies):
                self.give_bodies(mine[0], blocks)
            else:
                places = {GENESIS: 0} | {b.hash: i for i, b in enumerate(blocks, 1)}
                start = next(places[h] for h in question.locator if h in places)
                self.answer(mine[0], headers(blocks[start : start + sync.HEADERS_MAX]))


def read(asked):
    return sync.read_question(asked.body)


def headers(blocks):
    return sync.Headers(b"".join(block.header.encode() for block in blocks))


def hashes(blocks):
    return tuple(block.hash for block in blocks)


def hangups(reaction):
    return [(e.remote, e.duration) for e in of(reaction, effects.Hangup)]


class TestHeadersFirst:
    def test_headers_then_bodies_then_the_tip(self, three):
        net = Net(A)
        net.give_headers(A, three)
        (asked,) = net.asked(sync.AskBodies)
        assert read(asked).blocks == hashes(three)
        reaction = net.give_bodies(asked, three)
        assert net.tip == three[2].hash
        assert len(of(reaction, effects.StoreBlock)) == 3
        assert net.open == []

    def test_known_headers_are_no_news(self, three):
        net = Net(A)
        net.serve(three, A)
        net.take(net.node.fire("sync"))
        net.give_headers(A, ())
        net.take(net.node.fire("sync"))
        (asked,) = net.asked(sync.AskHeaders)
        assert read(asked).locator[0] == three[2].hash
        net.answer(asked, headers(()))
        assert net.open == []

    def test_a_remote_that_repeats_what_we_know_is_asked_no_more(self, three):
        net = Net(A)
        net.serve(three, A)
        net.take(net.node.fire("sync"))
        (asked,) = net.asked(sync.AskHeaders)
        assert hangups(net.answer(asked, headers(three))) == []
        assert net.open == []

    def test_headers_from_the_future_wait(self, three):
        late = Chain().draft(time=START_MS // 1000 + future_time_s_max(Chain().params) + 1)
        net = Net(A)
        assert hangups(net.give_headers(A, (late,))) == []
        assert net.open == []
        net.node.now_ms += 1_000
        net.take(net.node.fire("sync"))
        net.give_headers(A, (late,))
        assert read(*net.asked(sync.AskBodies)).blocks == (late.hash,)

    def test_a_block_of_gossip_without_its_parent_starts_it(self, three):
        net = Net(A)
        net.give_headers(A, ())
        net.node.effects.clear()
        net.node.hear("block", three[2].encoded, remote=A)
        net.take(net.node.effects)
        net.serve(three, A)
        assert net.tip == three[2].hash

    def test_an_announced_block_is_asked_of_who_announced_it(self, three):
        net = Net(A, B)
        for remote in (A, B):
            net.give_headers(remote, ())
        net.syncing.announced(B, three[0].header)
        net.take(net.node.core.take_effects())
        (asked,) = net.open
        assert (asked.remote, read(asked).blocks) == (B, (three[0].hash,))
        net.syncing.announced(A, three[2].header)
        net.take(net.node.core.take_effects())
        assert [a.remote for a in net.asked(sync.AskHeaders)] == [A]
        with pytest.raises(InvalidBlock, match="block version 2"):
            net.syncing.announced(C, replace(three[0].header, version=2))

    def test_a_remote_that_changes_its_chain_is_followed(self, long, three):
        other = grown(4, miner=MINERS[1]).blocks
        net = Net(A)
        net.give_headers(A, three)
        net.take(net.node.fire("sync"))
        net.give_headers(A, other)
        old, new = net.asked(sync.AskBodies)
        assert read(new).blocks == hashes(other)
        net.give_bodies(old, three)
        assert net.node.core.state.height == 0
        net.give_bodies(new, other)
        assert net.tip == other[3].hash


class TestBodies:
    def test_they_are_asked_in_order_from_several_remotes_at_once(self, long):
        net = Net(A, B)
        for remote in (A, B):
            net.give_headers(remote, long.blocks)
        by_remote = {a.remote: read(a).blocks for a in net.asked(sync.AskBodies)}
        assert set(by_remote) == {A, B}
        assert not set(by_remote[A]) & set(by_remote[B])
        net.serve(long.blocks, A, B)
        assert net.tip == long.state.tip

    def test_what_comes_before_its_turn_waits(self, long):
        net = Net(A, B)
        for remote in (A, B):
            net.give_headers(remote, long.blocks)
        early, late = net.asked(sync.AskBodies, A), net.asked(sync.AskBodies, B)
        assert read(early[0]).blocks[0] == long.blocks[0].hash
        net.give_bodies(late[0], long.blocks)
        assert net.node.core.state.height == 0
        assert net.syncing.held_bytes(B) > len(long.blocks[0].encoded)
        for asked in early:
            net.give_bodies(asked, long.blocks)
        assert net.tip == long.blocks[sum(len(read(a).blocks) for a in (*early, late[0])) - 1].hash

    def test_an_answer_that_holds_less_is_asked_on(self, three):
        net = Net(A)
        net.give_headers(A, three)
        (asked,) = net.asked(sync.AskBodies)
        net.answer(asked, sync.Blocks((three[0].encoded,)))
        (again,) = net.asked(sync.AskBodies)
        assert read(again).blocks == hashes(three[1:])

    def test_a_silent_remote_loses_its_work_to_others(self, three):
        net = Net(A, B)
        net.give_headers(A, three)
        net.give_headers(B, three)
        (asked,) = net.asked(sync.AskBodies)
        assert asked.remote == A
        net.answer(asked, None)
        (again,) = net.asked(sync.AskBodies)
        assert (again.remote, read(again).blocks) == (B, hashes(three))
        assert net.syncing.counts == {"bodies not answered": 1}

    def test_a_slow_one_too_before_it_has_failed(self, three):
        net = Net(A, B)
        net.give_headers(A, three)
        net.give_headers(B, three)
        (slow,) = net.asked(sync.AskBodies)
        net.node.now_ms += STALL_MS
        net.take(net.node.fire("stall"))
        assert [a.remote for a in net.asked(sync.AskBodies)] == [A, B]
        assert net.syncing.counts == {"stalled": 1}
        net.give_bodies(slow, three)
        assert net.tip == three[2].hash

    def test_one_that_goes_loses_its_work_too(self, three):
        net = Net(A, B)
        net.give_headers(A, three)
        net.give_headers(B, three)
        net.take(net.node.give(events.Disconnected(A)))
        assert [a.remote for a in net.asked(sync.AskBodies)] == [A, B]
        net.serve(three, B)
        assert net.tip == three[2].hash

    def test_who_failed_is_asked_when_nobody_else_has_it(self, three):
        net = Net(A)
        net.give_headers(A, three)
        net.answer(*net.asked(sync.AskBodies), None)
        net.serve(three, A)
        assert net.tip == three[2].hash


class TestBreakingRules:
    @pytest.mark.parametrize(
        "reply",
        [
            b"garbage",
            sync.Messages((b"m",)),
            sync.Blocks(()),
            sync.Headers(bytes(171)),
            sync.Headers(bytes(172)),
            sync.Headers(bytes(172 * (sync.HEADERS_MAX + 1))),
            sync.AskHeaders(()),
        ],
        ids=lambda reply: str(reply)[:40],
    )
    def test_what_is_no_answer_to_headers_hangs_up(self, reply):
        net = Net(A)
        (asked,) = net.open
        assert hangups(net.answer(asked, reply)) == [(A, HANGUP_MS)]
        assert net.syncing.held_bytes(A) == 0
        assert net.open == []

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda h: h[1:],
            lambda h: [h[0], h[2]],
            lambda h: [replace(h[0], bits=h[0].bits - 1)],
            lambda h: [h[0], replace(h[1], time=1)],
        ],
        ids=["in the air", "a gap", "easier", "back in time"],
    )
    def test_headers_that_can_not_be_hang_up(self, three, spoil):
        net = Net(A)
        spoilt = b"".join(h.encode() for h in spoil([b.header for b in three]))
        assert hangups(net.answer(*net.open, sync.Headers(spoilt))) == [(A, HANGUP_MS)]
        assert net.syncing.counts == {"invalid headers": 1}

    @pytest.mark.parametrize(
        "reply",
        [
            lambda blocks: b"garbage",
            lambda blocks: headers(()),
            lambda blocks: sync.Blocks((b"no block",)),
            lambda blocks: sync.Blocks((blocks[3].encoded,)),
            lambda blocks: sync.Blocks((blocks[0].encoded,) * (sync.BODIES_MAX + 1)),
        ],
        ids=["garbage", "headers", "no block", "another block", "too many"],
    )
    def test_what_is_no_answer_to_bodies_hangs_up_and_others_are_asked(self, long, three, reply):
        net = Net(A, B)
        net.give_headers(A, three)
        net.give_headers(B, three)
        reaction = net.answer(*net.asked(sync.AskBodies), reply(long.blocks))
        assert hangups(reaction) == [(A, HANGUP_MS)]
        net.serve(three, B)
        assert net.tip == three[2].hash

    def test_a_spoilt_body_is_its_senders_fault_and_not_the_blocks(self, three):
        net = Net(A, B)
        net.give_headers(A, three)
        net.give_headers(B, three)
        spoilt = with_proof(three[1], batch_path=())
        bodies = (three[0].encoded, spoilt.encoded, three[2].encoded)
        reaction = net.answer(*net.asked(sync.AskBodies), sync.Blocks(bodies))
        assert hangups(reaction) == [(A, HANGUP_MS)]
        assert net.tip == three[0].hash
        assert net.syncing.counts == {"invalid block": 1}
        net.serve(three, B)
        assert net.tip == three[2].hash

    def test_headers_without_bodies_hang_up_in_the_end(self, three):
        net = Net(A)
        net.give_headers(A, three)
        ends = []
        for _ in range(UNANSWERED_MAX):
            ends += hangups(net.answer(*net.asked(sync.AskBodies), sync.Blocks(())))
        assert ends == [(A, UNANSWERED_HANGUP_MS)]

    def test_an_answer_that_comes_after_the_end_is_put_away(self, three):
        net = Net(A)
        net.give_headers(A, three)
        (asked,) = net.asked(sync.AskBodies)
        net.take(net.node.give(events.Disconnected(A)))
        assert net.give_bodies(asked, three) == []
        assert net.node.core.state.height == 0

    def test_an_unknown_hash_is_no_place_to_begin(self, three):
        stray = replace(three[0].header, prev=label("other genesis"))
        net = Net(A)
        assert hangups(net.answer(*net.open, sync.Headers(stray.encode()))) == [(A, HANGUP_MS)]
