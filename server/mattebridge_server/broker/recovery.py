"""What a broker does with the journal it finds: unfinished jobs wait again, ended ones keep their key, old ones go."""

from __future__ import annotations

import logging
import math
import time

from mattebridge.errors import EngineFailed

from .config import Config
from .floor import Floor, windows_of
from .jobs import JobBook
from .journal import EventRow, Journal
from .requests import path_problem
from .uploads import Spool

log = logging.getLogger("mattebridge.broker")

RAN = frozenset(("running", "preempting", "draining"))


def recover(now: float, config: Config, journal: Journal, book: JobBook, floor: Floor, spool: Spool) -> None:
    """Bring back all jobs. What ran is queued again, what was being cancelled is cancelled, events stay as they are.

    A job during which the server went down `most_losses` times is not tried for ever, and one whose paths the site file
    of this start does not translate fails. Ended jobs are forgotten as `prune` does it: none stays in the journal that
    the book does not know, or its key could be given out again.
    """
    unfinished, ended = journal.unfinished(), journal.finished()
    live = {row.key for row in unfinished}

    def events(key: str) -> list[EventRow]:
        last = journal.last_event(key)
        return list(journal.events(key)) if key in live else [last] if last is not None else []

    book.restore(now, [*ended[::-1], *unfinished], events)
    journal.count_lost(row.key for row in unfinished if row.state in RAN)
    for result in journal.results():
        if result.key in book.records:
            book.records[result.key].results[result.role, result.frame] = result
    oldest_s = math.inf
    for row in unfinished:
        record = book.records[row.key]
        record.stored = dict(spool.stored(row.key))
        oldest_s = age_s = min(max(time.time() - row.submitted_at, 0.0), oldest_s)  # in order, though the clock was set
        problem = path_problem(record.request, floor.site)
        if row.state == "cancelling":
            book.end(record, "cancelled")
        elif row.state in RAN and row.lost + 1 >= config.most_losses:
            book.end(record, "failed", EngineFailed(f"the server went down {row.lost + 1} times while the job ran"))
        elif problem is not None:
            book.end(record, "failed", problem)
        else:
            if row.state in RAN:
                book.set_state(record, "queued")
            if row.state != "uploading":
                book.warning(record, "SERVER_RESTARTED", "the server was started again; the job goes on")
            floor.enqueue(now, record, age_s, windows_of(row.windows), row.state in RAN or record.started)
    prune(config, book, time.time())
    keep = {key for key, record in book.records.items() if not record.ended or record.results}
    spool.keep_only(keep)
    log.info("journal: %d unfinished jobs, %d ended", len(unfinished), len(ended))


def prune(config: Config, book: JobBook, wall: float) -> None:
    """Forget jobs that ended before the newest ones that are kept, and those that ended long ago."""
    ended = sorted((record for record in book.records.values() if record.ended), key=lambda record: record.ended_at)
    beyond = len(ended) - config.keep_jobs
    for index, record in enumerate(ended):
        if index < beyond or wall - record.ended_at > config.keep_s:
            book.forget(record.key)
