"""Time of a training iteration: exact and native, against plain training on one machine, and replay.

    python benchmarks/training.py [--models mlp,lenet,large] [--batches 256] [--turns 7] [--iterations 6]
                                  [--json FILE]

Every figure of a table comes from the same run, the contenders taking turns; it is the median of the turns.
E_f is the paper's efficiency (Appendix F): the time of a plain optax float32 step of the same model, divided
by that of a whole iteration as a miner does it - load the mini-batch, apply four peers' maps, gradient,
residual, message map, update, metrics, content ids, and a signed IT_RES - with the host's work of one
iteration beside the device's of the next (the right pane of figure F.1). The second E_f compares processor
time of all cores, not time on the clock; on a machine that others use too it is the more trustworthy one.

The second table splits an iteration into its steps, each measured alone (figures F.2 and F.3); their sum is
more than the whole, because the last three go on beside the next iteration.

The process starts itself once more with the trainer's own settings of the memory allocator; plain training
has them as well. Needs the extra "bench": pip install -e '.[bench]'. To measure one core: taskset -c 0.
"""

import argparse
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from dataclasses import replace as changed
from itertools import product
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
from p2pai.chain.task import MAP_ELEMENTS_MAX
from p2pai.chain.training import Numerics
from p2pai.jaxtrain import message_map, optimiser, replay
from p2pai.jaxtrain.dataset import read_batch, serialise
from p2pai.jaxtrain.exact import grid
from p2pai.jaxtrain.metrics import Score
from p2pai.jaxtrain.model import Network, train_forward
from p2pai.jaxtrain.operations import platform
from p2pai.jaxtrain.session import Pending, Session, State
from p2pai.jaxtrain.step import Outcome, dropout_keys
from p2pai.jaxtrain.worker import initial_values
from p2pai.primitives import ecdsa
from p2pai.primitives.ids import ZERO_HASH, BlobId, Hash32, Outpoint, PeerId
from p2pai.shell.trainer import ALLOCATOR

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
TAU_BITS = 8
DENSITY = 0.004
STATES_KEPT = 4
"""A miner keeps 16. A small machine has no room for three of those; four are more than its caches hold."""

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
        tau=training.Tau(TAU_BITS, 0),
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
    return tuple(jobs.PeerUpdate(TAU_BITS, message_map.encode(row.astype(np.int8))) for row in signs)


def make_message(task: tasks.TaskDefinition, pending: Pending, index: int) -> bytes:
    """Bring a step to its end as a miner does, up to the signed IT_RES."""
    return finish_message(task, pending, pending.outcome(), index)


def finish_message(task: tasks.TaskDefinition, pending: Pending, outcome: Outcome, index: int) -> bytes:
    """Write and sign the IT_RES of a step."""
    before, end = pending.capsule.before.ids, pending.after.end
    message = it_res.IterationResult(
        task_prefix=bytes(16), epoch=1, message_map=outcome.message_map,
        metrics=outcome.score.bits(task.metrics), started_s=0, finished_s=0, batch=ZERO_HASH,
        applied=BlobId(ZERO_HASH), weights=before.weights, residual=before.residual,
        zero_nonce_block=ZERO_HASH, queued=BlobId(ZERO_HASH), ticket=Outpoint(ZERO_HASH, 0),
        iteration=index, optimiser=before.optimiser, peer_count=PEERS, peer_ids=ZERO_HASH,
        nonce=it_res.nonce(it_res.precursor(end, outcome.message_map)),
        tau_bits=TAU_BITS, moved=0, validation=(), platform=ZERO_HASH,
    )  # fmt: skip
    digest = it_res.signing_digest(SEED, message.encode_unsigned())
    return changed(message, signature=ecdsa.sign(KEY, digest)).encode()


@dataclass(frozen=True)
class Spent:
    """Milliseconds of one iteration."""

    wall: float
    cpu: float
    """Of all cores."""


