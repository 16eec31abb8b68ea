"""The end of a job's pipe: finishing and writing on threads of their own, behind a short queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from ..models.base import FrameResult
from .finish import Finisher
from .keys import FrameKeys

FEWEST_WORKERS = 2
BYTES_PER_PIXEL = 500
"""What finishing one plate may take: 350 were measured with linear light and foreground where the band is all of it."""
SHARE_OF_MEMORY = 0.25

Written = Callable[[int, list[tuple[str, str]], str], None]
"""Called with a frame, its files as (role, path) and its key, once they are whole under their names."""


def workers_for(threads: int, plate_pixels: int, memory_bytes: int) -> int:
    """How many frames are finished at once: as many as there are threads, as far as memory goes; two at least."""
    fit = int(SHARE_OF_MEMORY * memory_bytes) // (BYTES_PER_PIXEL * max(plate_pixels, 1))
    return max(FEWEST_WORKERS, min(threads, fit))


class Tail:
    """Takes results from the model's thread. Leaving the block waits for what is under way, also after an error.

    A frame that the model has finished is never thrown away: a cancelled job keeps it.
    """

    def __init__(self, finisher: Finisher, keys: FrameKeys, written: Written, workers: int) -> None:
        self._finisher, self._keys, self._written = finisher, keys, written
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="finish")
        self._queue: deque[Future[None]] = deque()

    def take(self, result: FrameResult) -> None:
        """Finish and write one frame; waits while the queue is full. Raises what an earlier frame failed with."""
        while len(self._queue) >= self._workers:
            self._queue.popleft().result()
        self._queue.append(self._pool.submit(self._one, result))

    def __enter__(self) -> Tail:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(wait=True)
        if kind is None:
            while self._queue:
                self._queue.popleft().result()

    def _one(self, result: FrameResult) -> None:
        finished = self._finisher.finish(result)
        key = self._keys.of(result.number)
        self._written(result.number, self._finisher.write(finished, key), key)
