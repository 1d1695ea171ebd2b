"""`p2pai train --local`: train a task definition on this machine, for who prepares a task.

Nothing of the network runs: the miners of the task step side by side in this process, with the schedule, the
arithmetic and the message maps that the network would use. On a terminal a bar shows how far they are; each
epoch is one line, also in a pipe. Ctrl-C ends training after the iteration that runs, and what was reached is
tested and written like any other end.

Source: PoUW Algorithm 1; docs/USER.md.
"""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from p2pai.chain.task import EPOCHS_MAX, TaskDefinition
from p2pai.cli import definition, options, screen
from p2pai.primitives.errors import InvalidInput
from p2pai.primitives.hashing import tagged_hash
from p2pai.shell.files import write_atomically

if TYPE_CHECKING:
    from p2pai.jaxtrain.local import EpochEnd, Event, Group
    from p2pai.jaxtrain.metrics import Score

Answer = dict[str, Any]

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C."""


def train(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.yaml", help="What to train; see examples/digits.yaml.")
    ],
    *,
    local: Annotated[
        bool, typer.Option("--local", help="On this machine alone, without a network; needed for now.")
    ] = False,
    data: Annotated[Path | None, typer.Option(help="Data file, in place of the one the task names.")] = None,
    miners: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Miners in this process; the task's number if not given."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, max=EPOCHS_MAX, help="Passes over the data, in place of the task's number."),
    ] = None,
    delay: Annotated[int, typer.Option(min=0, max=1_000, help="Iterations that message maps come late.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Chooses initial weights and the hidden test data.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="MODEL.safetensors", help="Where to write the best miner's model.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Train a task on this machine, without a network and without pay, to see how well it learns."""
    if not local:
        raise InvalidInput(
            "p2pai train works on this machine alone: say so with --local; "
            "to have the network train, use p2pai task submit"
        )
    _check_out(out)
    submission = definition.load(file, data)
    draft = submission.definition
    if not as_json:
        for note in submission.notes:
            screen.show_line(note)
    wanted = replace(draft, epochs=epochs or draft.epochs)
    group = _group(wanted, submission.data, miners or draft.group.miners, delay, seed)
    course = Course(group, is_quiet=as_json)
    with _stopped_by_ctrl_c(course):
        course.run()
    answer = {**course.answer(), "notes": list(submission.notes), "model": None}
    if out is not None and answer["best"] is not None:
        write_atomically(out, group.export(answer["best"]))
        answer["model"] = str(out)
    if as_json:
        screen.show_json(answer)
    else:
        screen.show(*_render(answer))
    if course.is_interrupted:
        raise typer.Exit(INTERRUPTED)


def _check_out(out: Path | None) -> None:
    """Refuse a file that can't be written before hours are spent."""
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise InvalidInput(f"{out} can't be written: it must be a file in a directory that exists")


def _group(draft: TaskDefinition, data: Path, miners: int, delay: int, seed: int) -> "Group":
    # JAX takes seconds to load; other commands shall not wait for it.
    from p2pai.jaxtrain import data_file
    from p2pai.jaxtrain.local import Group, cut

    samples = data_file.read(str(data), draft.dataset.format, regression=not draft.loss.is_classification)
    task, fragments = cut(draft, samples)
    begin = tagged_hash("p2pai/local", str(seed).encode())
    return Group(task, begin, fragments, miners=miners, delay=delay)