class Clock:
    """Runs from the moment it is made."""

    def __init__(self) -> None:
        """Start."""
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()

    def spent(self, count: int) -> Spent:
        """Divide what has passed by a number of iterations."""
        wall_s, cpu_s = time.perf_counter() - self._wall_s, time.process_time() - self._cpu_s
        return Spent(wall_s / count * 1e3, cpu_s / count * 1e3)


class Miner:
    """Runs whole iterations, one ahead of the host's work."""

    def __init__(self, task: tasks.TaskDefinition, chunks: list[bytes]) -> None:
        """Begin with the initial state."""
        self.task = task
        self.session = Session(task, SEED, State(initial_values(task, SEED)), chunks)
        self.session._capsules = deque(maxlen=STATES_KEPT)  # noqa: SLF001
        self.updates = make_updates(task.weight_count)
        self.done = 0

    def run(self, count: int) -> Spent:
        """Run `count` iterations in the middle of others.

        One is begun before the clock starts, and the last is brought to its end when it has stopped, so the
        clock sees neither the filling nor the emptying of the pipeline.
        """
        pending, clock = self._begin(), Clock()
        for _ in range(count):
            following = self._begin()
            make_message(self.task, pending, self.done)
            pending = following
        spent = clock.spent(count)
        make_message(self.task, pending, self.done)
        return spent

    def _begin(self) -> Pending:
        position = jobs.Position(1, self.done, TAU_BITS)
        self.done += 1
        return self.session.begin(position, self.done % CHUNKS, self.updates)


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

    def run(self, count: int) -> Spent:
        """Run `count` steps."""
        clock = Clock()
        for i in range(count):
            batch = read_batch(self.task, self.chunks[i % CHUNKS])
            self.weights, self.state = self.step(self.weights, self.state, batch.x, batch.y)
        jax.block_until_ready(self.weights)
        return clock.spent(count)


class Replayer:
    """Replays one recorded iteration again and again, from bytes to the verdict."""

    def __init__(self, miner: Miner) -> None:
        """Record an iteration."""
        task = miner.task
        position = jobs.Position(1, miner.done, TAU_BITS)
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

    def run(self, count: int) -> Spent:
        """Replay `count` times; every one must agree with the record."""
        clock = Clock()
        for _ in range(count):
            end, difference = replay.replay(self.task, self.capsule, self.job)
            assert (end, difference) == (self.end, ""), difference
        return clock.spent(count)


def compare(model: str, batch: int, turns: int, iterations: int) -> dict[str, Spent]:
    """Return what each contender spends, the median of its turns; they do the same number of iterations."""
    chunks = make_chunks(batch)
    made = {kind.name: Miner(make_task(model, batch, kind), chunks) for kind in KINDS}
    contenders: dict[str, Any] = {"plain": Plain(make_task(model, batch, KINDS[1]), chunks), **made}
    for contender in contenders.values():
        contender.run(STATES_KEPT + 2)  # from then on, no iteration needs more memory than the last
    for kind in KINDS[1:]:
        contenders[f"replay, {kind.mantissa_bits} bits"] = Replayer(made[kind.name])
    found: dict[str, list[Spent]] = {name: [] for name in contenders}
    for _ in range(turns):
        for name, contender in contenders.items():
            found[name].append(contender.run(iterations))
    return {
        name: Spent(median(s.wall for s in spent), median(s.cpu for s in spent))
        for name, spent in found.items()
    }


