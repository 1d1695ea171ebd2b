"""Train a little and print digests: of exact training, and of the same in native float32 for contrast."""

import hashlib
import json
import os

if os.environ.get("ONE_CORE") == "1":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax
import jax.numpy as jnp
import numpy as np

from p2pai.chain.task import Dense
from p2pai.jaxtrain import message_map
from p2pai.jaxtrain.dataset import Batch
from p2pai.jaxtrain.exact import carrier
from p2pai.jaxtrain.initialiser import initial_residual, initial_weights
from p2pai.jaxtrain.model import Architecture
from p2pai.jaxtrain.step import Trainer
from p2pai.jaxtrain.weights import pack
from p2pai.primitives.ids import Hash32

NET = Architecture(64, (Dense(48, "relu"), Dense(10, "none")))
SEED = Hash32(bytes(32))


def batch_of(i, size=33):
    dice = np.random.Generator(np.random.Philox(i))
    x = dice.integers(0, 1 << 12, (size, 64)).astype(np.float32) / np.float32(1 << 12)
    return Batch(x, dice.integers(0, 10, size).astype(np.int32))


def peers_of(i):
    dice = np.random.Generator(np.random.Philox(1000 + i))
    draws = dice.integers(-20, 21, (2, NET.weight_count))
    return [message_map.encode(np.where(np.abs(row) == 1, row, 0).astype(np.int8)) for row in draws]


def train(steps):
    trainer = Trainer(NET, 300_000, 10)
    theta, residual, digest = initial_weights(NET, SEED), initial_residual(NET), hashlib.sha256()
    for i in range(steps):
        outcome = trainer.iterate(theta, residual, batch_of(i), peers_of(i))
        theta, residual = outcome.weights, outcome.residual
        for part in (pack(theta), pack(residual), outcome.message_map, repr(outcome.score).encode()):
            digest.update(part)
    return digest.hexdigest()


@jax.jit
def native_loss(leaves, x, y):
    hidden = jax.nn.relu(x @ leaves[0] + leaves[1])
    logits = hidden @ leaves[2] + leaves[3]
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1))


def train_natively(steps):
    leaves, digest = initial_weights(NET, SEED), hashlib.sha256()
    for i in range(steps):
        batch = batch_of(i)
        gradient = jax.jit(jax.grad(native_loss))(leaves, batch.x, batch.y)
        leaves = tuple(w - np.float32(0.3) * np.asarray(g) for w, g in zip(leaves, gradient, strict=True))
        digest.update(pack(leaves))
    return digest.hexdigest()


def main():
    with carrier.using(os.environ["CARRIER"]):
        exact = train(6)
    native = train_natively(6) if os.environ.get("NATIVE") == "1" else None
    print(json.dumps({"exact": exact, "native": native}))


if __name__ == "__main__":
    main()
