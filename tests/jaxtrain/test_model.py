"""Networks and the canonical order of their tensors."""

import numpy as np
import pytest
from kinds import KINDS, SEED

from p2pai.chain.layers import Add, BatchNorm, Conv, Dense, Dropout, Flatten, LayerNorm, Padding
from p2pai.jaxtrain import operations
from p2pai.jaxtrain.model import Architecture, Network, evaluate_forward, train_forward
from p2pai.jaxtrain.worker import initial_values

NET = Architecture(
    (4, 4, 2),
    (Conv(3, 2, 2, 2, Padding.VALID), BatchNorm(0), Flatten(), Dropout(9), Dense(5), LayerNorm(), Dense(5),
     Dropout(0), Add(4)),
)  # fmt: skip


def test_leaves_are_named_layer_by_layer_kernel_before_bias():
    assert NET.names == (
        "layer0/kernel", "layer0/bias", "layer1/scale", "layer1/bias", "layer4/kernel", "layer4/bias",
        "layer5/scale", "layer5/bias", "layer6/kernel", "layer6/bias",
    )  # fmt: skip
    assert NET.shapes == ((2, 2, 2, 3), (3,), (3,), (3,), (12, 5), (5,), (5,), (5,), (5, 5), (5,))
    assert NET.weight_count == sum(NET.sizes) == 24 + 3 + 3 + 3 + 60 + 5 + 5 + 5 + 25 + 5
    assert NET.statistic_names == ("layer1/mean", "layer1/variance")
    assert NET.statistics == ((3,), (3,))
    assert NET.dropouts == (3, 7)


def test_a_flat_index_has_one_place():
    places = [NET.locate(i) for i in (0, 3, 23, 24, 27, 33, 93, 137)]
    assert places == [
        "layer0/kernel[0, 0, 0, 0]", "layer0/kernel[0, 0, 1, 0]", "layer0/kernel[1, 1, 1, 2]",
        "layer0/bias[0]", "layer1/scale[0]", "layer4/kernel[0, 0]", "layer4/bias[0]", "layer6/bias[4]",
    ]  # fmt: skip
    with pytest.raises(AssertionError):
        NET.locate(NET.weight_count)


def test_splitting_and_joining_are_inverse():
    flat = np.arange(NET.weight_count)
    leaves = NET.split(flat)
    assert [leaf.shape for leaf in leaves] == list(NET.shapes)
    assert np.array_equal(np.concatenate([leaf.ravel() for leaf in leaves]), flat)


def test_leaves_make_flaxs_tree():
    tree = NET.tree(NET.split(np.arange(NET.weight_count)))
    assert set(tree) == {"layer0", "layer1", "layer4", "layer5", "layer6"}
    assert set(tree["layer1"]) == {"scale", "bias"}


@pytest.mark.parametrize("kind", ["images", "residual", "squares"])
def test_evaluation_drops_nothing_and_leaves_statistics_alone(kind):
    """Shapes alone, which costs no compilation."""
    import jax

    task = KINDS[kind]
    architecture, values = Architecture.of(task), initial_values(task, SEED)
    network = Network(architecture, operations.of(task))
    x = np.zeros((3, task.dataset.features), np.float32)
    keys = np.zeros((len(architecture.dropouts), 2), np.uint32)
    outputs, statistics = jax.eval_shape(
        lambda: train_forward(network, values.weights, values.statistics, keys, x)
    )
    assert outputs.shape[1:] == task.placed[-1].output
    assert [s.shape for s in statistics] == list(architecture.statistics)
    evaluated = jax.eval_shape(lambda: evaluate_forward(network, values.weights, values.statistics, x))
    assert evaluated.shape == outputs.shape
    assert evaluated.dtype == outputs.dtype == np.float32
