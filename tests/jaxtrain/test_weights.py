"""Models, residuals and optimiser states as bytes: read as written, and anything else refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds import KINDS, SEED
from safetensors.numpy import load

from p2pai.chain.training import Adam, Momentum, RmsProp, Sgd
from p2pai.jaxtrain import weights
from p2pai.jaxtrain.model import Architecture
from p2pai.jaxtrain.worker import initial_values
from p2pai.primitives.errors import InvalidMessage

TASK = KINDS["two classes"]
NET = Architecture.of(TASK)
VALUES = initial_values(TASK, SEED)
MODEL = weights.pack([*VALUES.weights, *VALUES.statistics])
COUNT = NET.weight_count
OPTIMISERS = [Sgd(1), Momentum(1, 0, nesterov=False), RmsProp(1, 0, 1), Adam(1, 0, 0, 1, 0)]


def changed(data, offset, value, dtype):
    raw = np.array(value, dtype).tobytes()
    return data[:offset] + raw + data[offset + len(raw) :]


def test_a_model_is_its_weights_then_its_statistics():
    leaves, statistics = weights.unpack_model(MODEL, NET)
    assert len(MODEL) == 4 * COUNT + 8 * 24
    for found, wanted in zip((*leaves, *statistics), (*VALUES.weights, *VALUES.statistics), strict=True):
        assert found.dtype == wanted.dtype
        assert np.array_equal(found, wanted)


@pytest.mark.parametrize(
    "value",
    [
        2.0**-21, 1 + 2.0**-21, 16.0, -16.0, np.nan, np.inf, -np.inf, -0.0, 2.0**-149, -(2.0**-130), 1e38,
        15.99999999,
    ],
)  # fmt: skip
def test_a_weight_off_the_grid_is_refused(value):
    with pytest.raises(InvalidMessage, match="not on the grid"):
        weights.unpack_model(changed(MODEL, 40, value, "<f4"), NET)


@pytest.mark.parametrize("units", [(1 << 24) - 1, 1 - (1 << 24), 1, -1, 0])
def test_weights_on_the_grid_are_taken(units):
    data = changed(MODEL, 40, units * 2.0**-20, "<f4")
    assert weights.pack(sum(weights.unpack_model(data, NET), start=())) == data


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, 2**45 + 1),
        (0, -(2**45) - 1),
        (12, -1),
        (12, 2**45 + 1),
        (0, -(2**63)),
        (23, -(2**63)),
        (0, 2**63 - 1),
    ],
)
def test_statistics_out_of_range_are_refused(place, value):
    with pytest.raises(InvalidMessage, match="statistic"):
        weights.unpack_model(changed(MODEL, 4 * COUNT + 8 * place, value, "<i8"), NET)


@pytest.mark.parametrize(("place", "value"), [(0, 2**45), (0, -(2**45)), (12, 0), (12, 2**45)])
def test_statistics_at_their_edges_are_taken(place, value):
    data = changed(MODEL, 4 * COUNT + 8 * place, value, "<i8")
    assert weights.unpack_model(data, NET)[1][place // 12][place % 12] == value


@pytest.mark.parametrize("data", [b"", MODEL[:-1], MODEL + b"\0", MODEL + MODEL])
def test_a_model_of_another_size_is_refused(data):
    with pytest.raises(InvalidMessage, match="bytes, expected"):
        weights.unpack_model(data, NET)


@settings(deadline=None)
@given(st.binary(min_size=len(MODEL), max_size=len(MODEL)))
def test_any_bytes_are_a_model_that_is_written_the_same_or_refused(data):
    try:
        leaves, statistics = weights.unpack_model(data, NET)
    except InvalidMessage:
        return
    assert weights.pack([*leaves, *statistics]) == data


def test_residuals_take_all_values_but_one():
    data = np.array([2**31 - 1, 1 - 2**31, *[0] * (COUNT - 2)], "<i4").tobytes()
    assert weights.pack(weights.unpack_residual(data, NET)) == data
    with pytest.raises(InvalidMessage, match="beyond the grid"):
        weights.unpack_residual(changed(data, 8, -(2**31), "<i4"), NET)
    with pytest.raises(InvalidMessage, match="bytes, expected"):
        weights.unpack_residual(data[:-4], NET)


LIMITS = {
    "momentum": (OPTIMISERS[1], 0, "<i4", 1 - 2**31, 2**31 - 1, [-(2**31)]),
    "mean square": (OPTIMISERS[2], 0, "<i8", 0, 2**60, [-1, 2**60 + 1, -(2**63), 2**63 - 1]),
    "mean": (OPTIMISERS[3], 0, "<i4", -(2**30), 2**30, [-(2**30) - 1, 2**30 + 1, -(2**31)]),
    "mean square of adam": (OPTIMISERS[3], 4 * COUNT, "<i8", 0, 2**60, [-1, 2**60 + 1]),
}


@pytest.mark.parametrize("name", LIMITS)
def test_optimisers_states_have_their_limits(name):
    optimiser, offset, dtype, least, greatest, beyond = LIMITS[name]
    size = {Momentum: 4, RmsProp: 8, Adam: 12}[type(optimiser)] * COUNT
    for value in (least, greatest):
        data = changed(bytes(size), offset + 16, value, dtype)
        slots = weights.unpack_optimiser(data, NET, optimiser)
        assert weights.pack([leaf for slot in slots for leaf in slot]) == data
    for value in beyond:
        with pytest.raises(InvalidMessage, match="out of range"):
            weights.unpack_optimiser(changed(bytes(size), offset + 16, value, dtype), NET, optimiser)


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=str)
def test_a_state_of_another_size_is_refused(optimiser):
    with pytest.raises(InvalidMessage, match="optimiser state"):
        weights.unpack_optimiser(bytes(7), NET, optimiser)
    assert weights.unpack_optimiser(b"", NET, OPTIMISERS[0]) == ()


def test_a_network_without_statistics_has_none():
    net = Architecture.of(KINDS["dense"])
    leaves, statistics = weights.unpack_model(bytes(4 * net.weight_count), net)
    assert statistics == ()
    assert [leaf.shape for leaf in leaves] == list(net.shapes)


def test_the_exported_file_names_every_tensor_and_is_always_the_same():
    leaves, statistics = weights.unpack_model(MODEL, NET)
    files = {weights.export_safetensors(leaves, statistics, NET) for _ in range(5)}
    assert len(files) == 1
    tensors = load(files.pop())
    assert set(tensors) == {*NET.names, *NET.statistic_names}
    assert all(tensor.dtype == np.float32 for tensor in tensors.values())
    assert np.array_equal(tensors["layer0/kernel"], leaves[0])
    assert tensors["layer1/variance"].tolist() == [1.0] * 12
