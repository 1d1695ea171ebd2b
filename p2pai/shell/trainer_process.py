"""The trainer's process: jobs in on stdin, results out on stdout, blobs through the node's blob directory.

Run as `python -m p2pai.shell.trainer_process --blobs DIR --parent PID [--engine ENGINE]`. It limits itself
before it loads anything heavy: address space, priority, no core dumps, and it dies with the node that started
it. What libraries print goes to stderr, so that nothing can slip between two frames.

Of the two engines one trains (JAX), and the other recomputes what it did with other code (NumPy).

The only module outside `jaxtrain` that loads it, and only here, in a process of its own.
"""

import argparse
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Final, Protocol

from p2pai import jobs
from p2pai.primitives import record
from p2pai.shell import frames
from p2pai.shell.blobs import BlobStore

ADDRESS_SPACE_BYTES_MAX: Final = 8 << 30
"""Measured on a CPU: 1.5 GiB for a model of 5 thousand weights (JAX reserves it), 4.4 GiB for one of 60
million while it trains; the greatest allowed has 64 million."""

NICENESS: Final = 5
"""The node must answer its remotes while its trainer computes."""

_PR_SET_PDEATHSIG: Final = 1


class Worker(Protocol):
    """What runs the jobs."""

    def run(self, job: jobs.Job) -> jobs.Result:
        """Return the result; `jobs.Failed` for a job that can't be done."""


Maker = Callable[[BlobStore], Worker]
"""Makes the worker for a blob store."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve jobs until stdin ends."""
    run_process(_ENGINES, arguments)


def run_process(engines: Mapping[str, Maker], arguments: Sequence[str] | None = None) -> None:
    """Confine this process, then serve jobs with the worker that the engine asked for makes."""
    parser = argparse.ArgumentParser(description="Runs one node's training jobs; started by the node.")
    parser.add_argument("--blobs", type=Path, required=True, help="the node's blob directory")
    parser.add_argument("--parent", type=int, required=True, help="process id of the node")
    parser.add_argument("--engine", choices=tuple(engines), default=next(iter(engines)), help="what computes")
    options = parser.parse_args(arguments)
    _confine(options.parent)
    source, sink = _claim_pipes()
    serve(engines[options.engine](BlobStore(options.blobs)), source, sink)


def serve(worker: Worker, source: BinaryIO, sink: BinaryIO) -> None:
    """Run jobs one after another until `source` ends."""
    while (frame := frames.read(source)) is not None:
        job = record.decode_tagged(jobs.Job, frame, size_max=frames.FRAME_BYTES_MAX)
        frames.write(sink, record.encode_tagged(worker.run(job)))


def _jax_worker(blobs: BlobStore) -> Worker:
    # Loading it takes seconds and gigabytes of address space, hence not before the limits stand.
    from p2pai.jaxtrain.worker import Worker as JaxWorker  # noqa: PLC0415

    worker: Any = JaxWorker(blobs)
    return worker  # type: ignore[no-any-return]


def _numpy_worker(blobs: BlobStore) -> Worker:
    from p2pai.numpyreplay.worker import Worker as NumpyWorker  # noqa: PLC0415

    worker: Any = NumpyWorker(blobs)
    return worker  # type: ignore[no-any-return]


_ENGINES: Final[Mapping[str, Maker]] = MappingProxyType({"jax": _jax_worker, "numpy": _numpy_worker})


def _confine(parent: int) -> None:
    _die_with(parent)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES_MAX, ADDRESS_SPACE_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(NICENESS)
    os.umask(0o077)
    # Ctrl-C on a terminal is the node's to handle; it ends this process itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when the node is gone, however it went (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The node may have died before the kernel knew.
    if os.getppid() != parent:
        sys.exit(0)


def _claim_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Take stdin and stdout for frames; whatever else reads finds the end, whatever prints goes to stderr."""
    source = os.fdopen(os.dup(0), "rb")
    sink = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return source, sink


if __name__ == "__main__":
    main()
