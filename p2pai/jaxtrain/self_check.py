"""Train a tiny network a little, and print what came out beside what must.

    python -m p2pai.jaxtrain.self_check

prints one line of JSON: the device, JAX's version, the digest of all states and message maps, and the digest
that every machine gets. Convolution, dense layers, two roundings and the message map take part.
"""

import hashlib
import json
import sys
from typing import Final

import jax
import numpy as np

from p2pai import jobs
from p2pai.chain.layers import Activation, Conv, Dense, Flatten, Function, Padding
from p2pai.chain.task import Dataset, Group, Reward, TaskDefinition
from p2pai.chain.training import (
    ConstantRate,
    Distribution,
    Fan,
    Holdout,
    Initialiser,
    Loss,
    Momentum,
    Numerics,
    Tau,
)
from p2pai.jaxtrain.dataset import serialise
from p2pai.jaxtrain.session import Session, State
from p2pai.jaxtrain.worker import initial_values
from p2pai.primitives.ids import BlobId, Hash32, PeerId

SAMPLES: Final = 8
STEPS: Final = 3
SEED: Final = Hash32(bytes(range(32)))

EXPECTED: Final = "a5ec9decfa3b03bfeee34350ec7a990f8686992848920288f06305311de4a594"
"""Frozen: a change of it is a change of the protocol."""

TASK: Final = TaskDefinition(
    name="self-check",
    numerics=Numerics.EXACT,
    mantissa_bits=13,
    input_shape=(6, 6, 1),
    layers=(Conv(3, 3, 3, 1, Padding.SAME), Activation(Function.RELU), Flatten(), Dense(10)),
    initialiser=Initialiser(Distribution.UNIFORM, Fan.AVERAGE, 1_000_000),
    loss=Loss.SOFTMAX_CROSS_ENTROPY,
    optimiser=Momentum(200_000, 58_982, nesterov=True),
    schedule=ConstantRate(),
    tau=Tau(10, 0),
    epochs=1,
    stopping=None,
    validation=Holdout(0),
    metrics=("loss",),
    dataset=Dataset(
        "npz", 10 * SAMPLES, 36, 10, 0, SAMPLES, 80, tuple(BlobId(Hash32(bytes([i]) * 32)) for i in range(10))
    ),
    group=Group(3, 3, 3),
    reward=Reward(70, 15, 15),
    preferences=(1, 1),
    client=PeerId(""),
    expected_blocks=10,
)


def digest() -> str:
    """Train, and return the digest of what came out, in hex."""
    session = Session(TASK, SEED, State(initial_values(TASK, SEED)), [_chunk(i) for i in range(STEPS)])
    found = hashlib.sha256()
    for i in range(STEPS):
        _, outcome, _ = session.step(jobs.Position(1, i, 8), i, ())
        for part in (*session.state.blobs, outcome.message_map):
            found.update(part)
    return found.hexdigest()


def _chunk(i: int) -> bytes:
    """Return mini-batch i, of features that are exact in any float."""
    numbers = np.arange(SAMPLES * TASK.dataset.features) * (7 + 2 * i) % 251
    features = (numbers.reshape(SAMPLES, -1) - 125).astype(np.float32) / np.float32(256)
    return serialise(features, np.arange(SAMPLES) * (3 + i) % TASK.dataset.classes, 0)


def main() -> None:
    """Print the line."""
    device = jax.devices()[0]
    answer = {
        "device": f"{device.platform} ({device.device_kind})",
        "jax": jax.__version__,
        "digest": digest(),
        "expected": EXPECTED,
    }
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
