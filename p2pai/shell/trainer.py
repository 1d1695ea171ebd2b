"""The trainer as the node sees it: a limited child process that takes jobs and gives results.

One job at a time, in the order asked. The child starts with the first job. When it dies, answers nonsense or
overruns a job's deadline, it is killed with all its process group and that job comes back as `jobs.Failed`;
the next job finds a fresh child. The sessions of the lost child are gone: their jobs fail until a new
`jobs.Open` of the same name.

What the child inherits is a short list of environment variables: no proxies, no secrets, one thread. Its
allocator keeps the memory that it has had.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO, Final

import structlog
import trio

import p2pai
from p2pai import jobs
from p2pai.primitives import record
from p2pai.primitives.errors import InvalidMessage
from p2pai.shell import frames
from p2pai.shell.files import FILE_MODE, make_directory

LOG_NAME: Final = "trainer.log"
LOG_BYTES_MAX: Final = 8 << 20
"""A log beyond this is started anew with the next child."""

DEADLINES_S: Final[Mapping[type, float]] = MappingProxyType(
    {
        jobs.Prepare: 600,  # reads and hashes a whole dataset
        jobs.Restore: 120,
        jobs.Inspect: 600,  # reads whole fragments
        jobs.Open: 300,  # reads the batches, compiles
        jobs.Begin: 120,
        jobs.Step: 120,  # the first one compiles; a steady one takes milliseconds
        jobs.Keep: 120,
        jobs.KeepCapsule: 120,
        jobs.Validate: 300,
        jobs.Replay: 300,  # compiles, one iteration
        jobs.Evaluate: 1800,  # every model on every fragment
        jobs.Export: 300,
    }
)
"""Seconds until a job is given up, by kind: far beyond what it takes on a busy machine, start of the child
included."""

REAP_S_MAX: Final = 1.0
"""A killed child is gone within this; a process stuck in the kernel is left to init."""

_INHERITED: Final = (
    "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONHOME", "LD_LIBRARY_PATH",
    "JAX_PLATFORMS", "JAX_COMPILATION_CACHE_DIR",
)  # fmt: skip

ALLOCATOR: Final = (
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=4294967296:"
    "glibc.malloc.trim_threshold=8589934592:glibc.malloc.arena_max=1"
)
"""GLIBC_TUNABLES that keep freed memory, in large pages: an iteration gets arrays of the size it had before,
and needs no new pages. Where there is no glibc it means nothing. docs/BENCHMARKS.md says what it brings."""

ONE_THREAD: Final = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}

ENGINES: Final = ("jax", "numpy")
"""What can compute: one that trains and replays, and one of other code that only replays."""

_log = structlog.get_logger(__name__)


class _Lost(Exception):  # noqa: N818
    """The child can't be used any more; the text says why."""


