"""Recordings as the commands read them: one file, opened, with errors that name it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from p2pai.chain.spec import ChainSpec
from p2pai.cli import screen
from p2pai.gossip.recording import Holds, Reading, Recording
from p2pai.primitives.errors import InvalidInput, InvalidMessage
from p2pai.shell.record_file import pieces


@contextmanager
def opened(path: Path, holds: Holds | None = None) -> Iterator[Reading]:
    """Give a recording, and say at the end whether it was cut off.

    Raises:
      InvalidInput: it is none, is damaged, or does not hold such entries.
    """
    try:
        with path.open("rb", buffering=0) as file:
            reading = Reading(pieces(file))
            if holds is not None and holds not in reading.head.holds:
                how = "; p2pai start --record writes one that does" if holds is Holds.INBOX else ""
                raise InvalidInput(f"{path} does not hold the node's {holds}{how}")
            yield reading
    except InvalidMessage as error:
        raise InvalidInput(f"{path}: {error}") from error
    if reading.cut_bytes:
        screen.complain(f"{path} ends inside an entry, of which {reading.cut_bytes} bytes are there")


def check_chain(head: Recording, spec: ChainSpec) -> None:
    """See that a recording is of a chain.

    Raises:
      InvalidInput: it is of another.
    """
    if spec.id != head.chain:
        raise InvalidInput(
            f"the recording is of the chain {head.chain.hex()[:8]}, not of {spec.name}; name it with --chain"
        )
