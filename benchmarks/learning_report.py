"""Tables and pictures of what benchmarks/learning.py measured; called by it (`--report`, `--draw`).

Colours are those of Okabe and Ito, which colour-blind readers can tell apart; lines differ in marker as well.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.axes import Axes

Result = dict[str, Any]
Results = list[Result]

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
PLAIN = {"color": "#444444", "linestyle": "--", "linewidth": 1.4}
WINDOW = 100
STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "savefig.dpi": 130,
}


def tables(results: Results) -> str:
    """Return every table as Markdown."""
    return "\n\n".join(table for part in TABLES for table in [part(results)] if table)


def draw(results: Results, directory: Path) -> None:
    """Draw every picture."""
    directory.mkdir(parents=True, exist_ok=True)
    mpl.use("Agg")
    with mpl.rc_context(STYLE):
        for name, picture in PICTURES.items():
            figure = picture(results)
            if figure is not None:
                figure.savefig(directory / f"{name}.png", bbox_inches="tight")
                pyplot.close(figure)


def of(results: Results, part: str, **wanted: Any) -> Results:  # noqa: ANN401
    """Return the results of a part that have these values."""
    return [r for r in results if r["part"] == part and all(r[key] == value for key, value in wanted.items())]


def accuracy(result: Result) -> float:
    """Return the mean test accuracy of a run's miners, in per cent."""
    return 100 * mean(result["accuracies"])


def spread(results: Results) -> str:
    """Return the mean over runs, and from where to where they go."""
    found = [accuracy(result) for result in results]
    if len(found) == 1:
        return f"{found[0]:.2f} %"
    return f"{mean(found):.2f} % ({min(found):.2f} to {max(found):.2f})"


def _sent(results: Results) -> tuple[str, str, str]:
    if results[0]["numerics"] == "plain":
        return f"{4 * results[0]['weights']:,} (dense)", "100 %", "-"
    each = mean(r["bytes_per_iteration"] for r in results)
    density, saved = mean(r["density"] for r in results), mean(r["saved"] for r in results)
    return f"{each:,.0f}", f"{density:.2%}".replace("%", " %"), f"{saved:.2%}".replace("%", " %")


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _comparison(results: Results, names: dict[str, dict[str, Any]]) -> str:
    """Return a table of contenders, the first of which is the yardstick of the same seeds."""
    rows: list[list[str]] = []
    yardstick: dict[int, float] = {}
    for name, wanted in names.items():
        found = of(results, **wanted)
        if found:
            levels = {r["seed"]: accuracy(r) for r in found}
            yardstick = yardstick or levels
            points = mean(level - yardstick[seed] for seed, level in levels.items())
            rows.append([name, str(len(found)), spread(found), f"{points:+.2f}", *_sent(found)])
    headings = (
        "",
        "runs",
        "test accuracy",
        "points",
        "bytes an iteration",
        "weights sent",
        "less than dense",
    )
    return _table(headings, rows) if rows else ""


def _rates_table(results: Results) -> str:
    rows = [[r["optimiser"], spread([r])] for r in of(results, "rates")]
    return _table(("one machine", "test accuracy"), rows) if rows else ""


def _headline_table(results: Results) -> str:
    names = {
        "one machine, float32": {"part": "headline", "numerics": "plain"},
        "3 miners, exact, 13 bits": {"part": "headline", "numerics": "exact"},
        "the same, updates one iteration late": {"part": "late"},
        "3 miners, exact, 7 bits": {"part": "bits"},
    }
    return _comparison(results, names)


def _cnn_table(results: Results) -> str:
    sides = {"one machine, float32": "plain", "3 miners, exact, 13 bits": "exact"}
    return _comparison(results, {name: {"part": "cnn", "numerics": side} for name, side in sides.items()})


def _optimisers_table(results: Results) -> str:
    rows = []
    for name in dict.fromkeys(r["optimiser"] for r in of(results, "optimisers")):
        sides = [of(results, "optimisers", optimiser=name, numerics=side) for side in ("plain", "exact")]
        if all(sides):
            levels = [mean(accuracy(r) for r in side) for side in sides]
            difference = f"{levels[1] - levels[0]:+.2f}"
            sent = _sent(sides[1])
            bits = f"2^-{sides[1][0]['tau_bits']}"
            rows.append([name, bits, *map(spread, sides), difference, *sent[1:]])
    headings = ("optimiser", "tau", "one machine", "3 miners", "points", "weights sent", "less than dense")
    return _table(headings, rows) if rows else ""