def split(model: str, batch: int, kind: Kind, rounds: int = 15) -> dict[str, float]:
    """Return milliseconds of each step of an iteration, one after the other (figures F.2 and F.3)."""
    task, chunk = make_task(model, batch, kind), make_chunks(batch)[0]
    session = Session(task, SEED, State(initial_values(task, SEED)), [chunk])
    position = jobs.Position(1, 0, TAU_BITS)
    pending = session.begin(position, 0, make_updates(task.weight_count))
    outcome, values, trainer = pending.outcome(), pending.after.values, session.trainer
    updates, parsed = make_updates(task.weight_count), read_batch(task, chunk)
    keys = dropout_keys(trainer.architecture, SEED, position, ZERO_HASH)
    constants, bits = optimiser.constants(task, 1, 0), np.int32(TAU_BITS)
    units = trainer._sum_updates(updates)  # noqa: SLF001
    move = jax.jit(trainer._moved_by_peers)  # noqa: SLF001
    gradient_of = jax.jit(trainer._differentiate)  # noqa: SLF001
    learn = jax.jit(lambda g, v, c: trainer._contribute(g, v.weights, v, c)[0])  # noqa: SLF001
    emit = jax.jit(lambda r, b: grid.emit(r, b, MAP_ELEMENTS_MAX))
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
        "apply peers' updates": lambda: move(values.weights, units),
        "backpropagation": lambda: gradient_of(values.weights, values.statistics, parsed.x, parsed.y, keys),
        "update residual": lambda: (learn(gradient, values, constants), emit(moved, bits)),
        "apply local update": lambda: own(values.weights, signs, bits),
        "all on the device": lambda: trainer.begin(values, parsed, updates, TAU_BITS, keys, constants).values,
        "build message map": lambda: message_map.encode(*(np.asarray(s).reshape(-1) for s in signs)),
        "metrics": lambda: Score.of(task.loss, on_host, parsed.y).bits(task.metrics),
        "hash the state": lambda: State(values).end,
        "IT_RES, signed": lambda: finish_message(task, pending, outcome, 1),
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
    parser.add_argument("--batches", default="256")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--iterations", type=int, default=6, help="of each contender in a turn")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores, {jax.devices()[0].device_kind}, jax {jax.__version__}\n")
    models, batches = options.models.split(","), [int(n) for n in options.batches.split(",")]
    results: list[dict[str, Any]] = []
    for model, batch in product(models, batches):
        spent = compare(model, batch, options.turns, options.iterations)
        results.append({"model": model, "batch": batch, "ms": {k: asdict(v) for k, v in spent.items()}})
        report(f"{TITLES[model]}, batch {batch}", spent)
    for model, batch in product(models, batches):
        parts = {kind.name: split(model, batch, kind) for kind in KINDS}
        results.append({"model": model, "batch": batch, "parts_ms": parts})
        report_parts(f"{TITLES[model]}, batch {batch}: steps alone, ms", parts)
    if options.json:
        options.json.write_text(json.dumps({"cores": cores, "results": results}, indent=1), encoding="utf-8")


def report(title: str, spent: dict[str, Spent]) -> None:
    """Print a table of whole iterations."""
    heads = ("ms", "E_f", "/ native", "replay / it.", "cpu ms", "E_f (cpu)")
    print(f"{title}\n{'':18}" + "".join(f"{head:>13}" for head in heads))
    plain, native = spent["plain"], spent["native"]
    for name in ("plain", *(kind.name for kind in KINDS)):
        mine, again = spent[name], spent.get(f"replay, {name.removeprefix('exact, ')}")
        cells = [f"{mine.wall:.2f}", f"{plain.wall / mine.wall:.2f}"]
        cells.append(f"{mine.wall / native.wall:.2f}" if name != "plain" else "")
        cells.append(f"{again.wall / mine.wall:.2f}" if again else "")
        cells += [f"{mine.cpu:.2f}", f"{plain.cpu / mine.cpu:.2f}"]
        print(f"{name:18}" + "".join(f"{cell:>13}" for cell in cells))
    print(flush=True)


def report_parts(title: str, parts: dict[str, dict[str, float]]) -> None:
    """Print a table of the steps of an iteration."""
    print(f"{title}\n{'':24}" + "".join(f"{kind:>16}" for kind in parts))
    for name in next(iter(parts.values())):
        print(f"{name:24}" + "".join(f"{found[name]:16.2f}" for found in parts.values()))
    print(flush=True)


if __name__ == "__main__":
    if os.environ.get("GLIBC_TUNABLES") != ALLOCATOR:
        os.environ["GLIBC_TUNABLES"] = ALLOCATOR  # read when a process starts
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606
    main()
