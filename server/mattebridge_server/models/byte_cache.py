"""A least-recently-used cache capped in bytes: what lets latents and window results outlive a window and a job."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class ByteCache(Generic[Key, Value]):
    """Holds values up to ``cap_bytes`` in all; the least recently used leave first.

    A value larger than the cap is not kept at all, so that one oversize entry cannot empty the cache.
    Not thread-safe: one engine thread owns it.
    """

    def __init__(self, cap_bytes: int, size_of: Callable[[Value], int]) -> None:
        self.cap_bytes = cap_bytes
        self.held_bytes = 0
        self._size_of = size_of
        self._entries: OrderedDict[Key, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Value | None:
        """The value, now the most recently used; None where there is none."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: Key, value: Value) -> None:
        """Keeps the value, at the price of older ones; replaces a value of the same key."""
        self._drop(key)
        size = self._size_of(value)
        if size > self.cap_bytes:
            return
        while self.held_bytes + size > self.cap_bytes:
            self._drop(next(iter(self._entries)))
        self._entries[key] = value
        self.held_bytes += size

    def clear(self) -> None:
        """Forgets everything."""
        self._entries.clear()
        self.held_bytes = 0

    def _drop(self, key: Key) -> None:
        value = self._entries.pop(key, None)
        if value is not None:
            self.held_bytes -= self._size_of(value)
