"""Targets: what a node took on trust is connected again from genesis; a true snapshot is found true whatever
hostile remotes say, a false one stops the node.

A Retracing alone, its remotes played by hand; tests/sim/test_snapshot_start.py has whole networks.
"""

from dataclasses import replace

import pytest

from p2pai import effects, events
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.state import Checkpoint
from p2pai.chain.transaction import Pay
from p2pai.gossip import sync
from p2pai.node.retracing import BATCH_BLOCKS, Retracing
from p2pai.node.services import Services
from p2pai.primitives import record
from p2pai.primitives.ids import Amount, BlobId, PeerId
from tests.chain.ledger import MINERS, Chain, devnet, key_hash, label, with_proof
from tests.node.parts import grown

A, B = PeerId("a"), PeerId("b")
LENGTH = 2 * BATCH_BLOCKS + 4


@pytest.fixture(scope="module")
def chain():
    return grown(LENGTH)


def checkpoint(chain):
    return Checkpoint(chain.height, chain.state.tip, snapshot_id(chain.state))


class Way:
    """A Retracing and its remotes: each is a function from a question to a reply."""

    def __init__(self, trusted, **remotes):
        self.services = Services()
        self.remotes = {PeerId(name): answer for name, answer in remotes.items()}
        for name in self.remotes:
            self.services.answer(events.Connected(name))
        self.verified = False
        self.retracing = Retracing(trusted, devnet(), self.services, self._verified)
        self.hung_up, self.halted = [], []
        self.retracing.go_on()

    def _verified(self):
        self.verified = True

    def run(self, steps=200):
        for _ in range(steps):
            for effect in self.services.take_effects():
                self.do(effect)
            if self.verified or self.halted:
                return

    def do(self, effect):
        match effect:
            case effects.Ask(request, remote, body):
                reply = self.remotes[remote](sync.read_question(body))
                data = None if reply is None else record.encode_tagged(reply)
                self.services.answer(events.Answered(request, remote, data))
            case effects.SetTimer(name, _):
                self.services.answer(events.TimerFired(name))
            case effects.Hangup(remote, _, _):
                self.hung_up.append(remote)
                self.services.answer(events.Disconnected(remote))
            case effects.Halt(reason):
                self.halted.append(reason)


def serving(chain, spoil=lambda block: block):
    def answer(question):
        if isinstance(question, sync.AskHeaders):
            hashes = [Chain().state.tip] + [b.hash for b in chain.blocks]
            start = next((hashes.index(h) for h in question.locator if h in hashes), len(hashes))
            return sync.Headers(b"".join(b.header.encode() for b in chain.blocks[start:]))
        known = {b.hash: spoil(b).encoded for b in chain.blocks}
        return sync.Blocks(tuple(known[h] for h in question.blocks if h in known))

    return answer


def test_a_true_snapshot_is_found_true(chain):
    way = Way(checkpoint(chain), a=serving(chain))
    assert way.retracing.said == f"snapshot at height {LENGTH}: being verified, 0 of {LENGTH}"
    way.run()
    assert way.verified
    assert way.retracing.said.endswith(f"{LENGTH} of {LENGTH}")
    assert not way.halted
    assert not way.hung_up


def test_blocks_above_the_checkpoint_are_not_looked_at(chain):
    early = grown(BATCH_BLOCKS + 1)
    longer = grown(3, start=early)
    way = Way(checkpoint(early), a=serving(longer))
    way.run()
    assert way.verified


def test_a_made_up_snapshot_stops_the_node(chain):
    false = replace(checkpoint(chain), snapshot=BlobId(label("rich")))
    way = Way(false, a=serving(chain))
    way.run()
    assert not way.verified
    (sentence,) = way.halted
    assert f"is false: its blocks give the ledger {snapshot_id(chain.state).hex()}" in sentence


@pytest.mark.parametrize(
    "hostile",
    [
        lambda chain: lambda question: None,
        lambda chain: lambda question: sync.Blocks(()),
        lambda chain: lambda question: sync.Messages((b"m",)),
        lambda chain: serving(grown(LENGTH, miner=MINERS[1])),
        lambda chain: serving(grown(3, start=chain)),
        lambda chain: serving(chain, lambda b: with_proof(b, batch_path=())),
        lambda chain: serving(chain, lambda b: replace(b, transactions=b.transactions[:0])),
        lambda chain: serving(chain, lambda b: chain.blocks[-1]),
        lambda chain: serving(chain, lambda b: replace(b, work_proof=None)),
    ],
    ids=[
        "silent",
        "no headers",
        "garbage",
        "another chain",
        "more",
        "proof",
        "transactions",
        "other",
        "none",
    ],
)
def test_a_hostile_remote_neither_stops_it_nor_gets_it_wrong(chain, hostile):
    way = Way(checkpoint(chain), a=hostile(chain), b=serving(chain))
    way.run()
    assert way.verified
    assert not way.halted
    assert B not in way.hung_up


def test_a_chain_that_breaks_a_rule_in_what_its_headers_commit_to_is_false():
    """Its miner pays itself too much: the header commits to that, so no other body can be right."""
    false = grown(2)
    rich = false.draft(coinbase=lambda tx: replace(tx, outputs=(Pay(Amount(1), key_hash(MINERS[0])),)))
    false.blocks.append(rich)
    way = Way(Checkpoint(3, rich.hash, BlobId(label("s"))), a=serving(false))
    way.run()
    (sentence,) = way.halted
    assert "block 3 breaks a rule: the coinbase does not pay what is due" in sentence
