"""The one door to Matplotlib: a picture is drawn on axes and comes out as SVG, in the colours of its page.

Lines and text have colours that are names: the SVG refers to variables of the page's style sheet, so that one
picture is right in light and in dark. Equal pictures are equal bytes.
"""

import re
from collections.abc import Callable, Sequence
from io import StringIO
from typing import Any, Final, Literal

from p2pai.primitives.errors import Unavailable

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator
except ImportError as error:
    raise Unavailable(
        "a report needs Matplotlib, which is not installed: pip install 'p2pai[report]'"
    ) from error

__all__ = [
    "GRID",
    "INK",
    "MUTED",
    "PAPER",
    "SERIES",
    "Axes",
    "draw_svg",
    "label",
    "make_logarithmic",
    "set_scale",
    "set_values",
]

INK: Final = "#0a0a01"
MUTED: Final = "#0a0a02"
GRID: Final = "#0a0a03"
PAPER: Final = "#0a0a04"
SERIES: Final = tuple(f"#0a0b{i:02x}" for i in range(8))
"""Eight colours that can be told apart, also by who sees few."""

_VARIABLES: Final = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    PAPER: "var(--paper)",
    **{colour: f"var(--s{i})" for i, colour in enumerate(SERIES)},
}

_STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.parse_math": False,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "lines.linewidth": 1.6,
    "hatch.linewidth": 0.6,
}

WIDTHS: Final = {"wide": 640, "half": 460, "narrow": 320}
"""Points; a page shows the narrow one where there is no room for another."""

_AXES: Final[tuple[Literal["x", "y"], ...]] = ("x", "y")
LABEL_LENGTH_MAX: Final = 28

_ID: Final = re.compile(r'(?<= id=")[^"]+|(?<=href="#)[^"]+|(?<=url\(#)[^)]+')
_DIGITS: Final = re.compile(r"(\d\.\d\d)\d+")
"""Hundredths of a point are nothing that anybody sees."""

_HEAD: Final = re.compile(r"^.*?<svg[^>]*>\s*(<metadata>.*?</metadata>)?", re.DOTALL)


def label(text: str) -> str:
    """Return text from wherever as a label: one line, not long."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return (
        clean if len(clean) <= LABEL_LENGTH_MAX else f"{clean[: LABEL_LENGTH_MAX - 1]}\N{HORIZONTAL ELLIPSIS}"
    )


def draw_svg(
    name: str,
    draws: Sequence[Callable[[Axes], None]],
    height: int,
    width: str,
    *,
    shared: bool,
) -> list[str]:
    """Draw pictures of one kind, one for each of several outcomes.

    Args:
      name: of the kind; ids inside begin with it.
      draws: draw on axes; one for each picture.
      height: points.
      width: a key of WIDTHS.
      shared: whether all have the same axes, so that they can be compared.

    Returns:
      Each as an SVG element without a text alternative; its `<svg>` tag has a viewBox and no size.
    """
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever the user has set, equal pictures are equal
        mpl.rcParams.update(_STYLE)
        mpl.rcParams["svg.hashsalt"] = f"{name}-{width}"
        figures = [_figure(draw, WIDTHS[width], height) for draw in draws]
        if shared and len(figures) > 1:
            _share([figure.axes[0] for figure in figures])
        return [_svg(figure, f"{name}-{width}-{i}-") for i, figure in enumerate(figures)]


def set_scale(
    axes: Axes, x: str, y: str, *, whole_x: bool = False, whole_y: bool = False, percent_y: bool = False
) -> None:
    """Name the axes, with their units; whole numbers or per cent where those are meant."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if whole_y:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    if percent_y:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    ticks = 5 if axes.figure.bbox.width < WIDTHS["wide"] else 10
    axes.xaxis.set_major_locator(MaxNLocator(nbins=ticks, steps=[1, 2, 5, 10], integer=whole_x))


def make_logarithmic(axes: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis, which is named already, logarithmic, and say so."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_label_text(f"{axis.get_label_text()}, logarithmic")
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def set_values(axes: Axes, places: Sequence[float], names: Sequence[str], *, logarithmic: bool) -> None:
    """Put the ticks of the x axis where the values are."""
    if logarithmic:
        make_logarithmic(axes, "x")
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(places, [label(name) for name in names])


def _figure(draw: Callable[[Axes], None], width: int, height: int) -> Figure:
    figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained", facecolor="none")
    draw(figure.add_subplot())
    return figure


def _share(all_axes: Sequence[Axes]) -> None:
    """Give all the same ends and scales: pictures that stand side by side are compared."""
    for which in _AXES:
        _share_scale(all_axes, which)
        ends = [getattr(axes, f"get_{which}lim")() for axes in all_axes]
        low, high = min(min(e) for e in ends), max(max(e) for e in ends)
        is_rising = ends[0][0] <= ends[0][1]
        for axes in all_axes:
            getattr(axes, f"set_{which}lim")(*((low, high) if is_rising else (high, low)))


def _share_scale(all_axes: Sequence[Axes], which: Literal["x", "y"]) -> None:
    linear = [axes for axes in all_axes if getattr(axes, f"get_{which}scale")() == "linear"]
    if len(linear) < len(all_axes):
        for axes in linear:
            make_logarithmic(axes, which)
            axes.autoscale(axis=which)


def _svg(figure: Figure, prefix: str) -> str:
    out = StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(out, format="svg", metadata=nothing)
    width, height = figure.get_size_inches() * 72
    body = _HEAD.sub("", out.getvalue(), count=1)
    body = _DIGITS.sub(r"\1", body)
    body = _ID.sub(lambda match: prefix + match[0], body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" xmlns="http://www.w3.org/2000/svg" ' + (
        f'xmlns:xlink="http://www.w3.org/1999/xlink">{body}'
    )
