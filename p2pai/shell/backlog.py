"""A queue whose consumer takes everything that waits."""

from collections import deque
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Backlog(Generic[T]):
    """First in, first out; putting never waits, taking waits for the first item."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._filled = trio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        """Add an item at the end."""
        self._items.append(item)
        self._filled.set()

    async def take(self) -> T:
        """Wait for the oldest item and remove it."""
        await self._wait()
        return self._items.popleft()

    async def take_all(self) -> tuple[T, ...]:
        """Wait until there is an item, then remove and return all."""
        await self._wait()
        items = tuple(self._items)
        self._items.clear()
        return items

    async def _wait(self) -> None:
        while not self._items:
            self._filled = trio.Event()
            await self._filled.wait()
