"""Target: anybody can replay a block's lucky iteration; tampering with its capsule has a reason each."""

from dataclasses import replace
from functools import cache

import pytest

from p2pai import jobs
from p2pai.chain import it_res, schedule
from p2pai.jaxtrain.worker import Worker
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidInput, InvalidMessage, InvalidProof
from p2pai.primitives.ids import ZERO_HASH, Outpoint
from p2pai.roles import replaying
from p2pai.roles.history import PeerMessages
from p2pai.roles.replaying import LuckyIteration
from testnet.simulator.host import Blobs
from tests.chain.ledger import MINERS, flip, label, sign_message
from tests.roles.lone import EMPTY_MAP, iteration
from tests.roles.trained import Group, prepared


@cache
def group():
    made = Group(accounts=MINERS)
    made.block = made.lucky_block()
    return made


@pytest.fixture
def lucky():
    return replaying.lucky_iteration(group().block)


def store():
    return group().nodes[group().accounts[0]].blobs


def applied(lucky):
    return b"".join(store().get(lucky.message.applied))


def peers(lucky):
    """The messages applied, which are of both other miners."""
    return list(record.decode(PeerMessages, applied(lucky), size_max=1 << 20).messages)


def job(lucky, messages=None):
    data = applied(lucky) if messages is None else record.encode(PeerMessages(tuple(messages)))
    return replaying.replay_job(lucky, data, group().chain.state)


def naming(lucky, messages):
    """The lucky iteration, changed to name these messages as applied."""
    ids = tuple(it_res.message_id(data) for data in messages)
    message = replace(lucky.message, peer_count=len(ids), peer_ids=it_res.hash_ids(ids))
    return replace(lucky, message=message)


def in_order(messages):
    return sorted(messages, key=it_res.message_id)


def verdict(lucky, blobs=None, messages=None):
    """Replay with the real trainer and judge."""
    replayed = Worker(blobs or store()).run(job(lucky, messages))
    assert isinstance(replayed, jobs.Replayed)
    return replaying.judge(lucky, replayed)


def with_message(lucky, **changes):
    return replace(lucky, message=replace(lucky.message, **changes))


class TestCapsule:
    def test_a_block_names_its_lucky_iteration(self, lucky):
        proof = group().block.work_proof
        assert lucky == LuckyIteration(
            group().task, it_res.decode(proof.previous.message), it_res.decode(proof.lucky.message)
        )
        assert lucky.message.peer_count == len(peers(lucky)) >= 2

    def test_its_miner_keeps_every_part_for_others(self, lucky):
        for part in lucky.parts():
            assert part in store().shared

    def test_the_job_has_all_that_the_message_names(self, lucky):
        m = lucky.message
        made = job(lucky)
        assert made.before == jobs.ModelState(m.weights, m.residual, m.optimiser)
        assert (made.batch, made.message_map, made.metrics) == (m.batch, m.message_map, m.metrics)
        decoded = [it_res.decode(data) for data in peers(lucky)]
        assert made.peers == tuple(jobs.PeerUpdate(p.tau_bits, p.message_map) for p in decoded)
        assert (made.seed, made.platform) == (lucky.task, m.platform)
        assert made.position == jobs.Position(m.epoch, m.iteration, m.tau_bits)
        assert any(map_ != EMPTY_MAP for map_ in made.peers)


class TestPeersList:
    def test_a_message_is_left_out(self, lucky):
        with pytest.raises(InvalidProof, match="not those that the iteration names"):
            job(lucky, peers(lucky)[1:])

    def test_a_message_is_added(self, lucky):
        more = iteration(group().chain, MINERS[1], 40)
        with pytest.raises(InvalidProof, match="not those that the iteration names"):
            job(lucky, in_order([*peers(lucky), more]))

    def test_the_order_is_changed(self, lucky):
        with pytest.raises(InvalidProof, match="not those that the iteration names"):
            job(lucky, peers(lucky)[::-1])

    def test_one_bit_of_a_message_is_changed(self, lucky):
        first, *rest = peers(lucky)
        for bit in range(0, len(first) * 8, 501):
            with pytest.raises(InvalidProof, match="not those that the iteration names"):
                job(lucky, [flip(first, bit), *rest])

    @pytest.mark.parametrize("count", [0, 1, 65_535])
    def test_another_number_of_messages_is_named(self, lucky, count):
        with pytest.raises(InvalidProof, match="not those that the iteration names"):
            job(with_message(lucky, peer_count=count))

    def test_another_list_of_ids_is_named(self, lucky):
        with pytest.raises(InvalidProof, match="not those that the iteration names"):
            job(with_message(lucky, peer_ids=flip(lucky.message.peer_ids)))

    def test_a_message_is_applied_twice(self, lucky):
        first, *rest = peers(lucky)
        doubled = [first, first, *rest]
        with pytest.raises(InvalidProof, match="applied twice, or out of order"):
            job(naming(lucky, doubled), doubled)

    def test_the_messages_are_named_out_of_order(self, lucky):
        backwards = peers(lucky)[::-1]
        with pytest.raises(InvalidProof, match="applied twice, or out of order"):
            job(naming(lucky, backwards), backwards)

    @pytest.mark.parametrize("foreign", ["free", "none"])
    def test_a_message_is_not_of_a_miner_of_the_task(self, lucky, foreign):
        chain = group().chain
        ticket = chain.tickets("miner", MINERS[0])[0] if foreign == "free" else Outpoint(ZERO_HASH, 0)
        message = replace(it_res.decode(iteration(chain, MINERS[0], 3)), ticket=ticket)
        messages = in_order([*peers(lucky), sign_message(message, group().task, MINERS[0]).encode()])
        with pytest.raises(InvalidProof, match="not of a miner of the task"):
            job(naming(lucky, messages), messages)

    def test_a_message_is_not_signed_by_its_miner(self, lucky):
        first, *rest = peers(lucky)
        forged = sign_message(it_res.decode(first), group().task, 9).encode()
        messages = in_order([forged, *rest])
        with pytest.raises(InvalidProof):
            job(naming(lucky, messages), messages)

    def test_a_message_is_of_another_task(self, lucky):
        message = it_res.decode(iteration(group().chain, MINERS[1], 3))
        other = replace(message, task_prefix=bytes(16))
        messages = in_order([*peers(lucky), sign_message(other, group().task, MINERS[1]).encode()])
        with pytest.raises(InvalidMessage, match="another task"):
            job(naming(lucky, messages), messages)

    @pytest.mark.parametrize("data", [b"", b"junk", b"\x81\x80"])
    def test_what_is_no_list_is_refused(self, lucky, data):
        with pytest.raises(InvalidInput):
            replaying.replay_job(lucky, data, group().chain.state)

    def test_what_is_no_message_is_refused(self, lucky):
        messages = in_order([*peers(lucky), b"junk"])
        with pytest.raises(InvalidMessage):
            job(naming(lucky, messages), messages)


