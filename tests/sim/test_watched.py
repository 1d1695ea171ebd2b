"""The checkers that watch nodes, not blocks: each passes a real history, and sees what is planted into it.

How: eight nodes with the fast trainer train a client's task, with data that nobody else has; the checkers
have seen every step. Then single events are made up.
"""

import random
from dataclasses import replace
from functools import cache

import pytest

from p2pai import effects, events
from p2pai.chain import schedule
from p2pai.chain import schulze as chain_schulze
from p2pai.chain.committee import CertifiedSlot
from p2pai.chain.mempool import Mempool
from p2pai.chain.state import Stage
from p2pai.chain.transaction import Transfer
from p2pai.effects import Judge, Verdict
from p2pai.gossip.envelope import Envelope
from p2pai.gossip.limits import GOSSIP_SIZE_MAX
from p2pai.gossip.topics import Topic, parse
from p2pai.node.syncing import HANGUP_MS, UNANSWERED_HANGUP_MS
from p2pai.primitives import address, cbor, ecdsa, merkle, record
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import Hash32, Outpoint
from p2pai.roles.slots import Place, Share, SlotOpening, SlotProposal
from testnet.simulator.invariants import Broken, Honesty, Liveness, limits
from testnet.simulator.invariants.pools import Pools, check_pool
from testnet.simulator.invariants.saying import Saying, read
from testnet.simulator.invariants.slots import Slots, root_of, schulze
from testnet.simulator.invariants.standing import Standing
from testnet.simulator.metering import metered
from testnet.simulator.network import draft, name_of, network, order
from testnet.simulator.trainer import FastTrainer

pytestmark = pytest.mark.usefixtures("shared")

CLIENT, MINER, PEER = name_of(0), name_of(4), name_of(7)
NOTHING = events.TimerFired("x")


@cache
def training():
    """Return a network in which a client's task is being trained, what supervisors said, and the task."""
    net = network(1, trainer=FastTrainer)
    said = []

    def listen(name, event, reaction):
        published = [e for e in reaction if isinstance(e, effects.Publish)]
        said.extend((name, e) for e in published if e.topic.endswith("message_history/1"))

    net.world.watchers.append(listen)
    own = draft(epochs=3)
    task = net.submit(
        order(replace(own, dataset=replace(own.dataset, batch_size=own.dataset.batch_size + 3)))
    )
    assert net.run_to(task, Stage.TRAINING)
    count = len(net.invariants.slots.certified)
    assert net.world.run(lambda: len(net.invariants.slots.certified) >= count + 6, 60)
    return net, said, task


def plant(name, *reaction, event=NOTHING):
    """Let the network's own checkers see an event that never was."""
    training()[0].invariants(name, event, reaction)


# --- I14


