"""What exact data-parallel training with message maps learns, on MNIST, against plain float32 on one machine.

    python benchmarks/learning.py --data DIR [--parts headline,groups] [--seeds 3]      trains
    python benchmarks/learning.py --report                                              prints the tables
    python benchmarks/learning.py --draw                                                draws the pictures

DIR holds the four files of MNIST, gzipped or not. Results are kept in docs/data/learning.json, and a run that
is there is not run again. Exact runs give the same numbers on every machine. Needs the extra "bench":
pip install -e '.[bench]'.

All runs train on the same 59,400 of the 60,000 training images (a task keeps at least one fragment hidden)
and are scored on the official 10,000 test images. "Plain" is optax in float32 on one machine, without message
maps: the same initial weights, order of mini-batches, rate and schedule, and the same number of samples.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import learning_report
import numpy as np
import optax

from p2pai.chain import layers, schedule, training
from p2pai.chain import task as tasks
from p2pai.jaxtrain import data_file, dataset, local
from p2pai.jaxtrain.dataset import Batch, read_batch
from p2pai.jaxtrain.model import Architecture, Network, evaluate_forward, train_forward
from p2pai.jaxtrain.operations import platform
from p2pai.jaxtrain.step import dropout_keys
from p2pai.jaxtrain.worker import initial_values, score_model
from p2pai.jobs import Position
from p2pai.primitives.hashing import tagged_hash
from p2pai.primitives.ids import ZERO_HASH, BlobId, Hash32, PeerId
from p2pai.primitives.merkle import leaf_hash

DOCS = Path(__file__).parents[1] / "docs"
RESULTS = DOCS / "data" / "learning.json"
FRAGMENTS = 100
TEST_BATCH = 1000
POINTS_PER_EPOCH = 2
RELU = layers.Activation(layers.Function.RELU)
SAME, VALID = layers.Padding.SAME, layers.Padding.VALID
MODELS: dict[str, tuple[layers.Layer, ...]] = {
    "mlp": (layers.Dense(512), RELU, layers.Dense(512), RELU, layers.Dense(10)),
    "lenet": (
        layers.Conv(6, 5, 5, 1, SAME), RELU, layers.MaxPool(2, 2),
        layers.Conv(16, 5, 5, 1, VALID), RELU, layers.MaxPool(2, 2),
        layers.Flatten(), layers.Dense(120), RELU, layers.Dense(84), RELU, layers.Dense(10),
    ),
    "small": (layers.Dense(128), RELU, layers.Dense(64), RELU, layers.Dense(10)),
}  # fmt: skip
OPTIMISERS: dict[str, training.Optimiser] = {
    "sgd 0.025": training.Sgd(25_000),
    "sgd 0.1": training.Sgd(100_000),
    "sgd 0.2": training.Sgd(200_000),
    "sgd 0.4": training.Sgd(400_000),
    "momentum": training.Momentum(40_000, 58_982, nesterov=True),
    "rmsprop": training.RmsProp(500, 58_982, 100),
    "adam": training.Adam(500, 58_982, 65_470, 10, 0),
}


@dataclass(frozen=True)
class Setting:
    """All that a run depends on besides the data."""

    part: str
    model: str = "mlp"
    numerics: str = "exact"
    """Or "plain": optax in float32, one machine, no message maps."""
    mantissa_bits: int = 13
    optimiser: str = "sgd 0.4"
    schedule: str = "cosine"
    miners: int = 3
    delay: int = 0
    tau_bits: int = 8
    density_ppm: int = 5_000
    batch: int = 100
    epochs: int = 10
    seed: int = 1

    @property
    def key(self) -> str:
        """A name of the run."""
        return json.dumps(asdict(self), sort_keys=True)


def plain(setting: Setting) -> Setting:
    """Return the run on one machine that a setting is compared with."""
    return replace(setting, numerics="plain", miners=1, delay=0, tau_bits=0, density_ppm=0, mantissa_bits=0)


def settings(part: str, seeds: int) -> Iterator[Setting]:
    """Yield the runs of a part."""
    for seed in range(1, seeds + 1):
        yield from PARTS[part](seed)


def _rates(seed: int) -> Iterator[Setting]:
    yield from (
        plain(Setting("rates", optimiser=name, seed=seed)) for name in ("sgd 0.1", "sgd 0.2", "sgd 0.4")
    )


def _headline(seed: int) -> Iterator[Setting]:
    base = Setting("headline", seed=seed)
    yield from (plain(base), base)


def _late(seed: int) -> Iterator[Setting]:
    yield Setting("late", delay=1, seed=seed)


def _bits(seed: int) -> Iterator[Setting]:
    yield Setting("bits", mantissa_bits=7, seed=seed)


def _cnn(seed: int) -> Iterator[Setting]:
    base = Setting("cnn", model="lenet", optimiser="sgd 0.2", tau_bits=7, epochs=3, seed=seed)
    yield from (plain(base), base)


def _optimisers(seed: int) -> Iterator[Setting]:
    for name in ("sgd 0.4", "momentum", "rmsprop", "adam"):
        base = Setting("optimisers", model="small", optimiser=name, epochs=5, seed=seed)
        yield from (plain(base), base)


def _tau(seed: int) -> Iterator[Setting]:
    base = Setting("tau", model="small", density_ppm=0, epochs=5, seed=seed)
    yield plain(base)
    yield from (replace(base, tau_bits=bits) for bits in (6, 7, 8, 9, 10, 11))
    yield replace(base, density_ppm=5_000)


def _groups(seed: int) -> Iterator[Setting]:
    base = Setting("groups", model="small", optimiser="sgd 0.1", epochs=5, seed=seed)
    yield plain(base)
    for miners in (1, 2, 4, 8, 16):
        yield from (replace(base, miners=miners, delay=d) for d in (0, 1, 4)[: 3 if miners > 1 else 1])


def _small_batches(seed: int) -> Iterator[Setting]:
    base = Setting("small batches", model="small", optimiser="sgd 0.025", batch=25, epochs=5, seed=seed)
    yield from (replace(base, miners=miners, delay=delay) for miners, delay in ((16, 0), (8, 4), (16, 4)))
    yield replace(base, miners=16, delay=4, tau_bits=11, density_ppm=0)


def _figure7(seed: int) -> Iterator[Setting]:
    base = Setting("figure7", model="small", optimiser="sgd 0.1", schedule="constant", seed=seed)
    yield replace(base, epochs=76)


PARTS = {
    "rates": _rates,
    "headline": _headline,
    "late": _late,
    "bits": _bits,
    "cnn": _cnn,
    "optimisers": _optimisers,
    "tau": _tau,
    "groups": _groups,
    "small batches": _small_batches,
    "figure7": _figure7,
}


class Data:
    """MNIST, cut as a task wants it."""

    def __init__(self, directory: Path) -> None:
        """Read all four files."""
        self.train = _read(directory, "train")
        self.test = _read(directory, "t10k")

    def test_batches(self) -> list[Batch]:
        """Return the official test images."""
        count = len(self.test.x) // TEST_BATCH
        chunks = (c for f in dataset.cut(self.test.x, self.test.y, count, TEST_BATCH) for c in f)
        return [dataset.parse(chunk, features=784, classes=10, targets=0) for chunk in chunks]


def _read(directory: Path, which: str) -> data_file.Samples:
    names = [f"{which}-images-idx3-ubyte{end}" for end in ("", ".gz")]
    found = [directory / name for name in names if (directory / name).is_file()]
    if not found:
        raise SystemExit(f"{directory} holds no file {names[0]}, gzipped or not")
    return data_file.read(str(found[0]), "idx", regression=False)


def make_draft(setting: Setting) -> tasks.TaskDefinition:
    """Return a setting's task without its data; the plain run takes model, rate and schedule from it too."""
    rates: dict[str, training.Schedule] = {
        "constant": training.ConstantRate(),
        "cosine": training.CosineRate(),
    }
    return tasks.TaskDefinition(
        name=setting.model,
        numerics=training.Numerics.EXACT,
        mantissa_bits=setting.mantissa_bits or 13,
        input_shape=(28, 28, 1) if setting.model == "lenet" else (784,),
        layers=MODELS[setting.model],
        initialiser=training.Initialiser(training.Distribution.NORMAL, training.Fan.IN, 2_000_000),
        loss=training.Loss.SOFTMAX_CROSS_ENTROPY,
        optimiser=OPTIMISERS[setting.optimiser],
        schedule=rates[setting.schedule],
        tau=training.Tau(setting.tau_bits or 9, setting.density_ppm),
        epochs=setting.epochs,
        stopping=None,
        validation=training.Holdout(0),
        metrics=("accuracy", "loss"),
        dataset=tasks.Dataset("idx", 0, 0, 0, 0, setting.batch, 99, (BlobId(ZERO_HASH),) * FRAGMENTS),
        group=tasks.Group(3, 3, 3),
        reward=tasks.Reward(70, 15, 15),
        preferences=(1, 1),
        client=PeerId(""),
        expected_blocks=1,
    )