class TestJudging:
    def test_an_honest_iteration_is_approved(self, lucky):
        found = verdict(lucky)
        assert found.reason == ""
        assert it_res.nonce(found.precursor) == lucky.message.nonce

    def test_another_miners_too(self):
        other = replaying.lucky_iteration(group().blocks[group().accounts[1]][0])
        blobs = group().nodes[group().accounts[1]].blobs
        data = b"".join(blobs.get(other.message.applied))
        replayed = Worker(blobs).run(replaying.replay_job(other, data, group().chain.state))
        assert replaying.judge(other, replayed).reason == ""

    def test_updates_were_left_out(self, lucky):
        """The miner names what it applied truly, but trained on something else."""
        fewer = peers(lucky)[1:]
        found = verdict(naming(lucky, fewer), messages=fewer)
        assert found.reason != ""

    def test_the_map_has_one_element_changed(self, lucky):
        found = verdict(with_message(lucky, message_map=EMPTY_MAP))
        assert found.reason.startswith("message map at layer")

    @pytest.mark.parametrize(("index", "name"), [(0, "accuracy"), (1, "loss")])
    def test_a_metric_has_one_bit_changed(self, lucky, index, name):
        metrics = list(lucky.message.metrics)
        metrics[index] ^= 1
        found = verdict(with_message(lucky, metrics=tuple(metrics)))
        assert found.reason.startswith(f"metric {name}")

    def test_it_starts_from_a_state_that_the_iteration_before_did_not_end_with(self, lucky):
        previous = replace(lucky.previous, nonce=flip(lucky.previous.nonce))
        found = verdict(replace(lucky, previous=previous))
        assert found.reason == "the starting state is not the one that the iteration before ended with"

    def test_the_map_of_the_iteration_before_is_part_of_that_state(self, lucky):
        previous = replace(lucky.previous, message_map=EMPTY_MAP)
        assert "starting state" in verdict(replace(lucky, previous=previous)).reason

    def test_an_honest_iteration_from_a_state_of_ones_own_choice(self, lucky):
        """Everything follows from where it starts; only that start is not where the miner had come to."""
        blobs = Blobs()
        for chunks in prepared().values():
            blobs.put(chunks, shared=False)
        worker, known = Worker(blobs), group().chain.task(group().task)
        plan = schedule.make_schedule(known.definition, known.definition_block)
        worker.run(jobs.Open("own", known.definition.encode(), label("seed"), plan.training, None))
        step = worker.run(jobs.Step("own", jobs.Position(1, 0, 6), 0, ()))
        worker.run(jobs.KeepCapsule("own", step.before, step.batch))
        chosen = with_message(
            naming(lucky, []),
            weights=step.before.weights,
            residual=step.before.residual,
            batch=step.batch,
            message_map=step.message_map,
            metrics=step.metrics,
            nonce=it_res.nonce(it_res.precursor(step.after, step.message_map)),
        )
        found = verdict(chosen, blobs, messages=[])
        assert found.reason == "the starting state is not the one that the iteration before ended with"

    def test_the_nonce_is_another(self, lucky):
        found = verdict(with_message(lucky, nonce=flip(lucky.message.nonce)))
        assert found.reason == "the nonce is not the one that the replayed state gives"

    def test_a_part_that_is_malformed_is_the_miners_fault(self, lucky):
        blobs = Blobs()
        for name in lucky.parts():
            blobs.put(store().get(name), shared=True)
        broken = blobs.put((b"no weights",), shared=True)
        found = verdict(with_message(lucky, weights=broken), blobs)
        assert found.reason.startswith("malformed capsule")

    def test_what_is_not_there_is_no_verdict(self, lucky):
        result = Worker(Blobs()).run(job(lucky))
        assert isinstance(result, jobs.Failed)