class TestSlots:
    def heard(self, honesty=None):
        """Return fresh checkers, and all that was said about one slot with several messages."""
        net, said, task = training()
        spoken = [(name, read(effect)) for name, effect in said]
        slots = [s.said for _, s in spoken if isinstance(s.said, CertifiedSlot)]
        slot = next(s for s in slots if s.statement.task == task and len(s.messages) > 1)
        about = [(n, s) for n, s in spoken if getattr(s.said, "statement", None) == slot.statement]
        return Slots(net.cores, honesty or Honesty()), slot, about

    def say(self, name, topic, said):
        core = training()[0].cores[name]
        envelope = Envelope(core.identity.public, str(topic), 0, record.encode_tagged(said), b"")
        return name, Saying(topic, envelope)

    def play(self, slots, sayings, statement=None, messages=None):
        """Say things again, perhaps of another statement and with other messages."""
        for name, saying in sayings:
            said = saying.said
            if statement is not None:
                said = replace(said, statement=statement)
                if isinstance(said, SlotProposal | CertifiedSlot):
                    said = replace(said, messages=messages)
            slots.hear(*self.say(name, saying.topic, said))

    def test_a_real_history_passes(self):
        slots, slot, about = self.heard()
        self.play(slots, about)
        assert list(slots.certified.values()) == [slot.statement.root]
        assert len(training()[0].invariants.slots.certified) > 10

    def test_who_leads_out_of_turn_is_seen(self):
        slots, slot, about = self.heard()
        proposal = next(s for _, s in about if isinstance(s.said, SlotProposal))
        leader = next(n for n, s in about if s is proposal)
        other = next(n for n in (name_of(1), name_of(2), name_of(3)) if n != leader)
        with pytest.raises(Broken, match=rf"I14: {other} leads in view .* which is another's"):
            slots.hear(*self.say(other, proposal.topic, proposal.said))
        opening = SlotOpening(place_of(slot.statement), slot.messages)
        slots.hear(*self.say(leader, proposal.topic, opening))
        with pytest.raises(Broken, match=r"I14: .* which is another's"):
            slots.hear(*self.say(other, proposal.topic, opening))

    def test_two_roots_for_one_slot_are_seen(self):
        slots, slot, about = self.heard()
        self.play(slots, about)
        messages = tuple(reversed(slot.messages))
        other = replace(slot.statement, root=merkle.root(messages), view=slot.statement.view + 3)
        certified = [(n, s) for n, s in about if isinstance(s.said, CertifiedSlot)]
        with pytest.raises(Broken, match="I14: a slot is certified with two roots"):
            self.play(slots, certified[:1], other, messages)

    def test_too_few_votes_are_seen(self):
        slots, _, about = self.heard()
        silent = [(n, s) for n, s in about if not isinstance(s.said, Share)]
        with pytest.raises(Broken, match="I14: a slot is certified by 1 of 3 members"):
            self.play(slots, silent)

    def test_what_the_dishonest_tell_each_other_counts_for_them(self):
        slots, _, about = self.heard(Honesty(dict.fromkeys((name_of(1), name_of(2), name_of(3)))))
        self.play(slots, [(n, s) for n, s in about if not isinstance(s.said, Share)])

    def test_an_order_that_the_ballots_do_not_give_is_seen(self):
        slots, slot, about = self.heard()
        messages = tuple(reversed(slot.messages))
        other = replace(slot.statement, root=merkle.root(messages))
        with pytest.raises(Broken, match="I14: a slot is certified in an order that its ballots do not give"):
            self.play(slots, about, other, messages)

    def test_another_root_is_seen(self):
        slots, slot, about = self.heard()
        with pytest.raises(Broken, match="I14: a slot's messages do not give its root"):
            self.play(slots, about, replace(slot.statement, root=Hash32(bytes(32))), slot.messages)


def place_of(statement):
    return Place(statement.task, statement.epoch, statement.view, statement.slot)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13])
def test_the_naive_rules_are_those_of_the_chain(count):
    dice = random.Random(count)
    for _ in range(40):
        ids = sorted(tagged_hash("p2pai/test", dice.randbytes(4)) for _ in range(count))
        ballots = [bytes(dice.sample(range(count), count)) for _ in range(dice.randint(1, 7))]
        assert schulze(ids, ballots) == chain_schulze.rank(ids, ballots)
        assert root_of(ids) == merkle.root(ids)


def test_slots_of_the_usual_size_are_all_ranked_again_and_large_ones_now_and_then():
    slots = Slots({}, Honesty())
    assert all(slots._has_time(24) for _ in range(100))
    assert sum(slots._has_time(48) for _ in range(100)) == 12


# --- I15


