"""A replay finds every tampering and says where; what it cannot compute is the recorder's fault."""

from dataclasses import replace

import numpy as np
import pytest
from kinds import KINDS, SAMPLES, SEED, chunks_of, peers_of, signs_of

from p2pai import jobs
from p2pai.chain.training import Numerics
from p2pai.jaxtrain import message_map, replay
from p2pai.jaxtrain.model import Architecture
from p2pai.jaxtrain.platform import fingerprint
from p2pai.jaxtrain.replay import NOTHING, Capsule, compare_maps, compare_metrics
from p2pai.jaxtrain.session import Session, State
from p2pai.jaxtrain.worker import initial_values
from p2pai.primitives.ids import ZERO_HASH, BlobId, Hash32

TASK = KINDS["two classes"]
NET = Architecture.of(TASK)
COUNT = NET.weight_count
WEIGHTS, MEANS = 4 * COUNT, 8 * 12


@pytest.fixture(scope="module")
def recorded():
    """A capsule, the replay that checks it, and what the iteration ended with."""
    session = Session(TASK, SEED, State(initial_values(TASK, SEED)), chunks_of("two classes"))
    peers = tuple(jobs.PeerUpdate(bits, message_map.encode(signs)) for bits, signs in peers_of(TASK, 1))
    session.step(jobs.Position(1, 0, 8), 0, peers)
    position = jobs.Position(1, 1, 9)
    start, outcome, end = session.step(position, 1, peers)
    job = jobs.Replay(
        task=TASK.encode(),
        seed=SEED,
        position=position,
        before=start.before.ids,
        batch=Hash32(bytes(32)),
        peers=peers,
        message_map=outcome.message_map,
        metrics=outcome.score.bits(TASK.metrics),
        samples=SAMPLES,
        platform=ZERO_HASH,
    )
    return Capsule(*start.before.blobs, start.chunk), job, end


def changed(data, offset, value, dtype):
    raw = np.array(value, dtype).tobytes()
    return data[:offset] + raw + data[offset + len(raw) :]


def test_an_honest_record_comes_out_again(recorded):
    capsule, job, end = recorded
    assert message_map.element_count(job.message_map) > 0
    assert replay.replay(TASK, capsule, job) == (end, "")


def with_sign(job, index, sign):
    signs = message_map.decode(job.message_map, COUNT).copy()
    signs[index] = sign
    return replace(job, message_map=message_map.encode(signs))


def test_a_changed_record_is_located(recorded):
    capsule, job, end = recorded
    signs = message_map.decode(job.message_map, COUNT)
    quiet, loud = (int(np.flatnonzero(found)[3]) for found in (signs == 0, signs))
    flip = (job.metrics[0] ^ 1, *job.metrics[1:])
    cases = {
        f"message map at {NET.locate(quiet)}: recorded +1, replayed nothing": with_sign(job, quiet, 1),
        f"message map at {NET.locate(loud)}: recorded nothing, replayed {signs[loud]:+d}": with_sign(
            job, loud, 0
        ),
        f"message map at {NET.locate(loud)}: recorded {-signs[loud]:+d}": with_sign(job, loud, -signs[loud]),
        "recorded message map: ": replace(job, message_map=job.message_map + b"\0"),
        f"metric accuracy: recorded {flip[0]:#010x}, replayed {job.metrics[0]:#010x}": replace(
            job, metrics=flip
        ),
        "metric loss: ": replace(job, metrics=(*job.metrics[:2], job.metrics[2] ^ 1)),
        "2 metrics recorded, 3 replayed": replace(job, metrics=job.metrics[:2]),
    }
    for said, tampered in cases.items():
        after, difference = replay.replay(TASK, capsule, tampered)
        assert difference.startswith(said), (said, difference)
        assert after == end


