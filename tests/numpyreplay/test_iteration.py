"""What is sent of a residual, and that large models send no more than a message holds."""

from dataclasses import replace

import kinds
import numpy as np

from p2pai.chain.layers import Dense
from p2pai.chain.task import MAP_ELEMENTS_MAX
from p2pai.jobs import Position
from p2pai.numpyreplay import batch, model, optimiser
from p2pai.numpyreplay.iteration import State, iterate
from p2pai.numpyreplay.layers import Draws
from p2pai.primitives.ids import Hash32

SEED = Hash32(bytes(32))
UNIT = 1 << 16  # tau = 2^-10 in units of 2^-26


def iterated(task, residual):
    # A rate of 0 and no peers: what was there before is all there is.
    first = model.initial(replace(task, optimiser=kinds.DENSE.optimiser), SEED)
    state = State(first, residual, optimiser.initial(task.optimiser, len(residual)))
    samples = batch.decode(kinds.chunk_of(task, 0), task.dataset)
    silent = replace(samples, features=0 * samples.features)
    draws = Draws(SEED, Position(1, 0, 10), SEED)
    return iterate(task, state, silent, draws, np.zeros_like(residual))


def test_exactly_tau_sends_nothing():
    residual = np.zeros(kinds.DENSE.weight_count, np.int64)
    residual[:4] = [UNIT, UNIT + 1, -UNIT, -UNIT - 1]
    found = iterated(kinds.DENSE, residual)
    assert found.signs[:4].tolist() == [0, 1, 0, -1]
    assert found.state.residual[:4].tolist() == [UNIT, 1, -UNIT, -1]
    moved = found.state.model.weights - model.initial(kinds.DENSE, SEED).weights
    assert moved[:4].tolist() == [0, -1024, 0, 1024]


def test_a_large_model_sends_only_what_a_message_holds():
    task = replace(kinds.DENSE, layers=(Dense(4000), Dense(10)))
    assert task.weight_count > 250_000
    residual = np.zeros(task.weight_count, np.int64)
    residual[:40_000] = 3 * UNIT
    residual[100:14_000] = -4 * UNIT - 1
    found = iterated(task, residual)
    sent = np.flatnonzero(found.signs)
    assert 0 < len(sent) <= MAP_ELEMENTS_MAX
    assert sent[:13_900].tolist() == list(range(100, 14_000))
    assert found.state.residual[100] == -3 * UNIT - 1
    assert found.state.residual[0] == 3 * UNIT