class TestStanding:
    REJECTED = Judge(Verdict.REJECT, "because")

    def hear(self, honesty, *reaction, remote=MINER):
        net, _, _ = training()
        event = events.Received(remote, "topic", b"")
        Standing(net.cores, honesty).look(PEER, event, reaction)

    def test_a_sound_node_that_is_refused_is_seen(self):
        with pytest.raises(Broken, match=f"I15: {PEER}, honest, rejects what {MINER} says: because"):
            self.hear(Honesty(), self.REJECTED)

    def test_a_sound_node_that_is_hung_up_is_seen(self):
        with pytest.raises(Broken, match=f"I15: {PEER}, honest, hangs up {MINER}: why"):
            self.hear(Honesty(has_fault=lambda: True), effects.Hangup(MINER, HANGUP_MS, "why"))

    def test_a_pause_may_be_the_fault_of_a_network_that_has_faults(self):
        pause = effects.Hangup(MINER, UNANSWERED_HANGUP_MS, "no bodies")
        self.hear(Honesty(has_fault=lambda: True), pause)
        with pytest.raises(Broken, match="I15"):
            self.hear(Honesty(), pause)

    @pytest.mark.parametrize(
        "honesty",
        [Honesty({MINER: None}), Honesty(misled={MINER: "trainer"}), Honesty(misled={PEER: "disk"})],
    )
    def test_only_the_sound_are_protected_and_only_from_the_sound(self, honesty):
        self.hear(honesty, self.REJECTED, effects.Hangup(MINER, HANGUP_MS, "why"))


# --- I16, I17


class TestLimits:
    def test_a_table_above_its_limit_is_seen(self, monkeypatch):
        net, _, _ = training()
        seen = limits.Limits()
        for name, core in net.cores.items():
            seen.check_tables(name, core)
        assert seen.most["transactions in the mempool"] >= 0
        monkeypatch.setattr(
            limits,
            "holdings",
            lambda core: ((what, most + 1, most) for what, _, most in [("orphans", 0, 512)]),
        )
        with pytest.raises(Broken, match=f"I16: {PEER} holds 513 orphans, at most 512 may be"):
            seen.check_tables(PEER, net.cores[PEER])

    def test_more_timers_than_a_node_may_have_are_seen(self):
        net = network(1, accounts=(7,), trainer=FastTrainer)
        core = net.core(7)
        for i in range(2_000):
            core.set_timer(f"t{i}", 1, lambda: None)
        core.take_effects()
        with pytest.raises(Broken, match=r"I16: n7 holds 20\d\d timers"):
            net.world.run(lambda: False, 60)

    def test_too_many_effects_are_seen(self):
        with pytest.raises(Broken, match=r"I17: TimerFired has 1025 effects at n7, at most 1024 may be"):
            plant(PEER, *[effects.SetTimer("x", 1)] * 1_025)

    def test_what_happens_once_may_not_happen_twice(self):
        with pytest.raises(Broken, match="I17: Asked has more than one Answer at n7"):
            plant(PEER, *[effects.Answer(1, b"")] * 2, event=events.Asked(1, MINER, b""))

    def test_a_message_above_its_size_is_seen(self):
        with pytest.raises(Broken, match=r"I17: n7 sends \d+ bytes"):
            limits.Limits().look(
                PEER, training()[0].core(7), NOTHING, [effects.Publish("t", bytes(GOSSIP_SIZE_MAX + 1))]
            )

    def test_work_is_counted_by_event_and_too_much_is_seen(self):
        net, _, _ = training()
        with metered() as meter:
            net.invariants.meter = meter
            net.world.run(lambda: False, 1)
            last, count = meter.last, meter.count
            ecdsa.verify(*signed())
        net.invariants.meter = None
        assert (meter.last, meter.count) == (last, count + 1)
        assert 1 <= net.invariants.limits.most["signatures checked"] < count
        seen = limits.Limits()
        seen.check_work(PEER, NOTHING, 5_000)
        with pytest.raises(Broken, match="I17: Received has n7 check 5000 signatures, at most 4096 may be"):
            seen.check_work(PEER, events.Received(MINER, "t", b""), 5_000)


def signed():
    secret, digest = bytes(31) + b"\1", Hash32(bytes(32))
    return ecdsa.public_key(secret), digest, ecdsa.sign(secret, digest)


# --- I18