def test_a_capsule_that_is_malformed_is_named(recorded):
    capsule, job, _ = recorded
    cases = {
        "model: a weight": replace(capsule, weights=changed(capsule.weights, 28, 2.0**-21, "<f4")),
        "model: a running": replace(capsule, weights=changed(capsule.weights, WEIGHTS + MEANS, -1, "<i8")),
        "model: ": replace(capsule, weights=capsule.weights + bytes(4)),
        "residual: a value": replace(capsule, residual=changed(capsule.residual, 28, -(2**31), "<i4")),
        "residual: ": replace(capsule, residual=capsule.residual[:-4]),
        "optimiser state: a value": replace(
            capsule, optimiser=changed(capsule.optimiser, WEIGHTS, -1, "<i8")
        ),
        "optimiser state: ": replace(capsule, optimiser=b"x"),
        "mini-batch: not": replace(capsule, batch=b"P2MX" + capsule.batch[4:]),
        "mini-batch: a label": replace(capsule, batch=capsule.batch[:-2] + b"\2\0"),
    }
    for said, tampered in cases.items():
        after, difference = replay.replay(TASK, tampered, job)
        assert difference.startswith(f"malformed capsule: {said}"), (said, difference)
        assert after == NOTHING


def test_a_job_that_cannot_be_done_is_named(recorded):
    capsule, job, _ = recorded
    last = job.peers[-1]
    cases = {
        "the batch has 12 samples, the task wants 11": replace(job, samples=11),
        "message map": replace(job, peers=(*job.peers, replace(last, message_map=b"\7"))),
        "a peer's tau": replace(job, peers=(*job.peers, replace(last, tau_bits=5))),
        "tau is out of range": replace(job, position=replace(job.position, tau_bits=19)),
        "there is no such epoch": replace(job, position=replace(job.position, epoch=0)),
    }
    for said, asked in cases.items():
        after, difference = replay.replay(TASK, capsule, asked)
        assert difference.startswith(f"malformed capsule: {said}"), (said, difference)
        assert after == NOTHING


def test_the_smallest_change_of_the_start_shows_in_the_end(recorded):
    """A change too small for map and metrics still gives another state: the nonce is bound to it."""
    capsule, job, end = recorded
    units = float(np.frombuffer(capsule.weights, "<f4", 1)[0]) * 2**20
    tampered = [
        (replace(capsule, weights=changed(capsule.weights, 0, (units + 1) * 2.0**-20, "<f4")), job),
        (replace(capsule, residual=changed(capsule.residual, 0, 1, "<i4")), job),
        (replace(capsule, optimiser=changed(capsule.optimiser, 0, 1, "<i4")), job),
        (capsule, replace(job, peers=job.peers[:1])),
        (capsule, replace(job, peers=(*job.peers, job.peers[0]))),
        (capsule, replace(job, position=replace(job.position, tau_bits=10))),
        (capsule, replace(job, position=replace(job.position, iteration=2))),
    ]
    ends = [replay.replay(TASK, *both)[0] for both in tampered]
    assert end not in ends
    assert NOTHING not in ends


def test_the_order_of_the_peers_does_not_matter(recorded):
    capsule, job, end = recorded
    assert replay.replay(TASK, capsule, replace(job, peers=job.peers[::-1])) == (end, "")


def test_native_numerics_are_replayed_on_their_own_platform_alone(recorded):
    capsule, job, _ = recorded
    native = replace(TASK, numerics=Numerics.NATIVE)
    after, difference = replay.replay(native, capsule, job)
    assert after == NOTHING
    assert "only be replayed on the platform" in difference
    after, difference = replay.replay(
        native, replace(capsule, batch=b""), replace(job, platform=fingerprint())
    )
    assert difference.startswith("malformed capsule: mini-batch")


def test_equal_maps_and_metrics_have_no_difference():
    data = message_map.encode(signs_of(TASK, 1))
    assert compare_maps(data, data, NET) == ""
    assert compare_metrics((1, 2), (1, 2), ("loss", "accuracy")) == ""
    assert compare_metrics((1, 2), (1, 3), ("loss", "accuracy")).startswith("metric accuracy")


def test_nothing_is_no_state():
    assert NOTHING.weights == BlobId(ZERO_HASH)
