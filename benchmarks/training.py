"""Time of a training iteration: exact and native, against plain training on one machine, and replay.

    python benchmarks/training.py [--models mlp,lenet,large] [--batches 64,256] [--iterations 30] [--json F]

Every figure of a table comes from the same run, the contenders taking turns. E_f is the paper's efficiency
(Appendix F): the time of a plain optax float32 step of the same model, divided by that of a whole iteration
as a miner does it - load the mini-batch, apply four peers' maps, gradient, residual, message map, update,
metrics, content ids, and a signed IT_RES - with the host's work of one iteration beside the device's of the
next (the right pane of figure F.1). Needs the extra "bench": pip install -e '.[bench]'.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as changed
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from p2pai import jobs
from p2pai.chain import it_res, layers, training
from p2pai.chain import task as tasks
from p2pai.chain.training import Numerics
from p2pai.jaxtrain import hashing, message_map, optimiser, replay
from p2pai.jaxtrain.dataset import serialise
from p2pai.jaxtrain.exact import grid
from p2pai.jaxtrain.metrics import Score
from p2pai.jaxtrain.model import Network, train_forward
from p2pai.jaxtrain.operations import platform
from p2pai.jaxtrain.session import Pending, Session, State
from p2pai.jaxtrain.step import dropout_keys, read_batch
from p2pai.jaxtrain.worker import initial_values
from p2pai.primitives import ecdsa
from p2pai.primitives.ids import ZERO_HASH, BlobId, Hash32, Outpoint, PeerId, TxId

SEED = Hash32(bytes(32))
KEY = bytes([1]) * 32
RELU = layers.Activation(layers.Function.RELU)
SAME, VALID = layers.Padding.SAME, layers.Padding.VALID
MODELS: dict[str, tuple[layers.Layer, ...]] = {
    "mlp": (layers.Dense(512), RELU, layers.Dense(512), RELU, layers.Dense(10)),
    "lenet": (
        layers.Conv(6, 5, 5, 1, SAME), RELU, layers.MaxPool(2, 2),
        layers.Conv(16, 5, 5, 1, VALID), RELU, layers.MaxPool(2, 2),
        layers.Flatten(), layers.Dense(120), RELU, layers.Dense(84), RELU, layers.Dense(10),
    ),
    "large": (layers.Dense(3072), RELU, layers.Dense(3968), RELU, layers.Dense(10)),
}  # fmt: skip
TITLES = {"mlp": "784-512-512-10", "lenet": "LeNet-5", "large": "784-3072-3968-10"}
PEERS = 4
DENSITY = 0.004
CHUNKS = 8


@dataclass(frozen=True)
class Kind:
    """A contender."""

    name: str
    numerics: Numerics
    mantissa_bits: int


KINDS = (
    Kind("native", Numerics.NATIVE, 13),
    Kind("exact, 13 bits", Numerics.EXACT, 13),
    Kind("exact, 7 bits", Numerics.EXACT, 7),
)


def make_task(model: str, batch: int, kind: Kind) -> tasks.TaskDefinition:
    """Return a task on images of MNIST's shape."""
    fragments = tuple(BlobId(Hash32(bytes([i]) * 32)) for i in range(10))
    return tasks.TaskDefinition(
        name=model,
        numerics=kind.numerics,
        mantissa_bits=kind.mantissa_bits,
        input_shape=(28, 28, 1) if model == "lenet" else (784,),
        layers=MODELS[model],
        initialiser=training.Initialiser(training.Distribution.UNIFORM, training.Fan.AVERAGE, 1_000_000),
        loss=training.Loss.SOFTMAX_CROSS_ENTROPY,
        optimiser=training.Sgd(100_000),
        schedule=training.ConstantRate(),
        tau=training.Tau(11, 0),
        epochs=1,
        stopping=None,
        validation=training.Holdout(0),
        metrics=("accuracy", "loss"),
        dataset=tasks.Dataset("idx", 60_000, 784, 10, 0, batch, 80, fragments),
        group=tasks.Group(3, 3, 3),
        reward=tasks.Reward(70, 15, 15),
        preferences=(1, 1),
        client=PeerId(""),
        expected_blocks=1,
    )


def make_chunks(batch: int) -> list[bytes]:
    """Return mini-batches of bytes that look like images: blobs of one class each."""
    dice = np.random.Generator(np.random.Philox(1))
    means = dice.integers(0, 200, (10, 784))
    chunks = []
    for _ in range(CHUNKS):
        y = dice.integers(0, 10, batch)
        x = np.clip(means[y] + dice.integers(-60, 60, (batch, 784)), 0, 255).astype(np.uint8)
        chunks.append(serialise(x, y, 8))
    return chunks


def make_updates(weight_count: int) -> tuple[jobs.PeerUpdate, ...]:
    """Return the maps of some peers."""
    dice = np.random.Generator(np.random.Philox(2))
    signs = (dice.random((PEERS, weight_count)) < DENSITY) * dice.choice([-1, 1], (PEERS, weight_count))
    return tuple(jobs.PeerUpdate(11, message_map.encode(row.astype(np.int8))) for row in signs)