def run(setting: Setting, data: Data) -> dict[str, Any]:
    """Train, and return what is worth keeping."""
    start_s = time.monotonic()
    task, fragments = local.cut(make_draft(setting), data.train)
    seed = seed_of(setting)
    trainer = train_plain if setting.numerics == "plain" else train_exact
    found = trainer(setting, task, seed, fragments, data.test_batches())
    return {**asdict(setting), **found, "seconds": round(time.monotonic() - start_s)}


def seed_of(setting: Setting) -> Hash32:
    """Return what stands for the task id."""
    return tagged_hash("p2pai/benchmark", str(setting.seed).encode())


def train_exact(
    setting: Setting, task: tasks.TaskDefinition, seed: Hash32, fragments: local.Fragments, test: list[Batch]
) -> dict[str, Any]:
    """Train as the network does."""
    group = local.Group(task, seed, fragments, miners=setting.miners, delay=setting.delay)
    points = Points(setting)
    steps: list[local.Step] = []
    updates = late = 0
    for event in group.run():
        if not isinstance(event, local.Step):
            continue
        updates, late = updates + event.updates, late + event.late
        steps += [event] if setting.part == "figure7" else []
        if points.is_due(event.score.samples):
            points.add(_accuracy_of(group, test))
    accuracies = [float(score.value("accuracy")) for score in group.scores(test)]
    sent = group.traffic
    return {
        **points.answer(accuracies),
        "weights": task.weight_count,
        "bytes_per_iteration": sent.size / sent.iterations,
        "density": sent.elements / (sent.iterations * task.weight_count),
        "saved": 1 - sent.size / group.dense_size,
        "staleness": late / updates if updates else 0.0,
        **({"trace": trace(steps, setting.miners)} if steps else {}),
    }


