"""Pure functions, whose results a process that hosts many nodes may keep.

In a simulated network every node opens, decodes and checks each message, all with the same result. A function
marked `pure` can keep what it gave. A real node, which sees a message once, never lets it, and pays one more
call. Keeping results changes how long a history takes and nothing else: what equal arguments give is a value
that nobody changes; what a function raises is not kept.

A large value that is slow to compare, such as a ledger's state, is told from others by which object it is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

RESULTS_MAX: Final = 8192
"""Results that each function keeps, unless told otherwise; the oldest makes room."""

P = ParamSpec("P")
R = TypeVar("R")

Key = Callable[..., Any]
"""From a function's arguments: what its result follows from, hashable; None where it is not to be kept."""


class Same:
    """Equal to what stands for the very same object, which it keeps alive."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __hash__(self) -> int:
        return object.__hash__(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.value is other.value


class _Memory:
    """All that is kept in this process."""

    def __init__(self) -> None:
        self.is_on = False
        self.tables: dict[Any, _Table] = {}
        """By the function as it is called."""

    def begin(self, *, is_on: bool) -> None:
        self.is_on = is_on
        for table in self.tables.values():
            table.results.clear()


class _Table:
    """What one function gave."""

    def __init__(self, results_max: int) -> None:
        self.results: dict[Any, Any] = {}
        self._results_max = results_max

    def keep(self, name: Any, result: Any) -> None:  # noqa: ANN401
        self.results[name] = result
        if len(self.results) > self._results_max:
            del self.results[next(iter(self.results))]


_memory: Final = _Memory()
_ABSENT: Final = object()


def pure(
    key: Key | None = None, *, then: Callable[..., None] | None = None, results_max: int = RESULTS_MAX
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function of values whose result is a value.

    Args:
      key: says what the result follows from; all positional arguments when None.
      then: is given each result that is kept, and the positional arguments, to `know` what follows from it.
      results_max: so many results may be kept.
    """

    def mark(function: Callable[P, R]) -> Callable[P, R]:
        table = _Table(results_max)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if not _memory.is_on:
                return function(*args, **kwargs)
            name = (args if not kwargs else None) if key is None else key(*args, **kwargs)
            if name is None:
                return function(*args, **kwargs)
            found: Any = table.results.get(name, _ABSENT)
            if found is _ABSENT:
                found = function(*args, **kwargs)
                table.keep(name, found)
                if then is not None:
                    then(found, *args)
            result: R = found
            return result

        _memory.tables[call] = table
        return call

    return mark


def know(function: Callable[..., R], result: R, *args: object) -> None:
    """Keep what a function marked without a key gives for arguments, without calling it.

    What wraps such a function, to count its calls, stands for it; what stands in its place does not.
    """
    table = _memory.tables.get(function) or _memory.tables.get(getattr(function, "__wrapped__", None))
    if _memory.is_on and table is not None:
        table.keep(args, result)


@contextmanager
def shared(*, is_on: bool = True) -> Iterator[None]:
    """Let all nodes of this process share results, or not; begin and end with none kept."""
    before = _memory.is_on
    _memory.begin(is_on=is_on)
    try:
        yield
    finally:
        _memory.begin(is_on=before)
