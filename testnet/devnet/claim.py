"""A directory for a network's nodes: made afresh, locked, and never somebody else's."""

import fcntl
import shutil
from pathlib import Path
from typing import IO

from p2pai.primitives.errors import Unavailable


def claim(directory: Path, marker_name: str, what: str) -> IO[str]:
    """Make the directory afresh and lock it; replaces only what the same kind of run left that runs no more.

    Args:
      directory: where the nodes will live.
      marker_name: of the file in there that is locked, and that says of what kind the run is.
      what: the kind of run, one word with its article.

    Returns:
      The lock; closing it gives the directory up.

    Raises:
      Unavailable: the directory is somebody else's, or in use.
    """
    marker = directory / marker_name
    if directory.exists() and not marker.is_file() and (not directory.is_dir() or any(directory.iterdir())):
        raise Unavailable(f"{directory} exists and was not made by {what}; name another with --directory")
    if marker.is_file():
        with marker.open() as previous:
            _lock(previous, directory, what)
            shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    held = marker.open("w")
    held.write("{}\n")
    held.flush()
    _lock(held, directory, what)
    return held


def _lock(file: IO[str], directory: Path, what: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Unavailable(f"{what} runs in {directory}; name another with --directory") from None
