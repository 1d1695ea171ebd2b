"""A core rebuilt from what a node left on disk, for questions when no node runs.

The store is opened read-only and the core's effects are dropped: nothing is sent or written. The core knows
the node's public key alone, so nothing can be signed, and nobody is asked for a password.
"""

from collections.abc import Callable
from pathlib import Path

from p2pai.node.archive import Archive
from p2pai.shell.clock import Clock
from p2pai.shell.store import read_store
from p2pai.shell.wire import Core


def open_core(data_dir: Path, make_core: Callable[[Archive], Core]) -> Core:
    """Return a core that has taken in what a data directory holds; use only its `query`.

    Raises:
      Unavailable: there is no journal.
      InvalidInput: the journal can't be read.
    """
    started, archive = read_store(data_dir)
    core = make_core(archive)
    core.handle(started, Clock().now_ms())
    return core


def open_offline(data_dir: Path) -> Core:
    """Return the core of the node that last ran on a data directory, as `open_core`.

    Raises:
      Unavailable: none ever did.
      InvalidInput: its files are damaged.
    """
    from p2pai.shell import config  # noqa: PLC0415
    from p2pai.shell.node import make_core  # noqa: PLC0415

    record = config.load(data_dir)
    return open_core(
        data_dir, lambda archive: make_core(record.config, record.public_key, record.peer_id, archive)
    )