def _accuracy_of(group: local.Group, test: list[Batch]) -> float:
    session = group.miners[0].session
    values = session.state.values
    return float(score_model(session.trainer, values.weights, values.statistics, test).value("accuracy"))


class Points:
    """The first miner's test accuracy on the way."""

    def __init__(self, setting: Setting) -> None:
        """Stand at no samples."""
        self.samples, self.every = 0, 59_400 // POINTS_PER_EPOCH
        self.curve: list[tuple[int, float]] = []
        self.name = f"{setting.part} {setting.model} {setting.numerics} {setting.optimiser}"

    def is_due(self, samples: int) -> bool:
        """Count samples; tell whether another point is due."""
        before, self.samples = self.samples, self.samples + samples
        return before // self.every != self.samples // self.every

    def add(self, accuracy: float) -> None:
        """Note a point, and show it."""
        self.curve.append((self.samples, accuracy))
        print(f"{self.name}: {self.samples:7} samples, {accuracy:.4f}", flush=True)

    def answer(self, accuracies: list[float]) -> dict[str, Any]:
        """Return all points, and the accuracy of each miner at the end."""
        return {"samples": self.samples, "curve": self.curve, "accuracies": accuracies}


def trace(steps: list[local.Step], miners: int) -> list[dict[str, list[float]]]:
    """Return each miner's training loss and accuracy, means over windows of iterations."""
    found = []
    for miner in range(miners):
        scores = [step.score for step in steps if step.miner == miner]
        windows = [
            scores[i : i + learning_report.WINDOW]
            for i in range(0, len(scores) - learning_report.WINDOW + 1, learning_report.WINDOW)
        ]
        sums = [sum(window[1:], start=window[0]) for window in windows]
        names = ("loss", "accuracy")
        found.append({name: [round(float(score.value(name)), 5) for score in sums] for name in names})
    return found


