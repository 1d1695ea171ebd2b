"""Initial weights: the oracle's, on the grid, and spread as the textbooks say."""

import hashlib

import exact_oracle as oracle
import numpy as np
import oracle_training
import pytest
from kinds import KINDS, SEED
from tensors import same

from p2pai.chain.layers import Dense
from p2pai.chain.training import Adam, Distribution, Fan, Initialiser, Momentum, RmsProp, Sgd
from p2pai.jaxtrain.exact.grid import WEIGHT_UNITS_MAX
from p2pai.jaxtrain.initialiser import (
    initial_optimiser,
    initial_residual,
    initial_statistics,
    initial_weights,
)
from p2pai.jaxtrain.model import Architecture
from p2pai.jaxtrain.weights import pack
from p2pai.primitives.ids import Hash32

WIDE = Architecture((64,), (Dense(100),))


@pytest.mark.parametrize("kind", ["images", "activations", "residual"])
def test_everything_that_training_begins_with_is_the_oracles(kind):
    task = KINDS[kind]
    architecture, wanted = Architecture.of(task), oracle_training.initial(task, SEED)
    found = initial_weights(architecture, task.initialiser, SEED)
    for leaf, expected in zip(found, wanted.weights.values(), strict=True):
        same(leaf, expected)
    for leaf, expected in zip(initial_statistics(architecture), wanted.statistics.values(), strict=True):
        same(leaf, expected)
    assert tuple(wanted.weights) == architecture.names
    assert tuple(wanted.statistics) == architecture.statistic_names


@pytest.mark.parametrize("distribution", Distribution)
@pytest.mark.parametrize(("fan", "divisor"), [(Fan.IN, 64), (Fan.OUT, 100), (Fan.AVERAGE, 82), (Fan.ONE, 1)])
def test_the_variance_is_what_was_asked_for(distribution, fan, divisor):
    kernel = initial_weights(WIDE, Initialiser(distribution, fan, 2_000_000), SEED)[0].astype(np.float64)
    assert np.mean(kernel) == pytest.approx(0, abs=0.05 * np.std(kernel))
    assert np.var(kernel) == pytest.approx(2 / divisor, rel=0.05)
    units = kernel * 2**20
    assert np.array_equal(units, np.rint(units))
    if distribution is Distribution.UNIFORM:
        assert 0.99 * np.max(np.abs(kernel)) < (6 / divisor) ** 0.5
        assert np.max(np.abs(kernel)) <= (6 / divisor) ** 0.5


def test_the_widest_weights_stop_at_the_edge():
    wider = Architecture((64,), (Dense(1000),))  # the edge is 4 standard deviations out
    kernel = initial_weights(wider, Initialiser(Distribution.NORMAL, Fan.ONE, 16_000_000), SEED)[0]
    units = kernel.astype(np.float64) * 2**20
    assert np.max(np.abs(units)) == WEIGHT_UNITS_MAX
    uniform = initial_weights(WIDE, Initialiser(Distribution.UNIFORM, Fan.ONE, 16_000_000), SEED)[0]
    assert np.max(np.abs(uniform)) < 6.94


def test_no_variance_gives_zeros_without_sign():
    for distribution in Distribution:
        kernel = initial_weights(WIDE, Initialiser(distribution, Fan.IN, 0), SEED)[0]
        same(kernel, np.full(kernel.shape, 0, object))


def test_seeds_and_layers_give_other_weights():
    net = Architecture((8,), (Dense(8), Dense(8)))
    how = Initialiser(Distribution.UNIFORM, Fan.AVERAGE, 1_000_000)
    first, _, second, _ = initial_weights(net, how, SEED)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, initial_weights(net, how, Hash32(bytes(32)))[0])


def test_the_bytes_are_frozen():
    found = initial_weights(WIDE, Initialiser(Distribution.NORMAL, Fan.IN, 1_000_000), SEED)
    assert hashlib.sha256(pack(found)).hexdigest()[:16] == "b64be5987f089884"


@pytest.mark.parametrize(
    ("optimiser", "types"),
    [
        (Sgd(1), []),
        (Momentum(1, 0, nesterov=False), [np.int32]),
        (RmsProp(1, 0, 1), [np.int64]),
        (Adam(1, 0, 0, 1, 0), [np.int32, np.int64]),
    ],
    ids=str,
)
def test_residuals_and_optimisers_begin_at_zero(optimiser, types):
    slots = initial_optimiser(WIDE, optimiser)
    assert [slot[0].dtype for slot in slots] == types
    for leaves in (*slots, initial_residual(WIDE)):
        assert [leaf.shape for leaf in leaves] == [(64, 100), (100,)]
        assert not any(np.any(leaf) for leaf in leaves)
    assert initial_residual(WIDE)[0].dtype == np.int32


def test_the_mean_of_the_twelve_words_is_taken_off():
    assert oracle.Fraction(12 * 65_535, 2) == 393_210
