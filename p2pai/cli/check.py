"""`p2pai task check`: read a task file as the node would, and say what the training will cost.

The client's data are cut in this process, the definition is completed and checked by the rules of the chain,
and a few iterations run as a miner's trainer runs them: one thread, hashes included. Nothing is sent or kept.

Source: PoUW §3.4, §5.1; PROTOCOL sections 1, 5 and 7.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group, RenderableType

from p2pai import jobs
from p2pai.chain import task as tasks
from p2pai.chain.params import Params
from p2pai.chain.task import DEFINITION_SIZE_MAX, TaskDefinition
from p2pai.cli import cost, screen
from p2pai.cli.submission import Submission
from p2pai.primitives import blob
from p2pai.primitives.errors import InvalidInput, Unavailable
from p2pai.primitives.ids import ZERO_HASH, BlobId
from p2pai.shell.specs import load_spec
from p2pai.shell.trainer import ONE_THREAD
from p2pai.vrf import selection

if TYPE_CHECKING:
    from p2pai.jaxtrain.worker import Worker

DEVNET: Final = "devnet"
ITERATIONS_DEFAULT: Final = 5
ITERATIONS_MAX: Final = 1_000
SPACING_FACTOR_DEVNET: Final = 20
SPACING_FACTOR: Final = 100
"""A block's spacing is at least so many times k iterations, so that committing to a block is no race.
Source: PROTOCOL section 1."""

SESSION: Final = "check"
Answer = dict[str, Any]


class Blobs:
    """Blobs in memory, for a worker whose node does not exist."""

    def __init__(self) -> None:
        """Begin with none."""
        self._blobs: dict[BlobId, tuple[bytes, ...]] = {}

    def get(self, name: BlobId) -> tuple[bytes, ...]:
        """Return the chunks of a blob."""
        if name not in self._blobs:
            raise Unavailable("a blob is not here")
        return self._blobs[name]

    def put(self, chunks: tuple[bytes, ...], *, shared: bool) -> BlobId:
        """Store fragments; nobody asks for what an iteration leaves (`shared`)."""
        name = blob.blob_id(chunks)
        if not shared:
            self._blobs[name] = chunks
        return name


@dataclass(frozen=True, slots=True)
class Measured:
    """What iterations took here."""

    first_s: float
    """The first, with compilation."""
    iteration_s: float
    """The median of the others."""
    map_bytes: int
    """Largest message map."""
    count: int


def check(submission: Submission, chain: str = DEVNET, iterations: int = ITERATIONS_DEFAULT) -> Answer:
    """Complete a draft with its data, check it, and tell its cost.

    Args:
      submission: as the task file has it.
      chain: whose rules of work count.
      iterations: how many to run; 0 for none.

    Raises:
      InvalidInput: what is wrong with the task or its data, in one sentence.
    """
    params = load_spec(chain).params
    blobs = Blobs()
    worker = _worker(blobs)
    task = complete(submission, worker)
    measured = _measure(worker, task, iterations) if iterations else None
    return {
        "task": task.name,
        "data": str(submission.data),
        "notes": list(submission.notes),
        "layers": [cost.describe_layer(placed) for placed in task.placed],
        "weights": task.weight_count,
        "definition_bytes": cost.definition_size(task),
        "definition_bytes_max": DEFINITION_SIZE_MAX,
        "dataset": cost.describe_dataset(task),
        "course": cost.describe_course(task),
        "iteration": cost.describe_iteration(task, params, _largest(task, blobs)),
        "measured": None if measured is None else _times(measured),
        "spacing": [] if measured is None else _spacings(chain, params, measured.iteration_s),
    }


def complete(submission: Submission, worker: "Worker") -> TaskDefinition:
    """Cut the data and check the completed definition.

    Raises:
      InvalidInput: the data can't be read or cut, or the definition breaks a rule.
    """
    draft = submission.definition
    data = draft.dataset
    cut = _run(
        worker,
        jobs.Prepare(
            path=str(submission.data),
            format=data.format,
            regression=not draft.loss.is_classification,
            batch_size=data.batch_size,
            fragment_count=len(data.fragments),
            redundancy=draft.redundancy,
        ),
    )
    assert isinstance(cut, jobs.Prepared), cut
    task = draft.with_data(cut.samples, cut.features, cut.classes, cut.targets, cut.fragments, cut.shards)
    tasks.check(task)
    selection.check_traits(task.preferences)
    size = cost.definition_size(task)
    if size > DEFINITION_SIZE_MAX:
        raise InvalidInput(f"the definition takes {size:,} bytes on chain, at most {DEFINITION_SIZE_MAX:,}")
    return task


def _worker(blobs: Blobs) -> "Worker":
    # JAX takes seconds to load, and reads these once: as a node's trainer has them.
    for name, value in {"JAX_PLATFORMS": "cpu", **ONE_THREAD}.items():
        os.environ.setdefault(name, value)
    from p2pai.jaxtrain.worker import Worker

    return Worker(blobs)


def _run(worker: "Worker", job: jobs.Job) -> jobs.Result:
    result = worker.run(job)
    if isinstance(result, jobs.Failed):
        raise InvalidInput(result.reason)
    return result


def _largest(task: TaskDefinition, blobs: Blobs) -> int:
    """Return the bytes of the largest mini-batch."""
    return max(len(chunk) for name in task.dataset.fragments for chunk in blobs.get(name))


def _measure(worker: "Worker", task: TaskDefinition, count: int) -> Measured:
    """Run iterations on the first fragment's whole mini-batches."""
    fragment = task.dataset.fragments[0]
    _run(worker, jobs.Open(SESSION, task.encode(), ZERO_HASH, (fragment,), None))
    whole = task.samples_in_batch(0, 0)
    batches = [i for i in range(task.batches_in_fragment(0)) if task.samples_in_batch(0, i) == whole]
    times_s, sizes = [], []
    for iteration in range(count + 1):
        start_s = time.perf_counter()
        position = jobs.Position(1, iteration, task.tau.bits)
        result = _run(worker, jobs.Step(SESSION, position, batches[iteration % len(batches)], ()))
        times_s.append(time.perf_counter() - start_s)
        assert isinstance(result, jobs.Stepped), result
        sizes.append(len(result.message_map))
    return Measured(times_s[0], median(times_s[1:]), max(sizes), count)


