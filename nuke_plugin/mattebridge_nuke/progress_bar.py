"""Nuke's own progress bar, from any thread; in a terminal a line per tenth."""

from __future__ import annotations

from typing import Any, Callable, Optional


class ProgressBar:
    """``task`` is a `nuke.ProgressTask`, or None in a terminal. ``close`` ends it (Nuke's way is deletion)."""

    def __init__(self, title: str, task: Optional[Any], print_line: Callable[[str], None]) -> None:
        self._task = task
        self._print = print_line
        self._tenth = -1
        self._title = title

    def update(self, percent: int, text: str) -> None:
        percent = max(0, min(100, percent))
        if self._task is not None:
            self._task.setProgress(percent)
            self._task.setMessage(text)
        elif percent // 10 != self._tenth:
            self._tenth = percent // 10
            self._print(f"{self._title}: {percent}% {text}")

    def cancelled(self) -> bool:
        task = self._task  # another thread may close the bar meanwhile
        return task is not None and bool(task.isCancelled())

    def close(self) -> None:
        self._task = None
