"""Options that every command shares."""

from pathlib import Path
from typing import Annotated, Final

import typer

DATA_DIR_DEFAULT: Final = Path("~/.p2pai")

DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="P2PAI_DATA_DIR",
        help="Directory of the node: its keys, chain, blobs and models.",
    ),
]

Account = Annotated[
    int,
    typer.Option(
        "--account", min=0, max=999, metavar="N", help="Which account of the wallet; 0 is the node's own."
    ),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]


def expand(data_dir: Path) -> Path:
    """Return the data directory as an absolute path."""
    return data_dir.expanduser().absolute()