def make_message(task: tasks.TaskDefinition, pending: Pending, index: int) -> bytes:
    """Finish a step as a miner does, up to the signed IT_RES."""
    capsule, outcome, end = pending.finish()
    before = capsule.before.ids
    nonce = it_res.nonce(it_res.precursor(end, outcome.message_map))
    message = it_res.IterationResult(
        task_prefix=bytes(16), epoch=1, message_map=outcome.message_map,
        metrics=outcome.score.bits(task.metrics), started_s=0, finished_s=0, batch=ZERO_HASH,
        applied=BlobId(ZERO_HASH), weights=before.weights, residual=before.residual,
        zero_nonce_block=ZERO_HASH, queued=BlobId(ZERO_HASH), ticket=Outpoint(TxId(ZERO_HASH), 0),
        iteration=index, optimiser=before.optimiser, peer_count=PEERS, peer_ids=ZERO_HASH, nonce=nonce,
        tau_bits=11, validation=(),
    )  # fmt: skip
    digest = it_res.signing_digest(SEED, message.encode_unsigned())
    return changed(message, signature=ecdsa.sign(KEY, digest)).encode()


class Miner:
    """Runs whole iterations, one ahead of the host's work."""

    def __init__(self, task: tasks.TaskDefinition, chunks: list[bytes]) -> None:
        """Begin with the initial state."""
        self.task = task
        self.session = Session(task, SEED, State(initial_values(task, SEED)), chunks)
        self.updates = make_updates(task.weight_count)
        self.done = 0
        self.pending: Pending | None = None

    def run(self, count: int) -> float:
        """Return milliseconds an iteration, over `count`."""
        start_s = time.perf_counter()
        for _ in range(count):
            position = jobs.Position(1, self.done, 11)
            following = self.session.begin(position, self.done % CHUNKS, self.updates)
            if self.pending is not None:
                make_message(self.task, self.pending, self.done)
            self.pending, self.done = following, self.done + 1
        return (time.perf_counter() - start_s) / count * 1e3


class Plain:
    """Ordinary training of the same model: optax SGD in float32, nothing else."""

    def __init__(self, task: tasks.TaskDefinition, chunks: list[bytes]) -> None:
        """Compile."""
        self.task, self.chunks = task, chunks
        miner_values = initial_values(task, SEED)
        self.weights = tuple(jnp.asarray(w) for w in miner_values.weights)
        architecture = Session(task, SEED, State(miner_values), chunks).trainer.architecture
        network, rate = Network(architecture, platform()), optax.sgd(0.1)
        self.state = rate.init(self.weights)
        keys = jnp.zeros((0, 2), jnp.uint32)

        def loss(leaves: Any, x: Any, y: Any) -> Any:  # noqa: ANN401
            outputs, _ = train_forward(network, leaves, (), keys, x)
            return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean()

        def step(leaves: Any, state: Any, x: Any, y: Any) -> Any:  # noqa: ANN401
            updates, state = rate.update(jax.grad(loss)(leaves, x, y), state)
            return optax.apply_updates(leaves, updates), state

        self.step = jax.jit(step, donate_argnums=(0, 1))

    def run(self, count: int) -> float:
        """Return milliseconds a step, over `count`."""
        start_s = time.perf_counter()
        for i in range(count):
            batch = read_batch(self.task, self.chunks[i % CHUNKS])
            self.weights, self.state = self.step(self.weights, self.state, batch.x, batch.y)
        jax.block_until_ready(self.weights)
        return (time.perf_counter() - start_s) / count * 1e3


class Replayer:
    """Replays one recorded iteration again and again, from bytes to the verdict."""

    def __init__(self, miner: Miner) -> None:
        """Record an iteration."""
        task = miner.task
        position = jobs.Position(1, miner.done, 11)
        capsule, outcome, end = miner.session.step(position, 0, miner.updates)
        model, residual, state = capsule.before.blobs
        self.task, self.end = task, end
        self.capsule = replay.Capsule(model, residual, state, capsule.chunk)
        self.job = jobs.Replay(
            task=task.encode(), seed=SEED, position=position, before=capsule.before.ids,
            batch=ZERO_HASH, peers=miner.updates, message_map=outcome.message_map,
            metrics=outcome.score.bits(task.metrics), samples=task.dataset.batch_size,
            platform=ZERO_HASH,
        )  # fmt: skip

    def run(self, count: int) -> float:
        """Return milliseconds a replay, over `count`; every one must agree with the record."""
        start_s = time.perf_counter()
        for _ in range(count):
            end, difference = replay.replay(self.task, self.capsule, self.job)
            assert (end, difference) == (self.end, ""), difference
        return (time.perf_counter() - start_s) / count * 1e3


