"""Targets: what is valid is taken once and passed on, what is not is refused with its reason; a node that
lacks blocks gets them; a reorganisation loses no transaction; what a node makes itself is valid and
durable before anyone hears of it.

A real core, given blocks of real chains by hand.
"""

from dataclasses import replace
from itertools import pairwise

import pytest

from p2pai import effects, events
from p2pai.chain import orphans
from p2pai.chain.headers import meets_target
from p2pai.chain.params import future_time_s_max
from p2pai.chain.snapshot import snapshot_id
from p2pai.chain.transaction import CollectVerifications, Pay, Stake, signing_digest
from p2pai.effects import Judge, Verdict
from p2pai.gossip import sync
from p2pai.gossip.limits import BODY_SIZE_MAX
from p2pai.node.archive import read_kept
from p2pai.node.ledger import SYNC_MS
from p2pai.primitives import ecdsa, record
from p2pai.primitives.ids import Millis, Outpoint, PeerId
from tests.chain.ledger import CLIENT, MINERS, Chain, flip, key_hash, label, with_proof
from tests.node.parts import REMOTE, START_MS, Driven, grown, of, payment, questions, said

ACCEPT, IGNORE = Judge(Verdict.ACCEPT), Judge(Verdict.IGNORE)
NOW_S = START_MS // 1000


@pytest.fixture
def node():
    return Driven()


@pytest.fixture(scope="module")
def three():
    """A chain of three blocks; nobody changes it."""
    return grown(3)


def encoded(chain):
    return [block.encoded for block in chain.blocks]


def headers_of(chain):
    return [block.header for block in chain.blocks]


def ask_of(reaction):
    (asked,) = of(reaction, effects.Ask)
    return asked


class TestHearingBlocks:
    def test_a_valid_block_is_accepted_written_down_and_the_new_tip(self, node, three):
        block = three.blocks[0]
        assert node.hear("block", block.encoded) == ACCEPT
        assert node.tip == block.hash
        (effect,) = node.pending.values()
        assert (effect.block_hash, effect.height) == (block.hash, 1)
        assert read_kept(effect.body).block == block.encoded

    def test_a_known_block_is_ignored(self, node, three):
        data = three.blocks[0].encoded
        node.hear("block", data)
        assert node.hear("block", data) == IGNORE
        assert len(node.pending) == 1

    def test_a_chain_arrives_block_by_block(self, node, three):
        node.hear_chain(three)
        assert snapshot_id(node.core.state) == snapshot_id(three.state)

    def test_a_block_of_a_lighter_branch_is_accepted_and_kept_but_changes_nothing(self, node, three):
        node.hear_chain(three)
        digest = snapshot_id(node.core.state)
        other = grown(1, miner=MINERS[1])
        assert node.hear("block", other.blocks[0].encoded) == ACCEPT
        assert snapshot_id(node.core.state) == digest
        assert node.core.block(other.blocks[0].hash) == other.blocks[0]
        assert not node.core.is_best(other.blocks[0].hash)

    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (lambda b: replace(b, header=replace(b.header, version=2)), "block version 2, expected 1"),
            (lambda b: replace(b, transactions=()), "a block has a work proof and a coinbase"),
            (lambda b: replace(b, work_proof=None), "a block has a work proof and a coinbase"),
            (
                lambda b: replace(b, header=replace(b.header, merkle_root=label("x"))),
                "the Merkle root is not",
            ),
            (lambda b: replace(b, header=replace(b.header, time=1)), "time is not after the median"),
            (
                lambda b: replace(b, header=replace(b.header, bits=0x1D00FFFF)),
                "the target is not the one due",
            ),
            (lambda b: with_proof(b, batch_path=(label("x"),)), "the batch was not that miner's turn"),
            (lambda b: with_proof(b, slots=b.work_proof.slots[1:]), "the slots are not those from"),
        ],
    )
    def test_a_block_that_breaks_a_rule_is_rejected_with_the_reason(self, node, three, spoil, reason):
        judge = node.hear("block", spoil(three.blocks[0]).encoded)
        assert judge.verdict is Verdict.REJECT
        assert reason in judge.reason
        assert not node.pending
        assert node.core.state.height == 0

    @pytest.mark.parametrize("data", [b"", b"\x80", b"no block", bytes(200 * 1024)], ids=len)
    def test_what_is_no_block_is_rejected(self, node, data):
        assert node.hear("block", data).verdict is Verdict.REJECT

    def test_the_clock_decides_how_far_ahead_a_block_may_be(self, node):
        chain = Chain()
        late = chain.draft(time=NOW_S + future_time_s_max(chain.spec.params) + 1)
        assert node.hear("block", late.encoded) == IGNORE
        node.now_ms += 1_000
        assert node.hear("block", late.encoded) == ACCEPT

    def test_a_genesis_of_another_network_is_no_parent(self, node, three):
        stray = replace(three.blocks[0], header=replace(three.blocks[0].header, prev=label("other genesis")))
        assert node.hear("block", stray.encoded) == IGNORE
        assert node.core.state.height == 0

    def test_the_signatures_of_what_waited_are_not_checked_again(self, node, monkeypatch):
        chain, verify, checked = Chain(), ecdsa.verify, []
        tx = chain.add(payment(chain))
        node.hear("tx", tx.encoded)
        block = chain.draft()
        monkeypatch.setattr(ecdsa, "verify", lambda *args: (checked.append(args[1]), verify(*args)))
        assert node.hear("block", block.encoded) == ACCEPT
        assert signing_digest(tx, chain.state.chain) not in checked
        assert Driven().hear("block", block.encoded) == ACCEPT
        assert checked.count(signing_digest(tx, chain.state.chain)) == 1

    def test_a_spoilt_witness_of_what_waited_is_found(self, node):
        chain = Chain()
        tx = payment(chain)
        node.hear("tx", tx.encoded)
        witness = replace(tx.witnesses[0], signature=flip(tx.witnesses[0].signature, 400))
        block = chain.draft(transactions=[replace(tx, witnesses=(witness,))])
        judge = node.hear("block", block.encoded)
        assert judge.verdict is Verdict.REJECT
        assert "signature" in judge.reason


