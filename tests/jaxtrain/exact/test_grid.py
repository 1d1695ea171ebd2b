"""Weights and residuals on their grids, and what happens at the edges."""

import exact_oracle as oracle
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensors import same

from p2pai.chain.task import MAP_DENSE_WEIGHTS_MAX, MAP_ELEMENTS_MAX
from p2pai.chain.training import TAU_BITS
from p2pai.jaxtrain.exact import grid

QUICK = settings(max_examples=60, deadline=None)
MOVE, ACCUMULATE = jax.jit(grid.move), jax.jit(grid.accumulate)
EMIT = jax.jit(lambda residuals, bits: grid.emit(residuals, bits, None))
EMIT_FEW = jax.jit(lambda residuals, bits, most: grid.emit(residuals, bits, most), static_argnums=2)
WEIGHT_MAX, RESIDUAL_MAX = grid.WEIGHT_UNITS_MAX, grid.RESIDUAL_UNITS_MAX
COUNT = 8

UNITS = st.integers(-WEIGHT_MAX, WEIGHT_MAX) | st.sampled_from([WEIGHT_MAX, -WEIGHT_MAX, 0, 1, -1])
SHIFTS = st.integers(-(2**30), 2**30) | st.sampled_from([2**30, -(2**30), 2**24, -(2**24), 1, -1])
RESIDUALS = st.integers(-RESIDUAL_MAX, RESIDUAL_MAX) | st.sampled_from(
    [
        RESIDUAL_MAX,
        -RESIDUAL_MAX,
        0,
        1,
        -1,
        *(s * (2 ** (26 - b) + i) for s in (1, -1) for b in TAU_BITS for i in (0, 1)),
    ]
)


def many(numbers):
    return st.lists(numbers, min_size=COUNT, max_size=COUNT)


@QUICK
@given(many(UNITS), many(SHIFTS))
def test_weights_move_as_the_oracles_and_stop_at_the_edge(units, shifts):
    weights = np.float32(np.array(units) * 2.0**-20)
    found = MOVE(weights, np.array(shifts, np.int32))
    same(found, oracle.each(oracle.move, oracle.exact(weights), np.array(shifts, object)))


@QUICK
@given(many(RESIDUALS), many(RESIDUALS))
def test_residuals_accumulate_as_the_oracles_and_stop_at_the_edge(residuals, contributions):
    found = ACCUMULATE(np.array(residuals, np.int32), np.array(contributions, np.int32))
    same(found, [oracle.accumulate(r, c) for r, c in zip(residuals, contributions, strict=True)])


def test_every_pair_of_edges_of_a_residual():
    edges = [RESIDUAL_MAX, RESIDUAL_MAX - 1, 1, 0, -1, 1 - RESIDUAL_MAX, -RESIDUAL_MAX]
    pairs = [(a, b) for a in edges for b in edges]
    found = grid.accumulate(*(np.array(side, np.int32) for side in zip(*pairs, strict=True)))
    assert found.tolist() == [oracle.accumulate(a, b) for a, b in pairs]


@pytest.mark.parametrize("sign", [1, -1])
def test_the_most_maps_of_the_largest_tau_move_a_weight_to_the_edge(sign):
    shift = sign * grid.MAP_COUNT_MAX << (20 - TAU_BITS[0])
    for start in (WEIGHT_MAX, 0, -WEIGHT_MAX):
        moved = MOVE(np.full(COUNT, start * 2.0**-20, np.float32), np.full(COUNT, shift, np.int32))
        assert moved.tolist() == [-sign * WEIGHT_MAX * 2.0**-20] * COUNT


def test_an_update_back_and_forth_leaves_no_trace():
    weights = np.float32(np.arange(COUNT) * 2.0**-20)
    shift = np.full(COUNT, 1 << 14, np.int32)
    assert np.array_equal(MOVE(MOVE(weights, shift), -shift), weights)


@pytest.mark.parametrize("bits", TAU_BITS)
def test_signs_become_units(bits):
    signs = np.array([-1, 0, 1], np.int8)
    assert grid.shift_of(signs, bits).tolist() == [-(2 ** (20 - bits)), 0, 2 ** (20 - bits)]


@QUICK
@given(many(RESIDUALS), st.sampled_from(TAU_BITS))
def test_updates_are_the_oracles(residuals, bits):
    leaves = (np.array(residuals[:3], np.int32), np.array(residuals[3:], np.int32))
    left, signs = EMIT(leaves, np.int32(bits))
    wanted = oracle.emit(residuals, bits)
    assert np.concatenate(left).tolist() == wanted[0]
    assert np.concatenate(signs).tolist() == wanted[1]
    assert signs[0].dtype == np.int8


@pytest.mark.parametrize("bits", TAU_BITS)
def test_exactly_tau_emits_nothing(bits):
    tau = 1 << (26 - bits)
    residuals = np.array([tau, tau + 1, -tau, -tau - 1, RESIDUAL_MAX, -RESIDUAL_MAX, 0, 1], np.int32)
    (left,), (signs,) = EMIT((residuals,), np.int32(bits))
    assert signs.tolist() == [0, 1, 0, -1, 1, -1, 0, 0]
    assert left.tolist() == [tau, 1, -tau, -1, RESIDUAL_MAX - tau, tau - RESIDUAL_MAX, 0, 1]


@QUICK
@given(many(RESIDUALS), st.sampled_from(TAU_BITS), st.sampled_from([0, 1, 3, 7]))
def test_a_bounded_map_takes_the_smallest_threshold_that_fits(residuals, bits, most):
    leaves = (np.array(residuals[:3], np.int32), np.array(residuals[3:], np.int32))
    left, signs = EMIT_FEW(leaves, np.int32(bits), most)
    wanted = oracle.emit(residuals, bits, most)
    assert np.concatenate(left).tolist() == wanted[0]
    assert np.concatenate(signs).tolist() == wanted[1]
    assert np.count_nonzero(np.concatenate(signs)) <= most


def test_residuals_that_are_all_at_the_edge_emit_nothing_when_they_must_be_few():
    residuals = (np.full(COUNT, RESIDUAL_MAX, np.int32), np.full(COUNT, -RESIDUAL_MAX, np.int32))
    left, signs = EMIT_FEW(residuals, np.int32(6), 3)
    assert not np.any(np.concatenate(signs))
    assert np.array_equal(np.concatenate(left), np.concatenate(residuals))


def test_a_map_of_every_kind_of_model_fits_a_message():
    """A list of 4 bytes an element for large models, 2 bits a weight for small ones: both 64 kB at most."""
    assert 4 * MAP_ELEMENTS_MAX <= 60_000
    assert MAP_DENSE_WEIGHTS_MAX // 4 <= 62_500
