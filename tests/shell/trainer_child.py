"""A trainer process whose worker does what a job's text tells it: die, hang, print, allocate."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from p2pai import jobs
from p2pai.primitives.ids import BlobId, Hash32
from p2pai.shell import trainer_process


class Worker:
    """Takes jobs.Prepare, whose path is an instruction, and session jobs."""

    def __init__(self, blobs):
        self._blobs = blobs
        self._sessions = set()

    def run(self, job):
        if isinstance(job, jobs.Open):
            self._sessions.add(job.session)
            nothing = BlobId(Hash32(bytes(32)))
            return jobs.Opened(jobs.ModelState(nothing, nothing, nothing), 1, 1, nothing)
        if isinstance(job, jobs.Validate):
            return jobs.Validated((1,) if job.session in self._sessions else ())
        word, _, rest = job.path.partition(" ")
        return getattr(self, "_" + word)(rest)

    def _sleep(self, seconds):
        time.sleep(float(seconds))
        return jobs.Failed(f"slept {seconds}")

    def _die(self, _):
        os.kill(os.getpid(), signal.SIGKILL)

    def _crash(self, _):
        raise RuntimeError("a bug in the worker")

    def _print(self, text):
        print(text, flush=True)
        os.write(1, b"written to descriptor one\n")
        subprocess.run(["echo", "from a grandchild"], check=True)
        return jobs.Failed(f"read {sys.stdin.read()!r}")

    def _nonsense(self, _):
        return jobs.Validate("this is a job, not a result", ())

    def _allocate(self, gibibytes):
        try:
            bytearray(int(gibibytes) << 30)
        except MemoryError:
            return jobs.Failed("no memory")
        return jobs.Failed("got it")

    def _fork(self, path):
        # A grandchild that outlives a careless kill.
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        Path(path).write_text(str(child.pid))
        time.sleep(60)

    def _tell(self, _):
        limits = {"as": resource.getrlimit(resource.RLIMIT_AS), "nice": os.nice(0), "sid": os.getsid(0)}
        return jobs.Failed(json.dumps({"environment": dict(os.environ), "pid": os.getpid(), **limits}))

    def _put(self, text):
        return jobs.Exported(self._blobs.put([text.encode()], shared=True))

    def _get(self, text):
        return jobs.Failed(self._blobs.get(BlobId(Hash32(bytes.fromhex(text))))[0].decode())


if __name__ == "__main__":
    trainer_process.run_process({"jax": Worker})