@pytest.fixture(scope="module")
def block():
    """One that gossip can't carry."""
    chain = Chain()
    for _ in range(10):
        chain.post(CLIENT, outputs=tuple(Pay(1_000 + i, key_hash(7)) for i in range(900)))
    return chain.mine()


class TestLargeBlocks:
    """Blocks that gossip can't carry are announced by their headers."""

    def test_who_finds_one_announces_it_when_it_is_durable(self, node, block):
        assert block.size > BODY_SIZE_MAX
        node.core.set_timer("find", Millis(0), lambda: node.core.ledger.submit(block))
        node.give(events.TimerFired("find"))
        assert said(node.effects, "block") == []
        assert said(node.persist(), "block") == [block.header.encode()]

    def test_who_announces_one_is_asked_for_it_and_the_announcement_stays_here(self, node, block):
        node.connect(REMOTE)
        assert node.hear("block", block.header.encode()) == IGNORE
        asked = of(node.effects, effects.Ask)[-1]
        assert (asked.remote, asked.body) == (REMOTE, record.encode_tagged(sync.AskBodies((block.hash,))))

    def test_what_came_is_announced_when_it_is_durable(self, node, block):
        node.connect(REMOTE)
        node.hear("block", block.header.encode())
        asked = of(node.effects, effects.Ask)[-1]
        node.answer(asked, sync.Blocks((block.encoded,)))
        assert node.tip == block.hash
        assert said(node.effects, "block") == []
        assert said(node.persist(), "block") == [block.header.encode()]
        assert node.hear("block", block.header.encode()) == IGNORE

    def test_what_nobody_announced_is_not_announced(self, node, three):
        node.connect(REMOTE)
        asked = of(node.effects, effects.Ask)[-1]
        node.answer(asked, sync.Headers(b"".join(b.header.encode() for b in three.blocks)))
        asked = of(node.effects, effects.Ask)[-1]
        node.answer(asked, sync.Blocks(tuple(encoded(three))))
        assert node.tip == three.blocks[-1].hash
        assert said(node.persist(), "block") == []

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"bits": 0x1F00FFFF}, "the target is not the one due"),
            ({"version": 2}, "block version 2"),
            ({"time": 1}, "the block's time is not after the median"),
        ],
    )
    def test_a_header_that_no_block_can_have_is_rejected(self, node, block, changes, reason):
        node.connect(REMOTE)
        judge = node.hear("block", replace(block.header, **changes).encode())
        assert judge.verdict is Verdict.REJECT
        assert reason in judge.reason

    def test_a_header_above_its_target_is_rejected(self, node, block):
        node.connect(REMOTE)
        tries = (replace(block.header, nonce=label("nonce", i)) for i in range(64))
        above = next(header for header in tries if not meets_target(header))
        assert node.hear("block", above.encode()) == Judge(
            Verdict.REJECT, "the work hash is above the target"
        )

    def test_a_header_without_its_parent_starts_a_sync(self, node, three):
        node.connect(REMOTE)
        node.answer(of(node.effects, effects.Ask)[-1], sync.Headers(b""))
        assert node.hear("block", three.blocks[2].header.encode()) == IGNORE
        assert isinstance(questions(node.effects)[-1], sync.AskHeaders)

    def test_a_header_from_the_future_waits(self, node):
        node.connect(REMOTE)
        chain = Chain()
        late = chain.draft(time=NOW_S + future_time_s_max(chain.params) + 1)
        assert node.hear("block", late.header.encode()) == IGNORE
        assert not any(isinstance(q, sync.AskBodies) for q in questions(node.effects))

    @pytest.mark.parametrize("size", [171, 173])
    def test_other_sizes_are_no_headers(self, node, size):
        assert node.hear("block", bytes(size)).verdict is Verdict.REJECT