def _tau_table(results: Results) -> str:
    rows = []
    for r in of(results, "tau"):
        if r["numerics"] == "plain":
            name = "(one machine, float32)"
        elif r["density_ppm"]:
            name = f"begins at 2^-{r['tau_bits']}, density wanted {r['density_ppm'] / 10_000:g} %"
        else:
            name = f"2^-{r['tau_bits']} = {2.0 ** -r['tau_bits']:.5f}"
        rows.append([name, spread([r]), *_sent([r])])
    headings = ("tau", "test accuracy", "bytes an iteration", "weights sent", "less than dense")
    return _table(headings, rows) if rows else ""


def _groups_table(results: Results) -> str:
    found = of(results, "groups", numerics="exact")
    delays = sorted({r["delay"] for r in found})
    rows = []
    for miners in sorted({r["miners"] for r in found}):
        same = [[r for r in found if (r["miners"], r["delay"]) == (miners, delay)] for delay in delays]
        cells = [spread(runs) if runs else "-" for runs in same]
        sent = [f"{mean(r['bytes_per_iteration'] for r in runs):,.0f}" if runs else "-" for runs in same]
        least = min(r["saved"] for runs in same for r in runs)
        rows.append([str(miners), *cells, *sent, f"{least:.2%}".replace("%", " %")])
    headings = ("miners", *(f"delay {d}" for d in delays), *(f"bytes, {d}" for d in delays), "less, at least")
    return _table(headings, rows) if rows else ""


def _small_batches_table(results: Results) -> str:
    rows = []
    for r in of(results, "small batches"):
        large = of(results, "groups", miners=r["miners"], delay=r["delay"], seed=r["seed"])
        tau = f"2^-{r['tau_bits']}, {'adapts' if r['density_ppm'] else 'stays'}"
        saved = f"{r['saved']:.2%}".replace("%", " %")
        before = spread(large) if large and r["density_ppm"] else "-"
        rows.append([str(r["miners"]), str(r["delay"]), before, tau, spread([r]), saved])
    headings = ("miners", "delay", "batch 100, rate 0.1", "tau", "batch 25, rate 0.025", "less than dense")
    return _table(headings, rows) if rows else ""


def _figure7_table(results: Results) -> str:
    found = of(results, "figure7")
    rows = []
    for miner, trace in enumerate(found[0]["trace"] if found else []):
        count = len(trace["loss"])
        places = [0, min(9, count - 1), min(49, count - 1), count - 1]
        cells = [f"{trace['accuracy'][i]:.4f} / {trace['loss'][i]:.4f}" for i in places]
        rows.append([str(miner + 1), *cells, f"{100 * found[0]['accuracies'][miner]:.2f} %"])
    headings = ("miner", *(f"iterations to {n:,}" for n in _ends(found)), "test accuracy")
    return _table(headings, rows) if rows else ""


def _ends(found: Results) -> list[int]:
    count = len(found[0]["trace"][0]["loss"]) if found else 1
    return [WINDOW * (min(i, count - 1) + 1) for i in (0, 9, 49, count - 1)]


TABLES: tuple[Callable[[Results], str], ...] = (
    _rates_table, _headline_table, _cnn_table, _optimisers_table, _tau_table, _groups_table,
    _small_batches_table, _figure7_table,
)  # fmt: skip


def _curve(axes: Axes, results: Results, label: str, **style: Any) -> None:  # noqa: ANN401
    """Draw the mean of some runs, and a band from the lowest to the highest."""
    curves = [result["curve"] for result in results]
    samples = [point[0] / 1000 for point in curves[0]]
    found = [[100 * curve[i][1] for curve in curves] for i in range(len(samples))]
    (line,) = axes.plot(samples, [mean(values) for values in found], label=label, **style)
    if len(curves) > 1:
        low, high = [min(values) for values in found], [max(values) for values in found]
        axes.fill_between(samples, low, high, color=line.get_color(), alpha=0.15, linewidth=0)


def _label(axes: Axes, x: str, y: str, title: str = "") -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title, loc="left", fontsize=10)


def _headline(results: Results) -> Any:  # noqa: ANN401
    if not of(results, "headline"):
        return None
    figure, axes = pyplot.subplots(figsize=(6.4, 4))
    _curve(axes, of(results, "headline", numerics="plain"), "1 machine, float32, whole gradients", **PLAIN)
    for i, (part, bits) in enumerate((("headline", 13), ("bits", 7))):
        found = of(results, part, numerics="exact")
        if found:
            _curve(axes, found, f"3 miners, exact, {bits}-bit mantissas, message maps", **_style(i))
    axes.set_ylim(94, 98.7)
    _label(axes, "samples seen by all miners (thousands)", "test accuracy (%)")
    axes.legend(loc="lower right")
    return figure


