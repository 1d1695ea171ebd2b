"""`p2pai report`: what runs of scenarios gave, as one HTML page with pictures that needs nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2pai.cli import screen
from p2pai.primitives.errors import InvalidInput

if TYPE_CHECKING:
    from testnet.outcome import Outcome

RUNS_MAX = 6
"""Side by side: more don't fit beside each other."""


def report(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="OUTCOME.json...",
            help="What `p2pai sim --json` or a run on real processes wrote; several stand side by side.",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the page goes.")] = Path(
        "report.html"
    ),
) -> None:
    """Make a page with pictures of one run, or of several side by side.

    Blocks and how they spread, forks, approvals, what became of mining, tasks, accuracy for the bytes sent,
    coins, traffic and faults; the verdict, what was expected, and how to run the same again. The page is one
    file; it needs no network and has no script.
    """
    if len(files) > RUNS_MAX:
        raise InvalidInput(f"at most {RUNS_MAX} runs fit side by side; there are {len(files)}")
    check()
    write([_read(file) for file in files], out)


def check() -> None:
    """See that what a report needs is installed, before work is done for it.

    Raises:
      Unavailable: something is not.
    """
    from testnet.report import outcomes  # noqa: F401


def write(outcomes: "Sequence[Outcome]", out: Path) -> None:
    """Write the page about outcomes, and say where it is."""
    from testnet.report.outcomes import render

    out.write_text(render(outcomes), "utf-8")
    screen.remark(f"The report is in {out}")


def _read(file: Path) -> "Outcome":
    from testnet.outcome import Outcome

    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is not text") from error
    return Outcome.from_json(text, str(file))
