"""Small tasks of every kind that training knows, and mini-batches for them; shared by tests and programs."""

from dataclasses import replace

import numpy as np

from p2pai.chain.layers import (
    Activation,
    Add,
    AveragePool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Function,
    LayerNorm,
    LeakyRelu,
    MaxPool,
    Padding,
)
from p2pai.chain.task import Dataset, Group, Reward, TaskDefinition
from p2pai.chain.training import (
    Adam,
    ConstantRate,
    CosineRate,
    Distribution,
    Fan,
    Holdout,
    Initialiser,
    Loss,
    Momentum,
    Numerics,
    RmsProp,
    Sgd,
    StepRate,
    Tau,
)
from p2pai.jaxtrain.dataset import serialise
from p2pai.primitives.ids import BlobId, Hash32, PeerId

RELU, SIGMOID, TANH = (Activation(f) for f in (Function.RELU, Function.SIGMOID, Function.TANH))
GELU, SOFTMAX = Activation(Function.GELU), Activation(Function.SOFTMAX)
GLOROT = Initialiser(Distribution.UNIFORM, Fan.AVERAGE, 1_000_000)
HE_NORMAL = Initialiser(Distribution.NORMAL, Fan.IN, 2_000_000)
SAMPLES = 12
STEPS = 3
SEED = Hash32(bytes(range(32)))
SHORT = "dense"
"""The kind whose last mini-batch is one sample short; each size of a batch is compiled anew."""

DENSE = TaskDefinition(
    name="dense",
    numerics=Numerics.EXACT,
    mantissa_bits=13,
    input_shape=(64,),
    layers=(Dense(24), RELU, Dense(10)),
    initialiser=GLOROT,
    loss=Loss.SOFTMAX_CROSS_ENTROPY,
    optimiser=Sgd(300_000),
    schedule=ConstantRate(),
    tau=Tau(10, 0),
    epochs=5,
    stopping=None,
    validation=Holdout(0),
    metrics=("loss", "accuracy"),
    dataset=Dataset(
        "npz", 10 * SAMPLES, 64, 10, 0, SAMPLES, 80, tuple(BlobId(Hash32(bytes([i]) * 32)) for i in range(10))
    ),
    group=Group(3, 3, 3),
    reward=Reward(70, 15, 15),
    preferences=(1, 1),
    client=PeerId(""),
    expected_blocks=10,
)
"""A task like the first that p2pai could train; the others change something."""

REGRESSION = replace(DENSE.dataset, classes=0, targets=2)

KINDS = {
    "dense": DENSE,
    "dense, 7 bits": replace(DENSE, mantissa_bits=7),
    "activations": replace(
        DENSE,
        layers=(
            Dense(20), TANH, Dense(18), SIGMOID, Dense(16), GELU, Dense(14), LeakyRelu(655), Dense(12),
            SOFTMAX, Dense(10),
        ),
        initialiser=HE_NORMAL,
        optimiser=Momentum(200_000, 58_982, nesterov=True),
        metrics=("loss", "accuracy", "top_3", "precision", "recall", "f1"),
    ),
    "images": replace(
        DENSE,
        input_shape=(8, 8, 1),
        layers=(
            Conv(4, 3, 3, 1, Padding.SAME), BatchNorm(58_982), RELU, MaxPool(2, 2),
            Conv(6, 3, 2, 2, Padding.SAME), RELU, AveragePool(2, 1), Flatten(), Dropout(20_000), Dense(10),
        ),
        optimiser=Adam(3_000, 58_982, 65_470, 100, 0),
        schedule=CosineRate(),
    ),
    "images, 7 bits": replace(
        DENSE,
        mantissa_bits=7,
        input_shape=(8, 8, 1),
        layers=(Conv(3, 5, 3, 2, Padding.VALID), RELU, MaxPool(2, 1), Flatten(), Dense(10)),
        optimiser=Momentum(100_000, 32_768, nesterov=False),
    ),
    "residual": replace(
        DENSE,
        layers=(
            Dense(16), RELU, Dense(16), LayerNorm(), RELU, Add(1), Dense(16), RELU, Add(5), Dropout(6_554),
            Dense(10),
        ),
        optimiser=RmsProp(2_000, 58_982, 100),
        schedule=StepRate(2, 500_000),
    ),
    "two classes": replace(
        DENSE,
        layers=(Dense(12), BatchNorm(0), RELU, Dense(1)),
        loss=Loss.BINARY_CROSS_ENTROPY,
        optimiser=Adam(1_000, 58_982, 65_470, 10, 10_000),
        metrics=("accuracy", "f1", "loss"),
        dataset=replace(DENSE.dataset, classes=2),
    ),
    "squares": replace(
        DENSE, layers=(Dense(12), TANH, Dense(2)), loss=Loss.MSE, metrics=("rmse", "mae", "r2", "loss"),
        dataset=REGRESSION,
    ),
    "distances": replace(
        DENSE, layers=(Dense(12), GELU, Dense(2)), loss=Loss.MAE, metrics=("mae", "loss"), dataset=REGRESSION,
    ),
}  # fmt: skip


def chunk_of(task, i, samples=SAMPLES):
    """Return the bytes of mini-batch i: float features and labels as the task's loss wants them."""
    dice = np.random.Generator(np.random.Philox(i))
    x = dice.integers(-(1 << 11), 1 << 12, (samples, task.dataset.features)).astype(np.float32) / np.float32(
        1 << 12
    )
    if task.loss.is_classification:
        return serialise(x, dice.integers(0, task.dataset.classes, samples), 0)
    y = dice.integers(-(1 << 14), 1 << 14, (samples, task.dataset.targets)).astype(np.float32) / np.float32(
        1 << 13
    )
    return serialise(x, y, 0)


def signs_of(task, i):
    """Return a peer's signs in iteration i, int8, one weight in 20 moved."""
    dice = np.random.Generator(np.random.Philox(1000 + i))
    draws = dice.integers(-20, 21, task.weight_count)
    return np.where(np.abs(draws) == 1, draws, 0).astype(np.int8)


def chunks_of(name):
    """Return the mini-batches that a kind is trained on in STEPS iterations."""
    sizes = [SAMPLES] * (STEPS - 1) + [SAMPLES - (name == SHORT)]
    return [chunk_of(KINDS[name], i, size) for i, size in enumerate(sizes)]


def position_of(i):
    """Return epoch, iteration and tau's bits of iteration i."""
    return 1 + i // 2, i, 8 + i % 2


def peers_of(task, i):
    """Return what peers sent before iteration i: bits of their tau, and signs."""
    return [(9 + n, signs_of(task, 10 * i + n)) for n in range(2)]
