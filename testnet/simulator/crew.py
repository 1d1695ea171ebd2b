"""Processes that share histories, and end at once when they are wanted no more."""

import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context

from p2pai.primitives.errors import Unavailable


@contextmanager
def crew(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Offer processes as long as the block lasts; an exception in it ends what they are doing.

    Raises:
      Unavailable: a process ended before its work was done.
    """
    others = active_children()
    # Ctrl-C reaches every process of a terminal; only the first one has something to say about it.
    ignore = signal.SIGINT, signal.SIG_IGN
    pool = ProcessPoolExecutor(processes, get_context("spawn"), signal.signal, ignore)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise Unavailable("a process that simulates ended early, perhaps for want of memory") from error
    except BaseException:
        for child in active_children():
            if child not in others:
                child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
