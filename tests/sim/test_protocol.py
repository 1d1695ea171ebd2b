"""The whole protocol, eight real nodes in virtual time.

What: one main life; faults (kills, cuts, losses) that it must survive; dishonest participants that must not
win. How: testnet.simulator; each history ends with the invariants of testnet.simulator.invariants. The main
life, its determinism and what a replay says of lies are of the real trainer, all others of the fast one.
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from life import SEED, iterations, real_life
from safetensors.numpy import load

from p2pai import effects, jobs
from p2pai.chain import committee, it_res, schedule
from p2pai.chain.genesis import genesis_state, predefined_task_id
from p2pai.chain.params import SLOTS_PER_TERM
from p2pai.chain.state import Stage
from p2pai.chain.training import SCORE_MAX
from p2pai.chain.transaction import ChargeForTask, Coinbase
from p2pai.gossip.envelope import open_envelope
from p2pai.gossip.topics import parse
from p2pai.jaxtrain.worker import Worker
from p2pai.primitives import ecdsa
from p2pai.primitives.ids import BlobId, Hash32
from testnet.simulator.network import FEE_ATOMS, HIDDEN, name_of, network, order
from testnet.simulator.trainer import real_trainer

pytestmark = pytest.mark.usefixtures("shared")

ROOT = Path(__file__).parents[2]


def end(net, task, stage=Stage.PAID, limit_s=200):
    """Run to the end of a task; then everybody must agree, and nobody honest must have been rejected."""
    assert net.run_to(task, stage, limit_s), net.task(task)
    if stage is Stage.PAID:
        assert net.world.run(lambda: net.world.hosts[name_of(0)].delivered, 60), "the model was not delivered"
    assert net.settle()
    net.check()
    assert net.world.rejected == []
    assert all(not core.ledger.discarded for core in net.cores.values())


def own_tickets(net, account, role):
    return [outpoint for outpoint, _ in net.core(account).roles[role].tickets()]


class TestMainLife:
    def test_everybody_ends_up_with_the_same_sound_ledger(self):
        net = real_life().network
        net.check()
        assert net.world.rejected == []
        assert all(not core.ledger.discarded for core in net.cores.values())

    def test_every_kind_of_promise_was_made_and_kept(self):
        counts = real_life().network.invariants.agreement.counts
        promises = {"transaction", "iteration", "prepare", "commit", "block", "verdict", "conclusion"}
        assert set(counts) == promises
        assert counts["iteration"] > 100
        assert counts["verdict"] > 10

    def test_the_fee_is_paid_out_to_the_atom(self):
        it = real_life()
        core = it.network.core(7)
        paid = core.ledger.tree.block_at(core.state.tasks[it.task].since)
        (charge,) = [tx for tx in paid.transactions if isinstance(tx.data, ChargeForTask)]
        assert sum(output.value for output in charge.outputs) == FEE_ATOMS
        payouts = it.network.core(0).query("task.show", {"task": it.task.hex()})["result"]["payouts"]
        assert sum(p["atoms"] for p in payouts) == FEE_ATOMS
        by_role = {r: sum(p["atoms"] for p in payouts if p["role"] == r) for r in ("supervisor", "evaluator")}
        assert by_role == {"supervisor": FEE_ATOMS * 15 // 100, "evaluator": FEE_ATOMS * 15 // 100}
        assert [p["role"] for p in payouts].count("miner") == 3

    def test_the_client_gets_the_best_model(self):
        it = real_life()
        host = it.network.world.hosts[name_of(0)]
        ((name, blob),) = host.delivered.items()
        assert name == f"{it.task.hex()}.safetensors"
        tensors = load(b"".join(host.blobs.get(blob)))
        assert tensors["layer0/kernel"].shape == (64, HIDDEN)
        conclusion = it.network.task(it.task).conclusion
        assert max(conclusion.scores) > 0.8 * SCORE_MAX

    def test_blocks_were_mined_by_several_and_approved_by_all_verifiers(self):
        core = real_life().network.core(7)
        settled = [b for b in core.query("block.list", {"count": 100}) if b["settled"]]
        assert len(settled) >= 5
        assert len({b["miner"] for b in settled}) >= 2
        assert all(b["approvals"] == b["verifiers"] == 3 for b in settled)
        assert all(b["subsidy_paid"] == core.params.subsidy_atoms for b in settled)

    def test_workers_get_their_stakes_back(self):
        it = real_life()
        task = it.network.task(it.task)
        state = it.network.core(7).state
        assert not any(ticket in state.tickets for _, tickets in task.workers() for ticket in tickets)
        assert state.burned == 0

    def test_test_data_stays_hidden_while_training_goes_on(self):
        # The plan is known to all; the client alone has the test fragments until the training is over.
        shared_in_training = []
        net = network(4)
        task = net.submit(order(epochs=2))
        client = net.world.hosts[name_of(0)]
        assert net.run_to(task, Stage.TRAINING)
        known = net.task(task)
        plan = schedule.make_schedule(known.definition, known.definition_block)

        def look(name, event, reaction):
            shared = [e.blob for e in reaction if isinstance(e, effects.Share)]
            if net.task(task).stage is Stage.TRAINING and name == name_of(0):
                shared_in_training.extend(b for b in shared if b in plan.test)

        net.world.watchers.append(look)
        assert all(f in client.blobs.shared for f in plan.training)
        assert net.world.run(lambda: iterations(net, task, 0) >= 10, 60)
        assert not shared_in_training
        assert not any(f in client.blobs.shared for f in plan.test)


class TestDeterminism:
    def test_one_seed_is_one_history(self):
        digests = []
        for seed in (SEED, SEED, SEED + 1):
            net = network(seed, trainer=real_trainer)
            assert net.world.run(lambda net=net: net.core(7).state.height >= 1, 60)
            digests.append(net.world.digest)
        assert digests[0] == digests[1]
        assert digests[0] != digests[2]

    def test_the_hash_seed_of_the_interpreter_does_not_matter(self):
        program = "from life import real_life; print(real_life().network.world.digest)"
        environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'sim'}",
            "PYTHONHASHSEED": "2",
        }
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, timeout=150, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == real_life().network.world.digest


@pytest.fixture(scope="module")
def killed():
    net = network(4)
    task = net.submit(order(epochs=5))
    assert net.run_to(task, Stage.TRAINING)
    world = net.world

    def to_iteration(count):
        assert world.run(lambda: iterations(net, task, 0) >= count, 60)

    to_iteration(15)
    net.restart(5)
    to_iteration(30)
    leader, others = lead_of(net, task)
    net.restart(leader)
    to_iteration(42)
    net.restart(others[0])
    restart_between_commit_and_reveal(net)
    assert net.run_to(task, Stage.EVALUATING)
    net.restart(0, down_ms=3_000)
    evaluator = first_committed_evaluator(net, task)
    net.restart(evaluator)
    end(net, task)
    return net, task, evaluator


def lead_of(net, task):
    """The account that leads the task's supervisors now, and the others."""
    supervisors = net.task(task, 7).supervisors
    owner = {t: a for a in (1, 2, 3) for t in own_tickets(net, a, "supervisor")}
    history = net.core(1).following[task].history
    lead = committee.leader(len(supervisors), history.next_slot // SLOTS_PER_TERM, 0)
    accounts = [owner[t] for t in supervisors]
    return accounts[lead], accounts[:lead] + accounts[lead + 1 :]


def restart_between_commit_and_reveal(net):
    def pending():
        for block, verification in net.core(7).pool.verifications.items():
            for account in (1, 2, 3):
                (ticket,) = [t for t in verification.verifiers if t in own_tickets(net, account, "verifier")]
                committed = any(c.ticket == ticket for c in verification.commits)
                if committed and not any(r.ticket == ticket for r in verification.reveals):
                    return block, account, ticket
        return None

    assert net.world.run(lambda: pending() is not None, 60)
    _, account, _ = pending()
    net.restart(account)


def first_committed_evaluator(net, task):
    def committed():
        commits = [c.ticket for c in net.core(7).pool.tasks[task].commits]
        return [a for a in (1, 2, 3) if any(t in commits for t in own_tickets(net, a, "evaluator"))]

    assert net.world.run(lambda: committed() != [], 60)
    return committed()[0]


class TestKills:
    """Kill -9 of everyone in turn; the task still ends paid."""

    def test_the_task_ends_paid_and_nobody_broke_a_promise(self, killed):
        net, task, _ = killed
        assert net.task(task).stage is Stage.PAID
        assert net.world.fired["kill"] == 6
        assert net.invariants.agreement.counts["commit"] > 50

    def test_every_miner_is_paid(self, killed):
        net, task, _ = killed
        assert all(correct > 0 for correct in net.task(task).conclusion.scores)

    def test_every_block_is_approved_by_replay(self, killed):
        net, _, _ = killed
        settled = [b for b in net.core(7).query("block.list", {"count": 100}) if b["settled"]]
        assert settled
        assert all(b["approvals"] >= 2 for b in settled)

    def test_an_evaluator_reveals_what_it_committed_to_before(self, killed):
        net, task, evaluator = killed
        assert net.core(evaluator).roles["evaluator"]._conclusions[task] == net.task(task).conclusion


def test_a_power_cut_of_everybody_at_once_is_survived():
    net = network(18)
    task = net.submit(order(epochs=4))
    assert net.run_to(task, Stage.TRAINING)
    assert net.world.run(lambda: iterations(net, task, 0) >= 25, 60)
    for account in (7, 1, 2, 3, 4, 5, 6, 0):
        net.restart(account)
    end(net, task)
    assert net.world.fired["kill"] == 8
    assert all(net.task(task).conclusion.scores)


@pytest.mark.parametrize("stage", [pytest.param("training", marks=pytest.mark.slow), "model announced"])
def test_a_miner_killed_near_the_end_still_delivers_its_model(stage):
    net = network(6)
    task = net.submit(order(epochs=2))
    assert net.run_to(task, Stage.TRAINING)
    miner = net.core(4).roles["miner"]
    assert net.world.run(lambda: miner.session is not None and miner.session.task_id == task, 10)
    session = miner.session
    last = session.place.iterations - 1
    if stage == "training":
        assert net.world.run(lambda: session.memory.sent == last - 1, 60)
    else:
        assert net.world.run(lambda: session.memory.finished, 60)
    net.restart(4)
    end(net, task)
    assert len([c for c in net.task(task).conclusion.scores if c]) == 3


def leader_of(slot: int, supervisors: int) -> int:
    return committee.leader(supervisors, committee.epoch_of(slot), 0)


class TestCuts:
    def test_a_node_that_was_cut_off_for_half_a_minute_catches_up(self):
        net = network(2)
        net.world.run(lambda: net.core(4).state.height >= 2, 60)
        net.world.isolate(name_of(4), name_of(7))
        net.world.run(lambda: False, 30)
        behind = net.core(4).state.height
        assert net.world.run(lambda: net.core(1).state.height > behind + 2, 120), "nothing happened meanwhile"
        assert net.core(7).state.height < net.core(1).state.height
        net.world.isolate()
        assert net.settle(limit_s=20)
        net.check()
        assert net.world.rejected == []

    def test_a_node_that_joins_late_catches_up_and_takes_part(self):
        net = network(3, accounts=(7, 1, 2, 3, 4, 5, 0))
        net.world.run(lambda: net.core(4).state.height >= 3, 90)
        net.start(6)
        predefined = predefined_task_id(net.spec, 0)
        tickets = own_tickets(net, 6, "miner")
        assert net.settle(limit_s=20)

        def mined():
            blocks = (net.core(7).ledger.tree.block_at(h) for h in range(1, net.core(7).state.height + 1))
            return any(b.transactions[0].data.ticket in tickets for b in blocks)

        assert net.world.run(mined, 120), "the newcomer mined nothing"
        assert predefined in net.core(6).following
        assert net.settle()
        net.check()

    def test_when_the_supervisors_lose_their_quorum_all_stops_and_goes_on_after(self):
        net = network(5)
        net.world.run(lambda: net.core(4).state.height >= 2, 60)
        net.world.isolate(name_of(1), name_of(2), name_of(4))
        net.world.run(lambda: False, 30)
        height = max(core.state.height for core in net.cores.values())
        net.world.isolate()
        assert net.world.run(lambda: net.core(7).state.height >= height + 2, 60), "the chain does not go on"
        assert net.settle()
        net.check()

    @pytest.mark.slow
    def test_a_leading_supervisor_that_is_gone_for_good_is_replaced(self):
        """No slots, no blocks: the others must go on without a block that says so."""
        net = network(21)
        task_id = net.submit(order(epochs=12))
        assert net.run_to(task_id, Stage.TRAINING)
        history = net.core(7).follow(task_id, 0)
        assert net.world.run(lambda: history.next_slot > 3, 60)
        task, state = net.task(task_id), net.core(0).state
        leader = task.supervisors[leader_of(history.next_slot, len(task.supervisors))]
        gone = next(a for a in (1, 2, 3) if net.core(a).identity.public == state.tickets[leader].owner)
        net.world.isolate(name_of(gone))
        assert net.world.run(lambda: net.task(task_id).view[1] > 0, 120), "REPLACE_LEADER is registered"
        others = [name for name in net.cores if name != name_of(gone)]
        assert net.run_to(task_id, Stage.PAID, 400), net.task(task_id).history
        assert net.settle(names=others)

    @pytest.mark.slow
    def test_a_heavier_chain_from_elsewhere_replaces_everything(self):
        other = network(18, accounts=(7, 1, 2, 3, 4, 5, 6))
        assert other.world.run(lambda: other.core(7).state.height >= 7, 120)
        assert other.settle()
        net = network(9)
        task = net.submit(order(epochs=2))
        assert net.run_to(task, Stage.JOINING)
        # Without a quorum of supervisors nothing is mined until the other chain's blocks are of the past.
        net.world.isolate(name_of(1), name_of(2))
        assert net.world.run(lambda: net.world.now_ms > other.world.now_ms, 120)
        net.world.isolate()
        assert net.core(7).state.weight < other.core(7).state.weight
        net.world.give_disk(name_of(8), other.world.disk(name_of(7)).copy())
        net.start(8)
        heavier = other.core(7).state.tip
        assert net.world.run(lambda: net.core(0).is_best(heavier), 20), "no reorganisation"
        assert net.world.run(lambda: net.core(7).state.height >= other.core(7).state.height + 2, 120)
        end(net, task)


@pytest.mark.parametrize("loss_percent", [pytest.param(10, marks=pytest.mark.slow), 20])
def test_lost_gossip_delays_and_breaks_nothing(loss_percent):
    net = network(12, gossip_loss_percent=loss_percent)
    task = net.submit(order(epochs=2))
    end(net, task, limit_s=400)
    assert net.world.fired["loss"] > 300
    assert len([c for c in net.task(task).conclusion.scores if c]) == 3


class Liar(Worker):
    """A trainer that does not do what it says; `lie` changes the job, the result or nothing."""

    def run(self, job):
        result = super().run(job)
        return self.lie(job, result) if isinstance(job, jobs.Step) else result


class WrongMap(Liar):
    def lie(self, job, result):
        return replace(result, message_map=b"\0\0")


class WrongEnd(Liar):
    def lie(self, job, result):
        return replace(result, after=replace(result.after, weights=BlobId(Hash32(bytes(32)))))


class NoPeers(Worker):
    def run(self, job):
        return super().run(replace(job, peers=()) if isinstance(job, jobs.Step) else job)


@pytest.fixture(scope="module")
def found():
    # In this history no block of 5 comes from an iteration with 4 as its only peer, whose maps are empty.
    net = network(16, workers={4: WrongMap, 5: NoPeers, 6: WrongEnd}, trainer=real_trainer)
    for core in net.cores.values():
        core.accuse = lambda block: None  # without any proof, or nobody would be left to mine
    owners = {t: a for a in (4, 5, 6) for t in own_tickets(net, a, "miner")}

    def verdicts():
        """Reasons by the account whose block they condemn."""
        reasons = {}
        for verifier in (1, 2, 3):
            core = net.core(verifier)
            for block, finding in core.judged.items():
                coinbase = core.block(block).transactions[0].data
                assert isinstance(coinbase, Coinbase)
                reasons.setdefault(owners[coinbase.ticket], set()).add(finding.reason)
        return reasons

    owners.update({t: a for a in (4, 5, 6) for t in own_tickets(net, a, "miner")})
    assert net.world.run(lambda: set(verdicts()) == {4, 5, 6}, 400), verdicts()
    height = net.core(7).state.height
    assert net.world.run(lambda: net.core(7).state.height >= height + 6, 200)
    assert net.settle()
    return net, verdicts()


class TestDishonestMiners:
    def test_nobody_approves(self, found):
        net, reasons = found
        assert "" not in reasons[4] | reasons[6]
        blocks = net.core(7).query("block.list", {"count": 100})
        assert net.core(7).state.weight == 0 or all(b["approvals"] == 0 for b in blocks if b["settled"])

    def test_the_reason_names_the_lie(self, found):
        _, reasons = found
        assert all(r.startswith("message map at layer") for r in reasons[4]), reasons[4]
        assert any("message map at layer" in r or "starting state" in r or "state" in r for r in reasons[5])
        assert all("state" in r for r in reasons[6]), reasons[6]

    def test_what_is_not_approved_weighs_and_earns_nothing(self, found):
        net, _ = found
        state = net.core(7).state
        assert state.weight == 0
        assert state.issued == genesis_state(net.spec).issued


def is_iteration(effect):
    return isinstance(effect, effects.Publish) and effect.topic.endswith("/it_res/1")


def signed_again(core, effect, **changes):
    """Return what a miner would publish in place of an IT_RES, with fields of its own choice."""
    task, data = parse(effect.topic).scope, open_envelope(effect.data, effect.topic).body
    message = replace(it_res.decode(data), **changes)
    digest = it_res.signing_digest(task, message.encode_unsigned())
    signature = ecdsa.sign(core.identity.keys.spending, digest)
    core.publish("it_res", task, replace(message, signature=signature).encode())
    return core.take_effects()


def spoilt(core, effect):
    return signed_again(core, effect, message_map=b"\x01\xff")


def test_malformed_message_maps_are_refused_at_the_door():
    """A miner must not be able to stop the others by a map that no trainer reads."""

    net = network(16)
    core = net.core(6)
    honest = core.handle

    def malformed(event, now_ms):
        reaction = honest(event, now_ms)
        spoiled = (spoilt(core, effect) if is_iteration(effect) else [effect] for effect in reaction)
        return [effect for effects_instead in spoiled for effect in effects_instead]

    core.handle = malformed
    net.invariants.honesty.distrust(name_of(6))
    assert net.world.run(lambda: net.core(7).state.height >= 4, 120)
    assert {reason for _, reason in net.world.rejected} == {"message map: malformed number of elements"}
    assert net.settle()
