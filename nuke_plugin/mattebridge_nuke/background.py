"""One press of a button that works in the background: its thread, cancel, status line, progress bar, last word.

The worker thread owns the order of things; everything that touches a node goes through `host.on_main`. A second thread
only watches the progress bar, so that a cancel is seen within a tenth of a second whatever the worker waits for.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from typing import Optional

from mattebridge.errors import Cancelled, MatteBridgeError, UsageError

from . import host, status_text
from .progress_bar import ProgressBar

WATCH_S = 0.1
STATUS_S = 0.2
LOOK_S = 0.5
AGAIN = "Press again to go on."

RUNS: list[Background] = []
"""Every run that is at work; a node has at most one."""


class Background(ABC):
    """Made and started in the main thread; a kind of run fills in `work` and `stop`.

    ``folder`` is the node's result folder, ``error`` is what ended the run early.
    """

    def __init__(self, node: host.Node, name: str, title: str, folder: str) -> None:
        self.node = node
        self.name = name
        self.folder = folder
        self.title = title
        self.finished = threading.Event()
        self.error: Optional[MatteBridgeError] = None
        self._cancelled = threading.Event()
        self._bar: Optional[ProgressBar] = None
        self._last_status = 0.0
        self._unsaid = ""
        self._reported = False

    @abstractmethod
    def work(self) -> str:
        """Everything, in the worker thread; gives the last word. Raises errors of the tree."""

    def stop(self) -> None:
        """From any thread, at once: interrupt what `work` waits for."""

    def look(self) -> None:
        """Called ten times a second by the watcher."""

    def start(self) -> None:
        """In the background; `finished` is set at the end. Raises `UsageError` while another writes to its folder."""
        other = next((run for run in list(RUNS) if run.folder == self.folder), None)
        if other is not None:
            raise UsageError(
                f"{other.name} is at work in the same folder {self.folder}",
                remedy="Wait for it, or give this node another name or result folder.",
            )
        RUNS.append(self)
        threading.Thread(target=self._run, name=f"mattebridge {self.name}", daemon=True).start()

    def cancel(self) -> None:
        """From any thread; returns at once. What is finished is kept."""
        self._cancelled.set()
        self.stop()

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled.is_set()

    def stop_if_cancelled(self) -> None:
        if self.is_cancelled:
            raise Cancelled("cancelled before the job was sent", remedy=AGAIN)

    def _run(self) -> None:
        text = ""
        try:
            self._bar = host.progress_bar(f"{self.name}: {self.title}")
            threading.Thread(target=self._watch, name="mattebridge cancel", daemon=True).start()
            text = self.work()
        except host.NodeGone:
            self.error = Cancelled(f"{self.name} was deleted; finished frames are kept")
        except MatteBridgeError as reason:
            self.error = reason
        except Exception as reason:
            self.error = MatteBridgeError(f"{type(reason).__name__}: {reason}", remedy="Press Troubleshoot.")
        finally:
            if self._bar is not None:
                self._bar.close()
            RUNS.remove(self)
            try:
                self._report(text)
            finally:
                self.finished.set()

    def _watch(self) -> None:
        """Turns a press on the bar's cancel, or a deleted node, into a cancel; keeps the status fresh."""
        looked = time.monotonic()
        while not self.finished.wait(WATCH_S):
            if self._bar is not None and self._bar.cancelled() and not self.is_cancelled:
                self.cancel()
            if time.monotonic() - self._last_status >= STATUS_S:
                self._flush()
            if time.monotonic() - looked >= LOOK_S:
                looked = time.monotonic()
                host.post(self._cancel_when_gone)
            self.look()

    def _cancel_when_gone(self) -> None:
        """Main thread. A node that is gone wants nothing any more."""
        if not self._reported and not host.alive(self.node) and not self.is_cancelled:
            self.cancel()

    # -- what the artist sees --------------------------------------------------------------------------------------

    @property
    def reported(self) -> bool:
        """Main thread: whether the last word was said; nothing may cover it."""
        return self._reported

    def say(self, text: str, percent: int = 0, often: bool = False) -> None:
        """To the bar at once, to the panel at most five times a second; the watcher brings what was held back."""
        if self._bar is not None:
            self._bar.update(percent, text)
        self._unsaid = text
        if not often or time.monotonic() - self._last_status >= STATUS_S:
            self._flush()

    def _flush(self) -> None:
        text, self._unsaid = self._unsaid, ""
        if text:
            self._last_status = time.monotonic()
            host.post(lambda: self._put_status(text))

    def _put_status(self, text: str) -> None:
        """Main thread."""
        if not self._reported:
            host.put_quiet(self.node, {"status": text})

    def _report(self, text: str) -> None:
        """The end: status on the node, and one dialog where something failed that was not cancelled already."""
        error = self.error
        said = text if error is None else status_text.failure(error)
        host.on_main(lambda: self._last_word(said))
        if error is not None and not isinstance(error, Cancelled) and not self.is_cancelled:
            host.tell(f"{self.name}\n\n{said}")

    def _last_word(self, text: str) -> None:
        self._reported = True
        host.put_quiet(self.node, {"status": text})


def running(node: host.Node) -> Optional[Background]:
    """The run of a node, whatever the node was called when it began. Main thread."""
    name = host.full_name(node)
    return next((run for run in list(RUNS) if host.alive(run.node) and host.full_name(run.node) == name), None)
