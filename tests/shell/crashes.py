"""A process that kills itself with SIGKILL before or after its n-th SQL statement, the opening's included.

Every statement of the store is a write point, and so is what SQLite does inside one; what a cut inside a
commit leaves is made by cutting the write-ahead log (see test_store_crash.py).
"""

import os
import signal
import sqlite3
import traceback
from functools import partial

NEVER = 1 << 62


class Mortal(sqlite3.Connection):
    """Counts statements over all connections of the process, and dies at one."""

    statements = 0
    dies_at = NEVER
    """Twice the statement's number; plus one: after it."""

    def execute(self, *arguments):
        Mortal.statements += 1
        die(2 * Mortal.statements)
        result = super().execute(*arguments)
        die(2 * Mortal.statements + 1)
        return result


def die(point):
    if point == Mortal.dies_at:
        os.kill(os.getpid(), signal.SIGKILL)


def run(life, dies_at=NEVER):
    """Run `life()` in a child process; return its wait status and how many statements it began.

    The number is that of a child that lived to its end; of one that was killed it is 0.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            Mortal.dies_at, Mortal.statements = dies_at, 0
            sqlite3.connect = partial(sqlite3.connect, factory=Mortal)
            life()
            os.write(writing, b"%d" % Mortal.statements)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        count = int(pipe.read() or b"0")
    _, status = os.waitpid(child, 0)
    return status, count


def points_of(life):
    """Return every point at which a life can be ended: before and after each statement."""
    status, count = run(life)
    assert (status, count > 0) == (0, True)
    return range(2, 2 * count + 2)


def was_killed(status):
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
