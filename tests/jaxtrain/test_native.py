"""Training in the platform's own floats, through the same iteration as the exact one."""

from dataclasses import replace

import numpy as np
import pytest
from kinds import KINDS, SAMPLES, SEED, chunks_of, peers_of

from p2pai import jobs
from p2pai.chain.training import Numerics, Sgd
from p2pai.jaxtrain import message_map, replay
from p2pai.jaxtrain.session import Session, State
from p2pai.jaxtrain.step import GRADIENT_MAX
from p2pai.jaxtrain.worker import initial_values

SLOW = Sgd(10_000)


@pytest.mark.parametrize("kind", ["images", "distances"])
def test_an_iteration_is_nearly_the_exact_one(kind):
    exact, native = (residual_after(replace(KINDS[kind], numerics=n, optimiser=SLOW), kind) for n in Numerics)
    assert np.max(np.abs(exact - native)) < 0.02 * np.max(np.abs(exact))


def residual_after(task, kind):
    """Return the residual after an iteration whose gradient is too small to emit anything."""
    session = Session(task, SEED, State(initial_values(task, SEED)), chunks_of(kind))
    peers = [jobs.PeerUpdate(bits, message_map.encode(signs)) for bits, signs in peers_of(task, 0)]
    _, outcome, _ = session.step(jobs.Position(1, 0, 6), 0, peers)
    assert outcome.score.samples == SAMPLES
    assert message_map.element_count(outcome.message_map) == 0
    return np.concatenate([np.ravel(leaf) for leaf in session.state.values.residual]).astype(np.float64)


def test_states_keep_their_grids_whatever_the_gradient_is():
    """A gradient that is no number must not leave one in the state, or nobody could go on."""
    task = replace(KINDS["squares"], numerics=Numerics.NATIVE)
    values = initial_values(task, SEED)
    huge = values._replace(weights=tuple(np.full_like(w, 15.9) for w in values.weights))
    session = Session(task, SEED, State(huge), chunks_of("squares"))
    session.step(jobs.Position(1, 0, 8), 0, [])
    for leaf in session.state.values.residual:
        assert np.all(np.abs(np.asarray(leaf).astype(np.int64)) < 2**31)
    assert np.isfinite(GRADIENT_MAX)
    assert replay.read_values(task, *session.state.blobs)