@contextmanager
def _stopped_by_ctrl_c(course: "Course") -> Iterator[None]:
    """Let Ctrl-C end the course in order; a second one ends the program."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        if course.is_interrupted:
            raise KeyboardInterrupt
        course.is_interrupted = True

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class Course:
    """A training as it goes."""

    def __init__(self, group: "Group", *, is_quiet: bool) -> None:
        """Stand at the beginning."""
        self.group, self.task, self.is_quiet = group, group.task, is_quiet
        self.is_interrupted = False
        self.epochs: list[Answer] = []
        self._ends: list[EpochEnd] = []
        self._start_s = time.monotonic()

    def run(self) -> None:
        """Train until the end or an interruption, and tell each epoch."""
        is_watched = sys.stdout.isatty() and not self.is_quiet
        with _bar(self.group) if is_watched else nullcontext() as bar:
            for event in self.group.run():
                self._take(event)
                if bar is not None:
                    bar.update(bar.task_ids[0], completed=self.group.traffic.iterations)
                if self.is_interrupted:
                    break
            self._close_epoch()

    def _take(self, event: "Event") -> None:
        from p2pai.jaxtrain.local import EpochEnd

        if self._ends and event.epoch != self._ends[0].epoch:
            self._close_epoch()
        if isinstance(event, EpochEnd):
            self._ends.append(event)

    def _close_epoch(self) -> None:
        ends, self._ends = self._ends, []
        if not ends:
            return
        self.epochs.append(_epoch(self.task, ends))
        if not self.is_quiet:
            screen.show_line(_epoch_line(self.epochs[-1], self.task))

    def answer(self) -> Answer:
        """Return all that is worth knowing at the end."""
        traffic = self.group.traffic
        batches = self.group.test_batches()
        scores = self.group.scores(batches) if traffic.iterations else []
        return {
            "task": self.task.name,
            "weights": self.task.weight_count,
            "iterations": traffic.iterations,
            "epochs": self.epochs,
            "test_samples": sum(len(batch.y) for batch in batches),
            "miners": [_values(self.task, score) for score in scores],
            "best": self.group.best(scores) if scores else None,
            "map_bytes": traffic.size,
            "dense_bytes": self.group.dense_size,
            "interrupted": self.is_interrupted,
            "seconds": round(time.monotonic() - self._start_s, 2),
        }


def _bar(group: "Group") -> Progress:
    columns = (TextColumn("iteration"), MofNCompleteColumn(), BarColumn(None), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(highlight=False), expand=True)
    bar.add_task("", total=group.iterations)
    return bar


def _values(task: TaskDefinition, score: "Score") -> Answer:
    return {metric: float(score.value(metric)) for metric in task.metrics}


def _epoch(task: TaskDefinition, ends: "list[EpochEnd]") -> Answer:
    """Return what an epoch gave, all miners together."""
    first, *others = ends
    training = sum((end.training for end in others), start=first.training)
    validation = sum((end.validation for end in others), start=first.validation)
    sent = sum((end.traffic for end in others), start=first.traffic)
    return {
        "epoch": first.epoch,
        "training": _values(task, training),
        "validation": _values(task, validation) if validation.samples else None,
        "density": sent.elements / (sent.iterations * task.weight_count),
        "map_bytes": sent.size,
        "next_tau_bits": [end.tau_bits for end in ends],
        "stopped": [end.miner for end in ends if end.is_over],
    }


def _epoch_line(epoch: Answer, task: TaskDefinition) -> str:
    parts = [f"epoch {epoch['epoch']}/{task.epochs}: {_named(epoch['training'])}"]
    if epoch["validation"] is not None:
        parts.append(f"validation {_named(epoch['validation'])}")
    parts.append(f"{epoch['density']:.2%} of the weights sent")
    if epoch["stopped"]:
        parts.append(f"stopped: miner {', '.join(str(rank + 1) for rank in epoch['stopped'])}")
    return "; ".join(parts)


def _named(values: Answer) -> str:
    return ", ".join(f"{name} {screen.fraction(value)}" for name, value in values.items())


def _render(answer: Answer) -> Iterator[RenderableType]:
    """Draw the end for people."""
    if not answer["miners"]:
        yield "Interrupted before the first iteration ended: there is no model."
        return
    if answer["interrupted"]:
        yield f"Interrupted after {answer['iterations']} iterations; this is what was reached."
    rows = [(rank + 1, *map(screen.fraction, m.values())) for rank, m in enumerate(answer["miners"])]
    yield f"Test, on {answer['test_samples']} samples that no miner saw:"
    yield screen.table(("miner>", *(f"{name}>" for name in answer["miners"][0])), rows)
    saved = 1 - answer["map_bytes"] / answer["dense_bytes"]
    each = answer["map_bytes"] / answer["iterations"]
    yield f"Message maps: {each:,.0f} bytes an iteration, {saved:.2%} less than gradients in float32."
    if answer["model"]:
        yield f"Model of miner {answer['best'] + 1} written to {answer['model']}."
