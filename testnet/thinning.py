"""Series that grow without end, kept short: what is kept stays evenly spread, and equal for equal series."""

from typing import Generic, TypeVar

T = TypeVar("T")


class Thinned(Generic[T]):
    """A list of every item, or of every second, fourth, ... once there are too many."""

    def __init__(self, count_max: int) -> None:
        assert count_max > 1
        self.items: list[T] = []
        self.count = 0
        """Of all items there were."""
        self._count_max, self._stride = count_max, 1

    def add(self, item: T) -> None:
        """Take one more."""
        if self.count % self._stride == 0:
            self.items.append(item)
            if len(self.items) > self._count_max:
                self.items = self.items[::2]
                self._stride *= 2
        self.count += 1
