"""Writes docs/errors.md out of the code: ``python -m mattebridge_server.error_page > docs/errors.md``.

A test compares the page with what this module writes, and looks through the code for warnings that are not listed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

from mattebridge.errors import error_classes

EXIT_STATUSES: Mapping[int, str] = {
    0: "done",
    2: "the call is wrong",
    3: "an input cannot be used",
    4: "the server cannot be reached, was lost, or failed",
    5: "out of memory",
    6: "cancelled",
    7: "refused",
}

WARNINGS: Mapping[str, str] = {
    "CACHES_FREED": "The device was out of memory; caches were freed and the window or clean plate was tried again.",
    "ENGINE_RESTARTED": "The engine died and was started again; the job went on at its first unfinished window.",
    "MASK": "Something about a mask to look at: another aspect than the plate, a channel chosen, an empty frame.",
    "MASK_EMPTY": "The mask of a frame is empty.",
    "MASK_JUMPS": "The mask leaps between two frames, or changes its size by far more than the frames before.",
    "NON_FINITE": "The frame held NaN or infinite values; they were repaired before anything else, and counted.",
    "OBJECT_OUTSIDE": "The subject probably goes on outside its mask: a guess from colour alone.",
    "PLAN": "Something that the plan decided and that a person may want to know, such as the mask's channel.",
    "PLATE": "Something about a plate to look at: data beyond the shot's grid, or a colour space of its own.",
    "SERVER_RESTARTED": "The server was started again while the job was unfinished; nothing that was done is lost.",
    "SMALLER_CANVAS": "The device was out of memory; the whole shot was run again at a smaller canvas.",
    "SMALL_FEATURE": "The masked shape is so thin that `edge` does better than a diffusion model.",
    "TRACKED": "Masks were made or filled by a tracking model before the job's own model ran.",
}

_HEAD = """\
# Every error, its cause and its remedy

Written from the code by `python -m mattebridge_server.error_page`; a test keeps it current. A code is the same in a
`FAILED` message, in `--json`, in the log and in the metrics, and does not change. An error also names the file and the
frame where there is one, and may carry a remedy that fits the case better than the one below.
"""


def render() -> str:
    """The page as Markdown."""
    return "\n".join([_HEAD, *_statuses(), "", *_errors(), "", *_warnings(), ""])


def _statuses() -> Iterator[str]:
    yield from ("## Exit status", "", "| status | meaning |", "|---|---|")
    yield from (f"| {status} | {meaning} |" for status, meaning in EXIT_STATUSES.items())


def _errors() -> Iterator[str]:
    yield from ("## Errors", "", "| code | exit | cause | remedy |", "|---|---|---|---|")
    for cls in error_classes().values():
        yield f"| `{cls.code}` | {cls.exit_status} | {cls.cause} | {cls.default_remedy} |"


def _warnings() -> Iterator[str]:
    yield from ("## Warnings", "", "A job that warns goes on.", "", "| code | meaning |", "|---|---|")
    yield from (f"| `{code}` | {meaning} |" for code, meaning in sorted(WARNINGS.items()))


if __name__ == "__main__":
    sys.stdout.write(render())