def train_plain(
    setting: Setting, task: tasks.TaskDefinition, seed: Hash32, fragments: local.Fragments, test: list[Batch]
) -> dict[str, Any]:
    """Train with optax on one machine."""
    plan = schedule.make_schedule(task, seed)
    chunks = [chunk for fragment in plan.training for chunk in fragments[fragment]]
    machine, points = Plain(task, seed), Points(setting)
    for iteration in range(plan.iterations(0, 1) or 0):
        turn = plan.turn(iteration, 0, 1)
        assert turn is not None
        samples = machine.step(turn.epoch, chunks[turn.batch])
        if points.is_due(samples):
            points.add(machine.accuracy(test))
    return {**points.answer([machine.accuracy(test)]), "weights": task.weight_count}


class Plain:
    """Ordinary training: float32, the platform's arithmetic, optax."""

    def __init__(self, task: tasks.TaskDefinition, seed: Hash32) -> None:
        """Begin with the task's initial weights."""
        self.task, self.architecture = task, Architecture.of(task)
        self.weights = tuple(jnp.asarray(w) for w in initial_values(task, seed).weights)
        self.optimiser = optax.inject_hyperparams(_optax_of)(optimiser=task.optimiser, learning_rate=0.0)
        self.state = self.optimiser.init(self.weights)
        self.keys = dropout_keys(self.architecture, seed, Position(1, 0, 9), leaf_hash(b""))
        network = Network(self.architecture, platform())

        def loss(leaves: Any, x: Any, y: Any) -> Any:  # noqa: ANN401
            outputs, _ = train_forward(network, leaves, (), self.keys, x)
            return optax.softmax_cross_entropy_with_integer_labels(outputs, y).mean()

        def step(leaves: Any, state: Any, x: Any, y: Any) -> Any:  # noqa: ANN401
            updates, state = self.optimiser.update(jax.grad(loss)(leaves, x, y), state, leaves)
            return optax.apply_updates(leaves, updates), state

        self._step = jax.jit(step)
        self._outputs = jax.jit(lambda leaves, x: evaluate_forward(network, leaves, (), x))

    def step(self, epoch: int, chunk: bytes) -> int:
        """Learn from a mini-batch; return its number of samples."""
        batch = read_batch(self.task, chunk)
        rate = training.learning_rate(self.task.optimiser, self.task.schedule, epoch, self.task.epochs)
        self.state.hyperparams["learning_rate"] = jnp.float32(rate * 2.0**-24)
        self.weights, self.state = self._step(self.weights, self.state, batch.x, batch.y)
        return len(batch.y)

    def accuracy(self, batches: list[Batch]) -> float:
        """Return the share of right answers."""
        right = (np.argmax(self._outputs(self.weights, b.x), axis=1) == b.y for b in batches)
        return float(np.mean(np.concatenate(list(right))))


def _optax_of(optimiser: training.Optimiser, learning_rate: Any) -> optax.GradientTransformation:  # noqa: ANN401
    match optimiser:
        case training.Momentum():
            return optax.sgd(learning_rate, optimiser.momentum_q16 / 65536, optimiser.nesterov)
        case training.RmsProp():
            decay, epsilon = optimiser.decay_q16 / 65536, optimiser.epsilon_ppb * 1e-9
            return optax.rmsprop(learning_rate, decay, epsilon, eps_in_sqrt=False)
        case training.Adam():
            betas = (optimiser.beta1_q16 / 65536, optimiser.beta2_q16 / 65536)
            return optax.adam(learning_rate, *betas, eps=optimiser.epsilon_ppb * 1e-9)
    return optax.sgd(learning_rate)


def main() -> None:
    """Train what is missing, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--draw", action="store_true")
    options = parser.parse_args()
    results = load(options.results)
    if options.data:
        data = Data(options.data)
        for part in options.parts.split(","):
            for setting in settings(part, options.seeds):
                if setting.key not in results:
                    results[setting.key] = run(setting, data)
                    save(options.results, results)
    if options.report:
        print(learning_report.tables(list(results.values())))
    if options.draw:
        learning_report.draw(list(results.values()), DOCS / "images")


def load(file: Path) -> dict[str, dict[str, Any]]:
    """Read results by the keys of their settings."""
    names = [field.name for field in fields(Setting)]
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
    return {Setting(**{name: result[name] for name in names}).key: result for result in found}


def save(file: Path, results: dict[str, dict[str, Any]]) -> None:
    """Write results, one a line."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(result) for result in results.values())
    file.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
