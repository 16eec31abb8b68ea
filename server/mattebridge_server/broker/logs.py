"""The server's log: one JSON object a line, with the job and the frame where there is one, in files that rotate."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import time
from pathlib import Path
from typing import TextIO

LOG_BYTES = 20 * 2**20
LOG_FILES = 5
_EXTRA = ("job", "frame", "code", "device", "client")


class JsonLines(logging.Formatter):
    """time, level, logger, message, and whatever of job, frame, code, device and client came in ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((name, getattr(record, name)) for name in _EXTRA if hasattr(record, name))
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class _Rotating(logging.handlers.RotatingFileHandler):
    """Begins a new file where somebody removed or moved the one that is open: nobody could read what goes there."""

    def shouldRollover(self, record: logging.LogRecord) -> int:
        if self.stream and not self._is_there(self.stream):
            self.stream.close()
            self.stream = self._open()
        return super().shouldRollover(record)

    def _is_there(self, stream: TextIO) -> bool:
        try:
            return os.path.samestat(Path(self.baseFilename).stat(), os.fstat(stream.fileno()))
        except (OSError, ValueError):  # ValueError: it is closed, since no new one could be opened before
            return False


def set_up_logging(log_file: Path) -> None:
    """Send the program's log to ``log_file``; five old files of 20 MiB are kept."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    handler = _Rotating(log_file, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8")
    handler.setFormatter(JsonLines())
    for name in ("mattebridge", "asyncio"):  # the loop tells of what broke in it under its own name
        root = logging.getLogger(name)
        root.handlers[:] = [handler]
        root.setLevel(logging.INFO)
        root.propagate = False