def compare(model: str, batch: int, iterations: int) -> dict[str, float]:
    """Return milliseconds of each contender, the median of five turns each."""
    chunks = make_chunks(batch)
    made = {kind.name: Miner(make_task(model, batch, kind), chunks) for kind in KINDS}
    contenders: dict[str, Any] = {"plain": Plain(make_task(model, batch, KINDS[1]), chunks), **made}
    for contender in contenders.values():
        contender.run(2)
    for kind in KINDS[1:]:
        contenders[f"replay, {kind.mantissa_bits} bits"] = Replayer(made[kind.name])
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(5):
        for name, contender in contenders.items():
            times[name].append(contender.run(max(1, iterations // 5)))
    return {name: median(found) for name, found in times.items()}


def split(model: str, batch: int, kind: Kind, rounds: int = 15) -> dict[str, float]:
    """Return milliseconds of each part of an iteration, one after the other (figures F.2 and F.3)."""
    task, chunk = make_task(model, batch, kind), make_chunks(batch)[0]
    session = Session(task, SEED, State(initial_values(task, SEED)), [chunk])
    trainer, values = session.trainer, session.begin(jobs.Position(1, 0, 11), 0, ()).after.values
    jax.block_until_ready(values)
    updates, parsed = make_updates(task.weight_count), read_batch(task, chunk)
    keys = dropout_keys(trainer.architecture, SEED, jobs.Position(1, 0, 11), ZERO_HASH)
    constants, bits = optimiser.constants(task, 1, 0), np.int32(11)
    shift = trainer._sum_updates(updates)  # noqa: SLF001
    move = jax.jit(lambda theta, units: tuple(map(grid.move, theta, units)))
    gradient_of = jax.jit(trainer._differentiate)  # noqa: SLF001
    learn = jax.jit(lambda g, v, c: trainer._learn(g, v.weights, v, c)[0])  # noqa: SLF001
    emit = jax.jit(lambda r, b: grid.emit(r, b, None))
    own = jax.jit(
        lambda theta, s, b: tuple(grid.move(w, grid.shift_of(x, b)) for w, x in zip(theta, s, strict=True))
    )
    gradient, _, observation = gradient_of(values.weights, values.statistics, parsed.x, parsed.y, keys)
    moved = learn(gradient, values, constants)
    _, signs = emit(moved, bits)
    on_host = jax.tree.map(np.asarray, observation)
    parts: dict[str, Callable[[], Any]] = {
        "load mini-batch": lambda: read_batch(task, chunk),
        "sum peers' maps": lambda: trainer._sum_updates(updates),  # noqa: SLF001
        "apply peers' updates": lambda: move(values.weights, shift),
        "backpropagation": lambda: gradient_of(values.weights, values.statistics, parsed.x, parsed.y, keys),
        "update residual": lambda: (learn(gradient, values, constants), emit(moved, bits)),
        "build message map": lambda: message_map.encode(*(np.asarray(s).reshape(-1) for s in signs)),
        "apply local update": lambda: own(values.weights, signs, bits),
        "metrics": lambda: Score.of(task.loss, on_host, parsed.y).bits(task.metrics),
        "hash the state": lambda: [hashing.content_id(part) for part in (values.weights, values.residual)],
        "whole, on the device": lambda: trainer.begin(values, parsed, updates, 11, keys, constants),
    }
    return {name: time_of(part, rounds) for name, part in parts.items()}


def time_of(part: Callable[[], Any], rounds: int) -> float:
    """Return the median milliseconds of a part, after two rounds to warm up."""
    found = []
    for i in range(rounds + 2):
        start_s = time.perf_counter()
        jax.block_until_ready(part())
        if i > 1:
            found.append((time.perf_counter() - start_s) * 1e3)
    return median(found)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="mlp,lenet,large")
    parser.add_argument("--batches", default="64,256")
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores, {jax.devices()[0].device_kind}, jax {jax.__version__}\n")
    results = []
    for model in options.models.split(","):
        for batch in map(int, options.batches.split(",")):
            found = compare(model, batch, options.iterations)
            results.append({"model": model, "batch": batch, "ms": found})
            report(f"{TITLES[model]}, batch {batch}", found)
    for model in options.models.split(","):
        for kind in KINDS:
            found = split(model, 256, kind)
            results.append({"model": model, "batch": 256, "kind": kind.name, "parts_ms": found})
            report_parts(f"{TITLES[model]}, batch 256, {kind.name}", found)
    if options.json:
        options.json.write_text(json.dumps({"cores": cores, "results": results}, indent=1), encoding="utf-8")


def report(title: str, ms: dict[str, float]) -> None:
    """Print a table of whole iterations."""
    print(f"{title}\n{'':18}{'ms':>10}{'E_f':>8}{'/ native':>10}{'replay / it.':>14}")
    for name in ("plain", *(kind.name for kind in KINDS)):
        line = f"{name:18}{ms[name]:10.2f}{ms['plain'] / ms[name]:8.2f}"
        if name != "plain":
            line += f"{ms[name] / ms['native']:10.2f}"
        again = ms.get(f"replay, {name.removeprefix('exact, ')}")
        print(line + (f"{again / ms[name]:14.2f}" if again else ""))
    print()


def report_parts(title: str, ms: dict[str, float]) -> None:
    """Print a table of the parts of an iteration."""
    print(title)
    for name, found in ms.items():
        print(f"  {name:24}{found:8.2f} ms")
    print()


if __name__ == "__main__":
    main()