def _times(measured: Measured) -> Answer:
    return {
        "iterations": measured.count,
        "first_ms": round(1000 * measured.first_s, 1),
        "iteration_ms": round(1000 * measured.iteration_s, 3),
        "map_bytes": measured.map_bytes,
    }


def _spacings(chain: str, params: Params, iteration_s: float) -> list[Answer]:
    """Hold this machine's iterations against the spacing of blocks, on the chain and by the default rules."""
    networks = [(chain, params, SPACING_FACTOR_DEVNET if chain == DEVNET else SPACING_FACTOR)]
    if chain == DEVNET:
        networks.append(("other networks", Params(), SPACING_FACTOR))
    return [
        {
            "network": name,
            "factor": factor,
            "commitment_distance": rules.commitment_distance,
            "spacing_s_min": round(factor * rules.commitment_distance * iteration_s, 3),
            "spacing_s": rules.spacing_s,
            "is_enough": factor * rules.commitment_distance * iteration_s <= rules.spacing_s,
        }
        for name, rules, factor in networks
    ]


def render(answer: Answer) -> RenderableType:
    """Show what `check` found."""
    layers = [
        (row["layer"], row["kind"], screen.line(row["numbers"]) if row["numbers"] else "",
         shape(row["output"]), f"{row['weights']:,}", f"{row['products']:,}")
        for row in answer["layers"]
    ]  # fmt: skip
    headings = ("layer>", "kind", "numbers", "output", "weights>", "products a sample>")
    return screen.stack(
        screen.table(headings, layers),
        screen.facts(_facts(answer)),
        Group(*(screen.clean(f"Note: {note}") for note in answer["notes"])) if answer["notes"] else None,
    )


def _facts(answer: Answer) -> list[tuple[str, str]]:
    used, most = answer["definition_bytes"], answer["definition_bytes_max"]
    return [
        ("Weights", f"{answer['weights']:,}"),
        *_data_rows(answer["dataset"], answer["course"]),
        *_cost_rows(answer["iteration"]),
        ("Definition", f"{used:,} bytes on chain, of {most:,}"),
        *_measured_rows(answer),
    ]


def _data_rows(data: Answer, course: Answer) -> list[tuple[str, str]]:
    labels = f"{data['classes']} classes" if data["classes"] else f"{data['targets']} numbers a label"
    return [
        ("Data", f"{data['samples']:,} samples of {data['features']:,} features, {labels}, {data['format']}"),
        (
            "Mini-batches",
            f"{course['revealed_batches']:,} of {data['batch_size']} samples in {data['training_fragments']} "
            f"of {data['fragments']} fragments, {course['validation_batches']:,} set apart",
        ),
        (
            "Iterations",
            f"{course['iterations_per_epoch']:,} a miner and epoch, {course['iterations']:,} in "
            f"{course['epochs']:,} epochs with {course['miners']} miners, {course['assignment']}",
        ),
        ("Stored", _stored(data["redundancy"])),
    ]


def _stored(scheme: Answer) -> str:
    if scheme["kind"] == "full":
        return "by every supervisor whole"
    data, parity = scheme["data"], scheme["parity"]
    return f"in {data} + {parity} shards a fragment, one with each supervisor; any {data} restore it"


def _cost_rows(needs: Answer) -> list[tuple[str, str]]:
    wanted, nonces = needs["map_bytes_wanted"], needs["nonces"]
    at_density = f", {size(wanted)} at the density wanted" if wanted else ""
    return [
        ("Products", f"{needs['products_forward']:,} forward, {needs['products_backward']:,} backward"),
        (
            "Memory, about",
            f"{size(needs['activation_bytes'])} of activations, {size(needs['state_bytes'])} of state, and "
            f"{needs['states_kept']} earlier states",
        ),
        ("Message map", f"at most {size(needs['map_bytes_max'])}{at_density}"),
        ("Capsule", f"{size(needs['capsule_bytes'])}, {size(needs['batch_bytes'])} of them the mini-batch"),
        ("Nonces", f"{nonces:,} an iteration" if nonces else "none: native numerics do not mine"),
    ]


def _measured_rows(answer: Answer) -> list[tuple[str, str]]:
    found = answer["measured"]
    if found is None:
        return []
    rows = [
        (
            "On this machine",
            f"{found['iteration_ms']:.3g} ms an iteration (median of {found['iterations']}), "
            f"{found['first_ms'] / 1000:.1f} s the first; message maps up to {size(found['map_bytes'])}",
        )
    ]
    for row in answer["spacing"]:
        verdict = "enough" if row["is_enough"] else "NOT enough: take smaller mini-batches or a smaller model"
        rows.append(
            (
                f"Spacing on {row['network']}",
                f"at least {row['factor']} * {row['commitment_distance']} iterations = "
                f"{row['spacing_s_min']:g} s; it is {row['spacing_s']} s, {verdict}",
            )
        )
    return rows


def shape(lengths: Sequence[int]) -> str:
    """Show a shape, such as 28 x 28 x 1."""
    return " x ".join(map(str, lengths))


def size(count: int) -> str:
    """Show a number of bytes."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"