class TestKeepingUp:
    """How it goes on is of test_syncing.py."""

    def test_a_block_without_its_parent_is_ignored_and_its_sender_asked(self, node, three):
        sender = PeerId("sender")
        (first,) = of(node.connect(sender), effects.Ask)
        node.answer(first, sync.Headers(b""))
        node.effects.clear()
        assert node.hear("block", three.blocks[2].encoded, remote=sender) == IGNORE
        asked = ask_of(node.effects)
        assert asked.remote == sender
        assert sync.read_question(asked.body) == sync.AskHeaders((Chain().state.tip,))

    def test_who_is_not_connected_is_not_asked(self, node, three):
        assert node.hear("block", three.blocks[2].encoded, remote=PeerId("passer-by")) == IGNORE
        assert of(node.effects, effects.Ask) == []

    def test_a_new_remote_is_asked_at_once(self, node):
        (asked,) = of(node.connect(PeerId("newcomer")), effects.Ask)
        assert asked.remote == "newcomer"
        assert isinstance(sync.read_question(asked.body), sync.AskHeaders)

    def test_one_remote_after_the_other_is_asked(self, node):
        for asked in of(node.connect(PeerId("a"), PeerId("b")), effects.Ask):
            node.answer(asked, sync.Headers(b""))
        remotes = []
        for _ in range(4):
            assert node.timers["sync"] == SYNC_MS
            asked = ask_of(node.fire("sync"))
            node.answer(asked, sync.Headers(b""))
            remotes.append(asked.remote)
        assert sorted(remotes[:2]) == ["a", "b"]
        assert remotes[2:] == remotes[:2]

    def test_alone_nobody_is_asked_but_the_timer_goes_on(self, node):
        assert of(node.fire("sync"), effects.Ask) == []
        assert "sync" in node.timers