def _groups(results: Results) -> Any:  # noqa: ANN401
    found = of(results, "groups", numerics="exact")
    if not found:
        return None
    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    counts = sorted({r["miners"] for r in found})
    yardstick = of(results, "groups", numerics="plain")
    _errors(left, yardstick, "1 machine, float32", **PLAIN)
    for i, miners in enumerate(counts):
        label = "1 miner" if miners == 1 else f"{miners} miners"
        _errors(left, of(found, "groups", miners=miners, delay=0), label, **_style(i))
    middle.axhline(_error(yardstick), label="1 machine, float32", **PLAIN)
    for i, delay in enumerate(sorted({r["delay"] for r in found})):
        same = [of(found, "groups", delay=delay, miners=n) for n in counts]
        same = [runs for runs in same if runs]
        x = [runs[0]["miners"] for runs in same]
        middle.plot(x, [_error(runs) for runs in same], label=f"{delay} late", **_style(i))
        sizes = [mean(r["bytes_per_iteration"] for r in runs) / 1000 for runs in same]
        right.plot(x, sizes, label=f"{delay} late", **_style(i))
        for r in of(results, "small batches", delay=delay, tau_bits=8):
            style = {**_style(i), "markerfacecolor": "white", "linestyle": "none"}
            middle.plot([r["miners"]], [_error([r])], **style)
    for axes in (left, middle):
        axes.set_yscale("log")
        axes.set_ylim(2.8, 100)
        ticks = (3, 4, 5, 7, 10, 20, 40, 90)
        axes.set_yticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
    for axes in (middle, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(n) for n in counts])
        axes.minorticks_off()
    left.legend(loc="upper right", fontsize=9)
    middle.legend(loc="upper left", fontsize=9)
    right.legend(loc="upper left", fontsize=9)
    right.set_ylim(bottom=0)
    _label(left, "samples seen by all miners (thousands)", "test error (%)", "Updates arrive at once")
    hint = "Updates arrive iterations late (hollow: batch 25, rate 0.025)"
    _label(middle, "miners", "test error at the end (%)", hint)
    dense = 4 * found[0]["weights"] / 1000
    _label(right, "miners", "kB sent in an iteration", f"Message maps (a dense gradient: {dense:,.0f} kB)")
    return figure


def _style(i: int) -> dict[str, Any]:
    return {"color": COLOURS[i], "marker": MARKERS[i], "markersize": 5, "linewidth": 1.5}


def _error(results: Results) -> float:
    return 100 - mean(accuracy(result) for result in results)


def _errors(axes: Axes, results: Results, label: str, **style: Any) -> None:  # noqa: ANN401
    """Draw the mean test error of some runs against the samples seen."""
    curves = [result["curve"] for result in results]
    samples = [point[0] / 1000 for point in curves[0]]
    errors = [100 - 100 * mean(curve[i][1] for curve in curves) for i in range(len(samples))]
    axes.plot(samples, errors, label=label, **style)


def _figure7(results: Results) -> Any:  # noqa: ANN401
    found = of(results, "figure7")
    if not found:
        return None
    traces = found[0]["trace"]
    figure, grid = pyplot.subplots(
        len(traces), 2, figsize=(8, 5.6), sharex=True, sharey="col", layout="constrained"
    )
    for i, trace in enumerate(traces):
        for axes, name, colour in zip(grid[i], ("loss", "accuracy"), (COLOURS[4], COLOURS[0]), strict=True):
            x = [WINDOW * (n + 1) for n in range(len(trace[name]))]
            axes.plot(x, trace[name], color=colour, linewidth=1.4)
            axes.set_title(f"miner {i + 1}", loc="left", fontsize=10)
            axes.set_ylabel(name)
            axes.set_ylim((0, 1.0) if name == "loss" else (0.7, 1.005))
    for axes in grid[-1]:
        axes.set_xlabel("iterations of the miner")
        axes.set_xlim(0, 15_000)
    return figure


PICTURES: dict[str, Callable[[Results], Any]] = {
    "learning-headline": _headline,
    "learning-groups": _groups,
    "learning-figure7": _figure7,
}
