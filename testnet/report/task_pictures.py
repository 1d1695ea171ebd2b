"""Tasks in pictures: their lives, and what their training reached for the bytes it sent."""

from collections.abc import Sequence
from typing import Final

from testnet.outcome import Iteration, Outcome, Task
from testnet.report.canvas import INK, MUTED, PAPER, SERIES, Axes, label, set_scale
from testnet.report.picture import Mark, Picture, Table

STAGES: Final = {"joining": 0, "keying": 1, "training": 2, "paused": 3, "evaluating": 4}
"""Colours of the stages that last."""

HATCHES: Final = {"paused": "//", "keying": "--"}
SHAPES: Final = {"paused": "striped", "keying": "lined"}
GOOD_ENDS: Final = ("paid",)
LIVES_MAX: Final = 20
FIRED_LINES_MAX: Final = 60
CURVES_MAX: Final = 5
MEAN_OVER: Final = 15
"""Mini-batches: one alone has too few samples to say much."""


def lives(outcome: Outcome) -> Picture:
    """Show when each task was in which stage."""
    tasks = [task for task in outcome.tasks if task.stages][:LIVES_MAX]
    if not tasks:
        return Picture("There is no task.", None)
    end_ms = outcome.head.length_ms
    deeds = [ms for fired in outcome.fired for ms in fired.at_ms][:FIRED_LINES_MAX]

    def draw(axes: Axes) -> None:
        for ms in deeds:
            axes.axvline(ms / 1000, color=MUTED, linewidth=0.6, linestyle=(0, (2, 2)), zorder=0)
        for row, task in enumerate(tasks):
            _draw_life(axes, row, task, end_ms)
        set_scale(axes, "time (s)", "")
        axes.set_yticks(range(len(tasks)), [label(task.name or task.id[:8]) for task in tasks])
        axes.set_ylim(len(tasks) - 0.4, -0.6)
        axes.set_xlim(0, end_ms / 1000 * 1.02)
        axes.grid(visible=False, axis="y")

    caption = " ".join(_life_in_words(task) for task in tasks[:6])
    if deeds:
        caption += " Dashed lines: faults and deeds of adversaries."
    rows = [
        (task.name, entered.stage, f"{entered.at_ms / 1000:.1f}", entered.height)
        for task in tasks
        for entered in task.stages
    ]
    marks = [
        Mark(stage, colour, SHAPES.get(stage, "box"))
        for stage, colour in STAGES.items()
        if _had(tasks, stage)
    ]
    marks += [Mark("paid", None, "dot"), Mark("ended otherwise", None, "ring")]
    table = Table(("task", "stage", "since s>", "at height>"), tuple(rows))
    return Picture(caption, draw, tuple(marks), table, 70 + 30 * len(tasks))


def _had(tasks: Sequence[Task], stage: str) -> bool:
    return any(entered.stage == stage for task in tasks for entered in task.stages)


def _draw_life(axes: Axes, row: int, task: Task, end_ms: int) -> None:
    ends = [entered.at_ms for entered in task.stages[1:]] + [end_ms]
    for entered, until_ms in zip(task.stages, ends, strict=True):
        start, colour = entered.at_ms / 1000, STAGES.get(entered.stage)
        if colour is None:
            face = INK if entered.stage in GOOD_ENDS else PAPER
            axes.plot([start], [row], "o", color=INK, markerfacecolor=face, markersize=7, zorder=3)
        else:
            axes.barh(
                row, until_ms / 1000 - start, 0.55, start, color=SERIES[colour], edgecolor=PAPER,
                linewidth=0.8, hatch=HATCHES.get(entered.stage, ""),
            )  # fmt: skip


def _life_in_words(task: Task) -> str:
    first, last = task.stages[0], task.stages[-1]
    name = label(task.name or task.id[:8])
    if last.stage in STAGES:
        return f"{name} has been {last.stage} since {last.at_ms / 1000:.1f} s."
    spent = (last.at_ms - first.at_ms) / 1000
    return (
        f"{name} is {last.stage}, {spent:.1f} s after it came into the chain at {first.at_ms / 1000:.1f} s."
    )


def learning(outcome: Outcome) -> Picture:
    """Show the first metric against the bytes of message maps."""
    tasks = [task for task in outcome.tasks if task.points and task.metrics]
    tasks = sorted(tasks, key=lambda task: task.is_predefined)[:CURVES_MAX]
    if not tasks:
        return Picture("Nothing was trained.", None)
    metric = tasks[0].metrics[0]
    tasks = [task for task in tasks if task.metrics[0] == metric]
    is_share = all(0 <= v <= 1 for task in tasks for v in _values(task.points))

    def draw(axes: Axes) -> None:
        for colour, task in enumerate(tasks):
            _draw_curve(axes, task, SERIES[colour])
        set_scale(axes, "message maps sent (KiB)", label(metric), percent_y=is_share)
        axes.set_xlim(0)
        if is_share:
            axes.set_ylim(0, 1.03)

    caption = " ".join(_course_in_words(task) for task in tasks)
    caption += f" Lines: mean over {MEAN_OVER} mini-batches. Squares: on data set apart."
    caption += " Diamond: the evaluators' score."
    rows = [
        (label(task.name), task.iterations, f"{task.map_bytes / 1024:.1f}", _last(task), _shown(task.score))
        for task in tasks
    ]
    headings = ("task", "iterations>", "KiB>", f"last {label(metric)}>", "score>")
    marks = tuple(Mark(label(task.name or task.id[:8]), colour, "line") for colour, task in enumerate(tasks))
    return Picture(caption, draw, marks, Table(headings, tuple(rows)))


def _values(points: Sequence[Iteration]) -> list[float]:
    return [point.metrics[0] for point in points if point.metrics and point.metrics[0] is not None]


def _draw_curve(axes: Axes, task: Task, colour: str) -> None:
    known = [
        (p.map_bytes / 1024, p.metrics[0]) for p in task.points if p.metrics and p.metrics[0] is not None
    ]
    values = [value for _, value in known]
    means = [_mean(values[max(0, i + 1 - MEAN_OVER) : i + 1]) for i in range(len(values))]
    axes.plot([x for x, _ in known], means, color=colour)
    apart = [(p.map_bytes / 1024, p.validation[0]) for p in task.points if p.validation]
    sound = [(x, y) for x, y in apart if y is not None]
    axes.plot([x for x, _ in sound], [y for _, y in sound], "s", color=colour, markersize=4)
    if task.score is not None:
        axes.plot([task.map_bytes / 1024], [task.score], "D", color=INK, markerfacecolor=colour, markersize=7)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _course_in_words(task: Task) -> str:
    score = "" if task.score is None else f", its model scored {_shown(task.score)}"
    name = label(task.name or task.id[:8])
    return (
        f"{name}: {task.iterations} iterations sent {task.map_bytes / 1024:.0f} KiB of message maps{score}."
    )


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _last(task: Task) -> str:
    values = _values(task.points)
    return _shown(_mean(values[-MEAN_OVER:])) if values else "-"
