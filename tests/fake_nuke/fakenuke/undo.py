"""The undo list: named steps of inverse actions, and the switch that keeps status changes out of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Step:
    name: str
    changes: list[tuple[str, Callable[[], object]]] = field(default_factory=list)


class UndoList:
    """``steps`` are what the artist sees in the Edit menu, oldest first."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.open: list[Step] = []
        self.off = 0

    def record(self, what: str, inverse: Callable[[], object]) -> None:
        """Into the open step, or as a step of its own; nowhere while undo is disabled."""
        if self.off:
            return
        if self.open:
            self.open[-1].changes.append((what, inverse))
        else:
            self.steps.append(Step(what, [(what, inverse)]))

    def begin(self, name: str) -> None:
        self.open.append(Step(name))

    def end(self) -> None:
        step = self.open.pop()
        if self.open:
            self.open[-1].changes += step.changes
        elif step.changes:
            self.steps.append(step)

    def name(self, name: str) -> None:
        self.open[-1].name = name

    def cancel(self) -> None:
        self._revert(self.open.pop())

    def undo(self) -> None:
        self._revert(self.steps.pop())

    def disable(self) -> None:
        self.off += 1

    def enable(self) -> None:
        if not self.off:
            raise RuntimeError("the fake refuses Undo.enable without a disable")
        self.off -= 1

    def _revert(self, step: Step) -> None:
        self.off += 1
        try:
            for _, inverse in reversed(step.changes):
                inverse()
        finally:
            self.off -= 1
