"""Models that a job runs besides its own, and what happens when memory runs out in one of them.

It is not the job's own model that took too much, so a smaller canvas is no answer. The models that idle leave, those of
the job empty their caches, and the helper is tried once more while the others stand still.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from mattebridge.errors import OutOfMemory

from ..model_names import FILLER
from ..models.base import FrameResult, Model, Window
from .params import resolve_params
from .store import Warn

HELPER = "helper"
"""The detail of an `OutOfMemory` that names the helper which ran out."""


@contextmanager
def in_the_name_of(helper: str) -> Iterator[None]:
    """Memory that runs out inside is ``helper``'s affair, and the error says so. Not that for a picture, and not a
    refusal by the ledger, which counts what the job's own model takes beside it.
    """
    try:
        yield
    except OutOfMemory as error:
        if not error.file and "budget_bytes" not in error.details:
            error.details[HELPER] = helper
            error.remedy = "Make masks and clean plates in jobs of their own, or use a device with more memory."
        raise


class Filler:
    """Who makes a job's clean plates; loaded when it is first asked for. Any thread may call it.

    ``turn`` is held by whoever must not run beside another; the job's own model holds it at each of its steps. Once
    memory ran out, every frame is filled while that model waits.
    """

    def __init__(
        self,
        model_of: Callable[[str], Model],
        relieve: Callable[[str], object],
        turn: threading.Lock,
        warn: Warn,
    ) -> None:
        self._model_of, self._relieve, self._turn, self._warn = model_of, relieve, turn, warn
        self._lock = threading.Lock()
        self._found: Model | None = None
        self._alone = False

    def model(self) -> Model:
        """Asked for once in a job. Raises what loading raises."""
        if self._found is None:
            with self._turn, in_the_name_of(FILLER):
                self._found = self._found or self._model_of(FILLER)
        return self._found

    def fill(self, window: Window) -> FrameResult:
        """The clean plate of the window's frame; one frame at a time. Raises `OutOfMemory` where it fails alone too."""
        model = self.model()
        with self._lock:
            try:
                with self._turn if self._alone else nullcontext():
                    return _first(model, window)
            except OutOfMemory as error:
                message = f"{error.message}: caches freed, clean plates are now filled while the job's model waits"
                self._warn("CACHES_FREED", message, window.numbers[0])
            with self._turn, in_the_name_of(model.card.name):
                self._alone = True
                self._relieve(model.card.name)
                return _first(model, window)


def _first(model: Model, window: Window) -> FrameResult:
    return next(iter(model.run(window, resolve_params(model.card, {}), _never_stop)))


def _never_stop(stage: str) -> None:
    """Filling one frame is short; the job is asked between frames."""
