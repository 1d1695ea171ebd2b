"""Becomes another program that ends when its parent does.

    python leash.py PARENT PROGRAM ARGUMENT...

Asks the kernel for SIGKILL at the parent's death, since a program that is stopped just then (SIGSTOP) hears
nothing milder; then turns into the program: same process id, same output. The parent is the very thread that
started it. A program of its own, because code between fork and exec is not safe in a parent with threads.
"""

import ctypes
import os
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Tie this process to its parent and become the program."""
    parent, *program = sys.argv[1:]
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # A parent that died before the call above will never be noticed.
    if os.getppid() == int(parent):
        os.execvp(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main()
