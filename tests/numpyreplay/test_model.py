"""Bytes of models and residuals, their refusals, and initial weights."""

from dataclasses import replace
from hashlib import shake_256
from math import isqrt

import kinds
import numpy as np
import pytest

from p2pai.chain.layers import BatchNorm, Dense, LayerNorm
from p2pai.chain.training import Distribution, Fan, Initialiser
from p2pai.numpyreplay import model
from p2pai.primitives.errors import InvalidMessage
from p2pai.primitives.ids import Hash32

SEED = Hash32(bytes(range(32)))
TASK = replace(kinds.DENSE, input_shape=(3,), layers=(LayerNorm(), Dense(2), BatchNorm(9)))
COUNT = 3 + 3 + 6 + 2 + 2 + 2


def test_initial_weights_are_read_from_the_stream_of_their_layer():
    found = model.initial(TASK, SEED)
    limit = isqrt((6 * 1_000_000 * 2**40) // (10**6 * 5))
    stream = shake_256(SEED + b"\1\0\0\0kernel").digest(24)
    words = [int.from_bytes(stream[i : i + 4], "little") for i in range(0, 24, 4)]
    kernel = [((u * (2 * limit + 1)) >> 32) - limit for u in words]
    one = 1 << 20
    assert found.weights.tolist() == [one] * 3 + [0] * 3 + kernel + [0] * 2 + [one] * 2 + [0] * 2
    assert found.statistics.tolist() == [0, 0, 1 << 24, 1 << 24]


@pytest.mark.parametrize(("fan", "doubled"), [(Fan.IN, 6), (Fan.OUT, 4), (Fan.AVERAGE, 5), (Fan.ONE, 2)])
def test_initial_weights_of_a_normal_distribution(fan, doubled):
    task = replace(TASK, initialiser=Initialiser(Distribution.NORMAL, fan, 2_000_000))
    deviation = isqrt((2 * 2_000_000 * 2**40) // (10**6 * doubled))
    stream = shake_256(SEED + b"\1\0\0\0kernel").digest(6 * 24)
    for i, weight in enumerate(model.initial(task, SEED).weights[6:12].tolist()):
        words = [int.from_bytes(stream[j : j + 2], "little") for j in range(24 * i, 24 * i + 24, 2)]
        assert weight == ((sum(words) - 393210) * deviation + 2**15) >> 16


def test_models_and_residuals_are_read_as_they_were_written():
    first = model.initial(TASK, SEED)
    again = model.decode(first.encode(), TASK)
    assert again.encode() == first.encode()
    assert len(first.encode()) == 4 * COUNT + 8 * 4
    residual = np.array([-(2**31) + 1] * COUNT, "<i4").tobytes()
    assert model.decode_residual(residual, TASK).tolist() == [-(2**31) + 1] * COUNT


def with_weight(value):
    return np.array([value] * COUNT, "<f4").tobytes() + bytes(32)


def with_statistics(*values):
    return bytes(4 * COUNT) + np.array(values, "<i8").tobytes()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(4 * COUNT + 31),
        with_weight(16),
        with_weight(float("nan")),
        with_weight(float("-inf")),
        with_weight(-0.0),
        with_weight(2.0**-21),
        with_weight(1 + 2.0**-21),
        with_weight(2.0**-140),
        with_statistics(2**45 + 1, 0, 0, 0),
        with_statistics(0, -(2**63), 0, 0),
        with_statistics(0, 0, 0, -1),
    ],
)
def test_what_no_model_has_is_refused(data):
    with pytest.raises(InvalidMessage):
        model.decode(data, TASK)


def test_edges_are_allowed():
    model.decode(with_weight(16 - 2.0**-20), TASK)
    model.decode(with_statistics(2**45, -(2**45), 0, 2**45), TASK)
    with pytest.raises(InvalidMessage):
        model.decode_residual(np.array([-(2**31)] * COUNT, "<i4").tobytes(), TASK)


def test_weights_have_names():
    assert model.name_of(TASK, 0) == "layer0/scale[0]"
    assert model.name_of(TASK, 9) == "layer1/kernel[1, 1]"
    assert model.name_of(TASK, COUNT - 1) == "layer2/bias[1]"