class Trainer:
    """Runs jobs in a child process; use it as an async context manager, which ends the child."""

    def __init__(
        self,
        data_dir: Path,
        blobs_dir: Path,
        *,
        engine: str = ENGINES[0],
        command: Sequence[str] = (sys.executable, "-P", "-m", "p2pai.shell.trainer_process"),
        deadlines_s: Mapping[type, float] = DEADLINES_S,
    ) -> None:
        self._log_path = make_directory(data_dir) / LOG_NAME
        self._blobs_dir = blobs_dir
        self._command = (*command, "--engine", engine)
        self._deadlines_s = deadlines_s
        self._turn = trio.StrictFIFOLock()
        self._child: _Child | None = None
        self._sessions: set[str] = set()
        self._lost: set[str] = set()

    async def __aenter__(self) -> "Trainer":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def pid(self) -> int | None:
        """The child's process id while there is one."""
        return None if self._child is None else self._child.pid

    async def run(self, job: jobs.Job) -> jobs.Result:
        """Run one job after those asked before it; never raises for what happens to the job."""
        async with self._turn:
            if self._child is not None and self._child.has_ended:
                await self._lose("it died between two jobs")
            session = getattr(job, "session", None)
            if session in self._lost and not isinstance(job, jobs.Open):
                return jobs.Failed(f"trainer restarted; session {session} is lost, open it again")
            try:
                return await self._run_now(job)
            except _Lost as lost:
                await self._lose(str(lost))
                return jobs.Failed(f"trainer restarted: {lost}")
            except BaseException:
                # Cancelled with a job half done: its answer must not be taken for the next one's.
                await self._lose("cancelled")
                raise

    async def close(self) -> None:
        """End the child, whatever it is doing."""
        await self._lose("closed")

    async def _run_now(self, job: jobs.Job) -> jobs.Result:
        if self._child is None:
            self._child = self._start()
        deadline_s = self._deadlines_s[type(job)]
        result: jobs.Result | None = None
        with trio.move_on_after(deadline_s):
            result = await self._child.ask(job)
        if result is None:
            raise _Lost(f"{type(job).__name__} took more than {deadline_s:g} s")
        if isinstance(job, jobs.Open) and isinstance(result, jobs.Opened):
            self._sessions.add(job.session)
            self._lost.discard(job.session)
        return result

    def _start(self) -> "_Child":
        arguments = ("--blobs", str(self._blobs_dir.absolute()), "--parent", str(os.getpid()))
        try:
            with _open_log(self._log_path) as log:
                child = _Child((*self._command, *arguments), log)
        except OSError as error:
            raise _Lost(f"it can't be started: {error.strerror}") from error
        _log.info("trainer started", child=child.pid)
        return child

    async def _lose(self, reason: str) -> None:
        child, self._child = self._child, None
        self._lost |= self._sessions
        self._sessions.clear()
        if child is not None:
            status = await child.kill()
            _log.info("trainer ended", child=child.pid, reason=reason, status=status)


class _Child:
    """One process and its two pipes."""

    def __init__(self, command: Sequence[str], log: BinaryIO) -> None:
        # Not trio's own opener: it forks in a worker thread, and the kernel kills a child that asked to die
        # with its parent as soon as the *thread* that forked it ends.
        self._process = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment(os.environ),
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._jobs = trio.lowlevel.FdStream(os.dup(self._process.stdin.fileno()))
        self._results = trio.lowlevel.FdStream(os.dup(self._process.stdout.fileno()))
        self._process.stdin.close()
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    async def ask(self, job: jobs.Job) -> jobs.Result:
        """Send a job, return its result; `_Lost` when the child does not give one."""
        try:
            await self._jobs.send_all(frames.encode(record.encode_tagged(job)))
            length = frames.decode_length(await self._receive(frames.LENGTH_SIZE))
            body = await self._receive(length)
            result: jobs.Result = record.decode_tagged(jobs.Result, body, size_max=frames.FRAME_BYTES_MAX)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise _Lost("it died") from error
        except InvalidMessage as error:
            raise _Lost(f"it answered nonsense: {error}") from error
        return result

    async def kill(self) -> int | None:
        """Kill the process and all it started; returns its exit status, None when it won't go."""
        with trio.CancelScope(shield=True):
            if not self.has_ended:
                _kill_group(self.pid)
            await self._jobs.aclose()
            await self._results.aclose()
            with trio.move_on_after(REAP_S_MAX):
                # SIGKILL is carried out within milliseconds; a watcher thread would cost more than it saves.
                while self._process.poll() is None:  # noqa: ASYNC110
                    await trio.sleep(0.005)
        return self._process.poll()

    async def _receive(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = await self._results.receive_some(min(size - len(parts), 1 << 20))
            if not part:
                raise _Lost("it died")
            parts += part
        return bytes(parts)


def _kill_group(leader: int) -> None:
    # The leader is not reaped yet, so its number can't have passed to another process.
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def _open_log(path: Path) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
        flags |= os.O_TRUNC
    return os.fdopen(os.open(path, flags, FILE_MODE), "ab")


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child that computes, of that of this process."""
    inherited = {name: own[name] for name in _INHERITED if name in own}
    # The child imports this very package, wherever the node runs from.
    package_root = str(Path(p2pai.__file__).parent.parent)
    own_settings = {"GLIBC_TUNABLES": ALLOCATOR, "PYTHONPATH": package_root}
    return {"JAX_PLATFORMS": "cpu", **inherited, **ONE_THREAD, **own_settings}