class TestPools:
    def waiting(self):
        """Return a node with a payment in its mempool, and the payment."""
        net, _, _ = training()
        core = net.core(0)
        net.world.submit(CLIENT, "wallet.send", payment(core))
        assert net.world.run(lambda: any(isinstance(t.data, Transfer) for t in pool(core)), 30)
        return core, next(t for t in pool(core) if isinstance(t.data, Transfer))

    def test_what_the_tip_does_not_allow_is_seen(self):
        core, tx = self.waiting()
        known = core.ledger.mempool
        Pools(core.params).look(CLIENT, core)
        check_pool(CLIENT, core, core.params)
        core.ledger.mempool = Mempool(core.state, core.params)
        core.ledger.mempool._waiting.by_wtxid.update({b"1": tx, b"2": tx})
        try:
            with pytest.raises(Broken, match=r"I18: n0 has .* that spends what another one"):
                Pools(core.params).look(CLIENT, core)
        finally:
            core.ledger.mempool = known

    def test_what_is_not_there_is_seen_when_it_is_added(self):
        core, tx = self.waiting()
        pools = Pools(core.params)
        pools.look(CLIENT, core)
        never = replace(tx, inputs=(Outpoint(Hash32(bytes(32)), 0),))
        table, version = core.ledger.mempool.by_wtxid, core.ledger.pool_version
        table[never.wtxid] = never
        core.ledger.pool_version += 1
        try:
            with pytest.raises(Broken, match=r"I18: n0 has .* that spends what is not there"):
                pools.look(CLIENT, core)
        finally:
            del table[never.wtxid]
            core.ledger.pool_version = version

    def test_all_rules_are_applied_now_and_then(self, monkeypatch):
        core, tx = self.waiting()
        poor = replace(tx, outputs=tuple(replace(o, value=o.value * 2) for o in tx.outputs))
        monkeypatch.setattr(core.ledger.mempool, "transactions", lambda: (poor,))
        with pytest.raises(Broken, match="I18: n0 has a TRANSFER waiting that is invalid"):
            check_pool(CLIENT, core, core.params)


def pool(core):
    return core.ledger.mempool.transactions()


def payment(core):
    other = address.encode(core.spec.prefix, ecdsa.key_hash(signed()[0]))
    return cbor.encode({"address": other, "atoms": 12_345, "order": core.state.tip})


# --- I19


class TestSecrets:
    def test_a_secret_key_in_anything_that_leaves_is_seen(self):
        core = training()[0].core(1)
        keys = core.identity.keys
        topic = str(Topic(core.spec.short_id, None, "tx"))
        for leak in (
            effects.Ask(1, MINER, b"x" + keys.vrf),
            effects.Answer(1, keys.bls + b"y"),
            effects.PutBlob((b"a", keys.spending), shared=True),
            effects.Hangup(MINER, HANGUP_MS, f"the key {keys.spending.hex()} is secret"),
        ):
            with pytest.raises(Broken, match="I19: n1 gives away a secret key"):
                training()[0].invariants.secrets.look(name_of(1), core, NOTHING, [leak])
        fine = [effects.PutBlob((keys.spending,), shared=False), effects.Judge(Verdict.IGNORE, "deadbeef")]
        training()[0].invariants.secrets.look(name_of(1), core, NOTHING, fine)
        assert parse(topic).name == "tx"

    def test_a_share_of_a_group_key_is_a_secret_too(self):
        net, _, _ = training()
        secrets, core = net.invariants.secrets, net.core(1)
        shares = [key for key in secrets.keys[name_of(1)] if key not in vars_of(core.identity.keys)]
        assert len(shares) == 2  # of the predefined task, and of the client's
        with pytest.raises(Broken, match="I19: n1 gives away a secret key"):
            secrets.look(name_of(1), core, NOTHING, [effects.Answer(1, shares[1])])

    def test_test_data_are_secret_and_training_data_are_not(self):
        net, _, task = training()
        secrets, core, known = net.invariants.secrets, net.core(0), net.task(task)
        plan = schedule.make_schedule(known.definition, known.definition_block)
        hidden = secrets._hidden[task]
        assert tuple(hidden.secret)
        assert dict.fromkeys(hidden.secret) == dict.fromkeys(plan.test)
        piece = hidden.pieces[plan.test[0]]
        assert piece in b"".join(net.world.hosts[CLIENT].blobs.get(plan.test[0]))
        for leak, what in (
            (effects.Share(plan.test[0]), "shares test data"),
            (effects.Answer(1, b"x" + piece), "says test data"),
        ):
            with pytest.raises(Broken, match=f"I19: n0 {what}"):
                secrets.look(CLIENT, core, NOTHING, [leak])
        secrets.look(CLIENT, core, NOTHING, [effects.Share(plan.training[0])])
        got = events.Fetched(plan.test[0], (Hash32(bytes(32)),), b"")
        with pytest.raises(Broken, match="I19: n4 got test data"):
            secrets.look(MINER, net.core(4), got, ())
        secrets.look(MINER, net.core(4), replace(got, chunks=None), ())
        secrets.look(CLIENT, core, got, ())