class TestAnswering:
    def ask(self, node, *locator):
        return list(sync.read_headers(node.ask(sync.AskHeaders(locator))))

    def bodies(self, node, *blocks):
        return list(sync.read_blocks(node.ask(sync.AskBodies(blocks))))

    def test_headers_after_what_the_remote_has(self, node, three):
        node.hear_chain(three)
        genesis = Chain().state.tip
        assert self.ask(node, genesis) == headers_of(three)
        assert self.ask(node, three.blocks[1].hash, genesis) == headers_of(three)[2:]
        assert self.ask(node, three.state.tip, genesis) == []

    @pytest.mark.parametrize("locator", [(), (label("unknown"),)], ids=["nothing", "unknown"])
    def test_nothing_for_who_knows_nothing_of_ours(self, node, three, locator):
        node.hear_chain(three)
        assert self.ask(node, *locator) == []

    def test_from_the_fork_for_who_is_on_another_branch(self, node, three):
        node.hear_chain(three)
        other = grown(1, start=grown_to(three, 1), miner=MINERS[1])
        node.hear("block", other.blocks[1].encoded)
        assert self.ask(node, other.blocks[1].hash, three.blocks[0].hash) == headers_of(three)[1:]
        assert self.bodies(node, other.blocks[1].hash) == [other.blocks[1].encoded]

    def test_bodies_in_the_order_asked_for_without_those_that_are_not_here(self, node, three):
        node.hear_chain(three)
        wanted = [three.blocks[2].hash, label("nowhere"), three.blocks[0].hash]
        assert self.bodies(node, *wanted) == [three.blocks[2].encoded, three.blocks[0].encoded]

    def test_no_more_than_a_question_may_ask_for(self, node, three):
        node.hear_chain(three)
        wanted = [three.blocks[0].hash] * (sync.BODIES_MAX + 1)
        assert len(self.bodies(node, *wanted)) == sync.BODIES_MAX
        far = (*[label("unknown")] * sync.LOCATOR_MAX, three.blocks[0].hash)
        assert self.ask(node, *far) == []

    def test_an_answer_stays_within_its_size(self, node):
        parts = [bytes(sync.ANSWER_BYTES_MAX // 3)] * 4
        assert sync.fitting(parts) == tuple(parts[:3])
        assert sync.fitting([bytes(sync.ANSWER_BYTES_MAX + 1), b""]) == ()


def grown_to(chain, height):
    """Return the chain as it was at a height."""
    short = Chain()
    for block in chain.blocks[:height]:
        short.connect(block)
    short.precursors.update(chain.precursors)
    return short


class TestReorganisation:
    """The heavier branch lacks a payment that the lighter one has."""

    @pytest.fixture
    def branches(self):
        light, heavy = Chain(), grown(2, miner=MINERS[1])
        tx = light.add(payment(light))
        light.mine()
        return light, heavy, tx

    def test_transactions_of_the_branch_left_wait_again(self, node, branches):
        light, heavy, tx = branches
        node.hear_chain(light)
        assert tx.txid not in node.core.ledger.mempool
        node.hear_chain(heavy)
        assert snapshot_id(node.core.state) == snapshot_id(heavy.state)
        assert node.core.ledger.mempool.transactions() == (tx,)

    def test_they_are_in_the_next_template(self, node, branches):
        light, heavy, tx = branches
        node.hear_chain(light)
        node.hear_chain(heavy)
        ticket = heavy.tickets("miner", MINERS[1], task=heavy.predefined)[0]
        _, transactions = node.core.template(heavy.predefined, ticket)
        assert transactions[1:] == (tx,)

    def test_what_both_branches_confirm_does_not_come_back(self, node, branches):
        light, _, tx = branches
        both = grown(1, miner=MINERS[1])
        both.add(tx)
        both.mine()
        node.hear_chain(light)
        node.hear_chain(both)
        assert len(node.core.ledger.mempool) == 0

    def test_what_the_new_branch_spent_otherwise_is_gone(self, node, branches):
        light, _, _ = branches
        rival = Chain()
        rival.add(payment(rival, value=77_777))
        rival.mine()
        rival.mine()
        node.hear_chain(light)
        node.hear_chain(rival)
        assert node.tip == rival.state.tip
        assert len(node.core.ledger.mempool) == 0

    def test_there_and_back_again_is_the_same_state(self, node, branches):
        light, heavy, _ = branches
        node.hear_chain(light)
        node.hear_chain(heavy)
        light.mine()
        light.mine()
        node.hear_chain(light)
        assert snapshot_id(node.core.state) == snapshot_id(light.state)
        assert len(node.core.ledger.mempool) == 0


class TestTransactions:
    def test_a_valid_one_is_accepted_once_and_waits(self, node):
        tx = payment(Chain())
        assert node.hear("tx", tx.encoded) == ACCEPT
        assert node.hear("tx", tx.encoded) == IGNORE
        assert node.core.ledger.mempool.transactions() == (tx,)
        assert key_hash(9) in {output.key_hash for output in node.core.pool.utxos.values()}

    def test_a_block_confirms_it(self, node):
        chain = Chain()
        tx = chain.add(payment(chain))
        node.hear("tx", tx.encoded)
        chain.mine()
        node.hear_chain(chain)
        assert len(node.core.ledger.mempool) == 0

    @pytest.mark.parametrize(
        ("spoil", "reason"),
        [
            (lambda tx: replace(tx, version=2), "version 2, expected 1"),
            (lambda tx: replace(tx, inputs=()), "no inputs"),
            (lambda tx: replace(tx, inputs=tx.inputs * 2), "an input is named twice"),
            (lambda tx: replace(tx, outputs=(Pay(0, key_hash(9)),)), "an output's value is out of range"),
        ],
    )
    def test_one_that_is_malformed_is_rejected(self, node, spoil, reason):
        assert node.hear("tx", spoil(payment(Chain())).encoded) == Judge(Verdict.REJECT, reason)

    @pytest.mark.parametrize("data", [b"", b"\x80", b"no transaction"])
    def test_what_is_no_transaction_is_rejected(self, node, data):
        assert node.hear("tx", data).verdict is Verdict.REJECT

    def test_one_that_only_this_state_refuses_is_ignored(self, node):
        """Its sender may know more than we do."""
        chain = Chain()
        first, rival = payment(chain, value=1_000), payment(chain, value=2_000)
        assert node.hear("tx", first.encoded) == ACCEPT
        assert node.hear("tx", rival.encoded) == IGNORE
        assert node.core.ledger.mempool.transactions() == (first,)

    def test_a_coinbase_is_not_taken_from_gossip(self, node, three):
        coinbase = three.blocks[0].transactions[0]
        assert node.hear("tx", coinbase.encoded).verdict is not Verdict.ACCEPT
        assert len(node.core.ledger.mempool) == 0


class TestOrphans:
    @pytest.fixture
    def family(self):
        """Three payments in a row, each of the change before."""
        chain = Chain()
        return chain, [chain.add(payment(chain)) for _ in range(3)]

    def test_a_child_waits_for_its_parent_and_is_passed_on_then(self, node, family):
        _, (parent, child, _) = family
        assert node.hear("tx", child.encoded) == IGNORE
        assert len(node.core.ledger.mempool) == 0
        node.effects.clear()
        assert node.hear("tx", parent.encoded) == ACCEPT
        assert node.core.ledger.mempool.transactions() == (parent, child)
        assert said(node.effects, "tx") == [child.encoded]

    def test_a_whole_family_in_the_wrong_order(self, node, family):
        _, (parent, child, grandchild) = family
        for tx in (grandchild, child):
            assert node.hear("tx", tx.encoded) == IGNORE
        node.effects.clear()
        node.hear("tx", parent.encoded)
        assert node.core.ledger.mempool.transactions() == (parent, child, grandchild)
        assert said(node.effects, "tx") == [child.encoded, grandchild.encoded]

    def test_a_block_may_bring_the_parent(self, node):
        chain = Chain()
        parent = chain.add(payment(chain))
        child = payment(chain)
        node.hear("tx", child.encoded)
        chain.mine()
        node.hear_chain(chain)
        assert parent.txid not in node.core.ledger.mempool
        assert node.core.ledger.mempool.transactions() == (child,)

    def test_a_known_orphan_is_ignored(self, node, family):
        _, (parent, child, _) = family
        for _ in range(2):
            assert node.hear("tx", child.encoded) == IGNORE
        node.effects.clear()
        node.hear("tx", parent.encoded)
        assert said(node.effects, "tx") == [child.encoded]

    def test_a_copy_with_a_spoilt_witness_does_not_keep_the_real_one_out(self, node, family):
        _, (parent, child, _) = family
        (witness,) = child.witnesses
        copy = replace(child, witnesses=(replace(witness, signature=flip(witness.signature, 40)),))
        assert copy.txid == child.txid
        assert node.hear("tx", copy.encoded) == IGNORE
        assert node.hear("tx", child.encoded) == IGNORE
        node.hear("tx", parent.encoded)
        assert node.core.ledger.mempool.transactions() == (parent, child)

    def test_an_orphan_whose_parent_never_comes_is_forgotten(self, node, family):
        _, (parent, child, _) = family
        node.hear("tx", child.encoded)
        node.fire("announce")
        node.effects.clear()
        node.hear("tx", parent.encoded)
        assert node.core.ledger.mempool.transactions() == (parent,)
        assert node.hear("tx", child.encoded) == ACCEPT

    def test_junk_pushes_out_what_is_older_only(self, node, family):
        _, (parent, child, grandchild) = family
        node.hear("tx", grandchild.encoded)
        for number in range(orphans.COUNT_MAX):
            junk = replace(child, inputs=(Outpoint(label("junk", number), 0),))
            assert node.hear("tx", junk.encoded) == IGNORE
        node.hear("tx", child.encoded)
        node.hear("tx", parent.encoded)
        assert node.core.ledger.mempool.transactions() == (parent, child)
        assert node.hear("tx", grandchild.encoded) == ACCEPT

    def test_a_reveal_waits_for_its_commit(self, node):
        chain = Chain()
        block = chain.mine()
        node.hear_chain(chain)
        commit = chain.add(chain.fund(1, chain.commit(block, 1)))
        collect = chain.add(chain.fund(MINERS[0], CollectVerifications(block.hash)))
        reveal = chain.fund(1, chain.reveal(block, 1))
        change = chain.fund(2, chain.commit(block, 2))
        assert [node.hear("tx", tx.encoded) for tx in (reveal, collect, commit)] == [IGNORE, IGNORE, ACCEPT]
        assert node.core.ledger.mempool.transactions() == (commit, collect, reveal)
        assert node.hear("tx", change.encoded) == IGNORE

    def test_a_wrong_signature_is_not_kept(self, node):
        chain = Chain()
        tx = payment(chain)
        (witness,) = tx.witnesses
        spoilt = replace(tx, witnesses=(replace(witness, signature=flip(witness.signature, 40)),))
        assert node.hear("tx", spoilt.encoded) == IGNORE
        assert len(node.core.ledger.orphans) == 0
        assert node.hear("tx", tx.encoded) == ACCEPT


class TestTemplate:
    @pytest.fixture
    def ticket(self, three):
        return three.tickets("miner", MINERS[0], task=three.predefined)[0]

    def test_the_block_that_it_becomes_is_valid(self, node, ticket):
        chain = Chain()
        waiting = [chain.add(payment(chain)), chain.add(chain.buy(7)), chain.add(payment(chain, payer=8))]
        for tx in waiting:
            node.hear("tx", tx.encoded)
        header, transactions = node.core.template(chain.predefined, ticket)
        block = chain.draft(transactions=transactions[1:], time=header.time)
        assert block.transactions == transactions
        assert block.header.zero_nonce_hash == header.zero_nonce_hash
        assert node.hear("block", block.encoded) == ACCEPT
        assert len(node.core.ledger.mempool) == 0

    def test_the_fees_go_to_the_miner(self, node, ticket):
        chain = Chain()
        node.hear("tx", payment(chain).encoded)
        _, (coinbase, _) = node.core.template(chain.predefined, ticket)
        assert coinbase.outputs == (Pay(2_000, key_hash(MINERS[0])),)

    def test_an_empty_pool_gives_a_coinbase_alone(self, node, three, ticket):
        header, transactions = node.core.template(three.predefined, ticket)
        assert len(transactions) == 1
        assert (header.prev, header.time) == (node.tip, NOW_S)

    def test_the_time_is_after_the_median_even_if_our_clock_is_behind(self, three, ticket):
        slow = Driven(now_ms=1_000)
        header, _ = slow.core.template(three.predefined, ticket)
        assert header.time == Chain().state.times[-1] + 1

    def test_a_ticket_that_is_gone_gets_no_template(self, node, three):
        assert node.core.template(three.predefined, Outpoint(label("gone"), 0)) is None

    def test_what_exceeds_a_rule_of_blocks_is_left_for_the_next(self, node, ticket):
        """At most so many tickets are bought in a block; both purchases are fine by themselves."""
        chain = Chain()
        most = chain.params.tickets_per_block_max
        first, second = self.purchase(chain, 7, most - 1), self.purchase(chain, 8, 2)
        for tx in (first, second):
            assert node.hear("tx", tx.encoded) == ACCEPT
        header, transactions = node.core.template(chain.predefined, ticket)
        assert len(transactions) == 2
        block = chain.draft(transactions=transactions[1:], time=header.time)
        assert node.hear("block", block.encoded) == ACCEPT
        assert len(node.core.ledger.mempool) == 1

    @staticmethod
    def purchase(chain, account, count):
        stake = Stake(chain.state.ticket_price, key_hash(account))
        return chain.add(chain.fund(account, chain.buy(account).data, (stake,) * count, fee=20_000))

    def test_it_is_made_once_for_one_second_tip_and_pool(self, node, three, ticket):
        first = node.core.template(three.predefined, ticket)
        assert node.core.template(three.predefined, ticket) is first
        other = three.tickets("miner", MINERS[1], task=three.predefined)[0]
        assert node.core.template(three.predefined, other) != first

    @pytest.mark.parametrize("change", ["second", "transaction", "orphan", "tip", "own transaction"])
    def test_it_is_made_anew_when_anything_changes(self, node, three, ticket, change):
        chain = Chain()
        if change == "orphan":
            parent = chain.add(payment(chain))
            node.hear("tx", payment(chain).encoded)
        first = node.core.template(three.predefined, ticket)
        if change == "second":
            node.now_ms += 1_000
            node.fire("sync")
        elif change == "transaction":
            node.hear("tx", payment(chain).encoded)
        elif change == "orphan":
            node.hear("tx", parent.encoded)
        elif change == "tip":
            node.hear("block", three.blocks[0].encoded)
        else:
            assert node.core.post(chain.buy(7).data, (Stake(chain.state.ticket_price, key_hash(7)),))
        header, transactions = node.core.template(three.predefined, ticket)
        assert (header, transactions) != first
        assert len(transactions) == {"transaction": 2, "orphan": 3, "own transaction": 2}.get(change, 1)


class TestOwnBlocks:
    def submit(self, node, block):
        node.effects.clear()
        node.core.submit_block(block)
        # As roles do: within the handling of some event.
        return node.fire("announce")

    def test_nobody_hears_of_it_before_it_is_durable(self, node, three):
        block = three.blocks[0]
        reaction = self.submit(node, block)
        assert node.tip == block.hash
        assert said(reaction, "block") == []
        assert said(node.persist(), "block") == [block.encoded]

    def test_one_that_the_rules_refuse_is_discarded_and_counted(self, node, three):
        bad = with_proof(three.blocks[0], batch_path=())
        for _ in range(2):
            reaction = self.submit(node, bad)
            assert of(reaction, effects.Persist) == []
        assert node.persist() == []
        assert node.core.state.height == 0
        assert node.core.ledger.discarded == {"the batch was not that miner's turn": 2}
        assert said(node.effects, "block") == []

    def test_a_sound_one_leaves_no_trace_among_the_discarded(self, node, three):
        self.submit(node, three.blocks[0])
        assert node.core.ledger.discarded == {}

    def test_a_block_of_others_is_not_announced_again(self, node, three):
        """Gossip passes it on by the verdict."""
        node.hear("block", three.blocks[0].encoded)
        assert said(node.persist(), "block") == []


def test_waiting_transactions_survive_a_block_that_does_not_touch_them(node):
    chain = Chain()
    tx = payment(chain, payer=CLIENT)
    node.hear("tx", tx.encoded)
    node.hear_chain(grown(2))
    assert node.core.ledger.mempool.transactions() == (tx,)


def test_a_question_names_the_best_chain_ever_more_sparsely(node):
    long = grown(20)
    node.hear_chain(long)
    (asked,) = questions(node.connect())
    heights = [next((i for i, b in enumerate(long.blocks, 1) if b.hash == h), 0) for h in asked.locator]
    assert heights[0] == 20
    assert heights[-1] == 0
    steps = [a - b for a, b in pairwise(heights)]
    assert steps[:-1] == sorted(steps[:-1])
    assert len(record.encode_tagged(asked)) < 1_000
