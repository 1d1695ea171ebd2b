"""Where the commands print: tables for people, JSON for programs, one sentence for errors.

Text that came from other people (task names, reasons) may hold anything, so characters that could move a
terminal's cursor are replaced before they reach it.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.status import Status
from rich.table import Table
from rich.text import Text

from p2pai.cli.money import format_atoms

PIPE_COLUMNS: Final = 1000

END_LENGTH: Final = 12
"""Of names that begin alike, such as peer ids, so much of the end is shown."""


def show_json(value: object) -> None:
    """Print a value as JSON on standard output."""
    print(json.dumps(value, indent=2, ensure_ascii=True))  # noqa: T201


def show(*parts: RenderableType) -> None:
    """Print for people; strings are plain text, never markup."""
    cleaned = [clean(part) if isinstance(part, str) else part for part in parts]
    if sys.stdout.isatty():
        Console(highlight=False).print(*cleaned, sep="\n")
        return
    # In a pipe there is no edge to fit into, and a program behind it wants whole words and no padding.
    console = Console(highlight=False, width=PIPE_COLUMNS)
    with console.capture() as captured:
        console.print(*cleaned, sep="\n")
    print("\n".join(line.rstrip(" ") for line in captured.get().split("\n")), end="")  # noqa: T201


def show_line(line: str) -> None:
    """Print one line as it is, at any width, at once."""
    print(clean(line).plain, flush=True)  # noqa: T201


def remark(line: str) -> None:
    """Print what goes on on standard error."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(clean(line))


def busy(doing: str) -> Status:
    """Say on a terminal's standard error what is being done, while inside; it is erased after."""
    return Console(stderr=True, highlight=False).status(clean(doing))


def complain(sentence: str) -> None:
    """Print an error on standard error."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(clean(f"p2pai: {sentence}"))


def clean(text: object) -> Text:
    """Return text without control characters but for the end of a line."""
    return Text(
        "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    )


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> Table:
    """Return a table; a heading that ends with `>` is a column of numbers."""
    made = Table(box=None, title=clean(title) if title else None, title_justify="left", pad_edge=False)
    for heading in headings:
        name = heading.removesuffix(">")
        made.add_column(name, justify="right" if heading.endswith(">") else "left", no_wrap=True)
    for row in rows:
        made.add_row(*(clean(dash(cell)) for cell in row))
    return made


def facts(pairs: Iterable[tuple[str, object]]) -> Table:
    """Return names and values, one pair a line."""
    made = Table(box=None, show_header=False, pad_edge=False)
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(Text(name, style="bold"), clean(dash(value)))
    return made


def stack(*parts: RenderableType | None) -> Group:
    """Return the parts one below the other, with an empty line between; None is left out."""
    present = [p for p in parts if p is not None]
    spaced: list[RenderableType] = []
    for part in present:
        spaced.extend((Text(""), part) if spaced else (part,))
    return Group(*spaced)


def dash(value: object) -> str:
    """Show nothing as a dash, yes and no as words."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def line(value: Any) -> str:  # noqa: ANN401
    """Show a value of JSON in one line: `units 64, activation relu; units 10, activation none`."""
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {line(item)}" for key, item in value.items())
    if isinstance(value, list):
        mark = "; " if any(isinstance(item, dict) for item in value) else ", "
        return mark.join(map(line, value)) or "-"
    return dash(value)


def moment(seconds: int) -> str:
    """Show a time in seconds since 1970 as UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError):
        return "after the year 9999"


def milliseconds(us: int | None) -> str:
    """Show a duration."""
    return "-" if us is None else f"{us / 1000:.1f} ms"


def short(text: str | None, keep: int = 6) -> str:
    """Shorten a hash or an address, both ends kept."""
    if not text:
        return "-"
    return text if len(text) <= keep + 5 else f"{text[:keep]}..{text[-4:]}"


def coins(atoms: int | None) -> str:
    """Show an amount in coins."""
    return "-" if atoms is None else f"{format_atoms(atoms)} coins"


def fraction(value: Any) -> str:  # noqa: ANN401
    """Show a loss or an accuracy with four digits."""
    return "-" if value is None else f"{float(value):.4f}"