def vars_of(keys):
    return (keys.spending, keys.vrf, keys.bls)


# --- the whole


def test_a_breach_names_the_invariant_and_the_node():
    with pytest.raises(Broken) as broken:
        plant(MINER, effects.Hangup(PEER, HANGUP_MS, "why"))
    assert (broken.value.number, broken.value.node) == ("I15", MINER)
    assert broken.value.sentence == "n4, honest, hangs up n7: why"


def test_a_state_that_differs_at_one_node_is_seen_at_once():
    net = network(3, trainer=FastTrainer)
    other = net.core(5).ledger.tree
    plain = other.add

    def add(block, **options):
        switch = plain(block, **options)
        branch = other._branches[block.hash]
        other._branches[block.hash] = replace(branch, state=replace(branch.state, burned=1))
        return switch

    other.add = add
    with pytest.raises(Broken, match="I11: one tip, but different burned") as broken:
        net.world.run(lambda: net.core(7).state.height >= 2, 60)
    assert broken.value.node == name_of(5)


# --- I20, which goes on with the history


class TestLiveness:
    def liveness(self, **honesty):
        net, _, _ = training()
        return net, Liveness(net.world, net.spec, net.cores, Honesty(**honesty))

    def test_what_is_demanded_comes_in_time(self):
        _, liveness = self.liveness()
        liveness.demand_one_tip()
        liveness.note_waiting()
        liveness.demand_confirmations(60)

    def test_two_tips_are_seen_unless_one_is_of_the_dishonest(self):
        net, liveness = self.liveness()
        net.world.isolate(PEER)
        height = net.core(4).state.height
        assert net.world.run(lambda: net.core(4).state.height > height, 60)
        with pytest.raises(Broken, match=r"I20: 2 tips, 2 s after the last fault: .*n7 at"):
            liveness.demand_one_tip(2)
        self.liveness(dishonest={PEER: None})[1].demand_one_tip(10)
        net.world.isolate()
        liveness.demand_one_tip(30)

    def test_what_waits_still_is_seen(self):
        net, liveness = self.liveness()
        net.world.submit(CLIENT, "wallet.send", payment(net.core(0)))
        assert net.world.run(lambda: len(net.core(0).ledger.mempool) > 0, 30)
        liveness.note_waiting()
        with pytest.raises(Broken, match=r"I20: a [A-Z_]+ of n. waits still, 0 s after the last fault"):
            liveness.demand_confirmations(0)

    def test_a_task_that_goes_on_is_seen(self):
        net, liveness = self.liveness()
        stage = net.task(training()[2]).stage
        with pytest.raises(Broken, match=f"I20: task .* is {stage.value} still, 0 s after the last fault"):
            liveness.demand_ends(0)
        self.liveness(dishonest={CLIENT: None})[1].demand_ends(0)
