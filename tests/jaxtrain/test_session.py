"""A session between its steps: what it hashes, keeps, and refuses."""

from dataclasses import replace

import numpy as np
import pytest
from kinds import DENSE, SEED, chunk_of, peers_of

from p2pai import jobs
from p2pai.chain.it_res import witness
from p2pai.chain.layers import Activation, Dense, Function
from p2pai.jaxtrain import message_map
from p2pai.jaxtrain.session import CAPSULES_KEPT, Session, State, witness_of
from p2pai.jaxtrain.worker import initial_values
from p2pai.primitives import blob
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.merkle import leaf_hash

TASK = replace(DENSE, layers=(Dense(6), Activation(Function.RELU), Dense(10)))
CHUNKS = [chunk_of(TASK, i) for i in range(3)]


def opened(**options):
    return Session(TASK, SEED, State(initial_values(TASK, SEED)), CHUNKS, **options)


def position(i):
    return jobs.Position(1, i, 8)


def updates(i):
    return tuple(jobs.PeerUpdate(bits, message_map.encode(signs)) for bits, signs in peers_of(TASK, i))


def run(session, count=4):
    return [session.step(position(i), i % 3, updates(i)) for i in range(count)]


def test_content_ids_are_those_of_the_blobs():
    session = opened()
    for i in range(2):
        _, _, end = session.step(position(i), i, updates(i))
        ids = session.state.ids
        assert (end.weights, end.residual, end.optimiser) == (ids.weights, ids.residual, ids.optimiser)
    model, residual, optimiser = session.state.blobs
    assert [blob.blob_id_of(part) for part in (model, residual, optimiser)] == [
        ids.weights,
        ids.residual,
        ids.optimiser,
    ]
    assert end.witness == witness(blob.cut(residual)[0]) == witness_of(session.state.values)


def test_a_witness_covers_the_first_chunk_alone():
    leaf = np.arange(300_000, dtype=np.int32)
    values = initial_values(TASK, SEED)._replace(residual=(leaf, leaf))
    assert witness_of(values) == witness(leaf.tobytes()[: blob.CHUNK_SIZE_MAX])
    short = values._replace(residual=(leaf[:100_000], leaf))
    assert witness_of(short) == witness((leaf[:100_000].tobytes() + leaf.tobytes())[: blob.CHUNK_SIZE_MAX])


def test_steps_that_overlap_give_what_steps_one_by_one_give():
    one_by_one, ahead = opened(), opened()
    wanted = [(outcome.message_map, end) for _, outcome, end in run(one_by_one)]
    pending = [ahead.begin(position(i), i % 3, updates(i)) for i in range(4)]
    assert [(outcome.message_map, end) for _, outcome, end in (p.finish() for p in pending)] == wanted


def test_a_step_that_was_started_is_the_one_that_is_asked_for():
    session, plain = opened(), opened()
    for i in range(3):
        session.start(position(i), i, updates(i))
    assert [session.step(position(i), i, updates(i))[2] for i in range(3)] == [
        end for _, _, end in run(plain, 3)
    ]
    session.start(position(3), 0, ())
    with pytest.raises(InvalidInput, match="another step"):
        session.step(position(3), 1, ())


def test_what_is_settled_is_what_the_last_answered_step_ended_with():
    session = opened()
    before = session.settled.ids
    first = session.begin(position(0), 0, ())
    second = session.begin(position(1), 1, ())
    assert session.settled.ids == before
    assert session.state is second.after
    first.finish()
    assert session.settled is first.after
    second.finish()
    assert session.settled is session.state


def test_recent_steps_have_capsules():
    session = opened()
    starts = [session.step(position(i), i % 3, ())[0] for i in range(CAPSULES_KEPT + 1)]
    batches = [leaf_hash(start.chunk) for start in starts]
    assert session.capsule(starts[1].before.ids, batches[1]) is starts[1]
    assert starts[1].chunk == CHUNKS[1]
    for gone in ((starts[0].before.ids, batches[0]), (starts[1].before.ids, batches[0])):
        with pytest.raises(InvalidInput, match="no recent step"):
            session.capsule(*gone)


def test_what_nobody_checks_is_not_kept():
    session, plain = opened(is_recorded=False), opened()
    start = session.step(position(0), 0, ())[0]
    plain.step(position(0), 0, ())
    assert session.state.ids == plain.state.ids
    with pytest.raises(InvalidInput, match="no recent step"):
        session.capsule(start.before.ids, leaf_hash(start.chunk))


def test_a_refused_step_changes_nothing():
    session = opened()
    run(session, 1)
    state = session.state
    for batch, peers in (
        (3, ()),
        (-1, ()),
        (0, (jobs.PeerUpdate(8, b"\0\1"),)),
        (0, (jobs.PeerUpdate(5, b"\0\0"),)),
    ):
        with pytest.raises(InvalidInput):
            session.step(position(1), batch, peers)
        with pytest.raises(InvalidInput):
            session.start(position(1), batch, peers)
    assert session.state is state
    session.step(position(1), 1, ())


def test_validation_is_of_all_batches_together():
    session = opened()
    parts = [session.validate([i]) for i in range(3)]
    assert session.validate(range(3)) == sum(parts[1:], start=parts[0])
    assert session.validate([]).samples == 0
    with pytest.raises(InvalidInput, match="batch 3 does not exist, there are 3"):
        session.validate([0, 3])


def test_a_session_needs_sound_mini_batches():
    state = State(initial_values(TASK, SEED))
    with pytest.raises(InvalidInput, match="no mini-batch"):
        Session(TASK, SEED, state, [])
    with pytest.raises(InvalidInput, match="mini-batch"):
        Session(TASK, SEED, state, [CHUNKS[0], CHUNKS[1][:-1]])


def test_batches_are_counted_and_weights_too():
    assert (opened().batch_count, opened().weight_count) == (3, TASK.weight_count)
