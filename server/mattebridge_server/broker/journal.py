"""What the broker must remember over a crash: jobs, their events and their unfetched results, in one SQLite file.

Write-ahead log, ``synchronous=FULL``: after `commit` returns, what it was given survives a power cut. The broker
commits before it tells anybody. A network file system breaks SQLite's locks and so is refused. The journal is not
thread-safe; one task calls it at a time.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from mattebridge.errors import EngineFailed, OutputFailed, Refused

from ..crashpoints import reach
from .lock import DYING_S, FileLock, Holder

SCHEMA_VERSION = 1
NETWORK_FILE_SYSTEMS = frozenset(
    (
        "nfs",
        "nfs4",
        "cifs",
        "smb2",
        "smb3",
        "smbfs",
        "9p",
        "afs",
        "ceph",
        "lustre",
        "gpfs",
        "beegfs",
        "glusterfs",
        "pvfs2",
        "panfs",
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.ceph",
        "fuse.s3fs",
        "fuse.rclone",
        "davfs",
        "afpfs",
        "webdav",
    )
)

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE jobs (
    key TEXT PRIMARY KEY, number INTEGER NOT NULL, body BLOB NOT NULL, plan BLOB NOT NULL, client TEXT NOT NULL,
    user TEXT NOT NULL, host TEXT NOT NULL, state TEXT NOT NULL, submitted_at REAL NOT NULL, ended_at REAL,
    frames_total INTEGER NOT NULL DEFAULT 0, frames_done INTEGER NOT NULL DEFAULT 0, last INTEGER NOT NULL DEFAULT 0,
    windows TEXT NOT NULL DEFAULT '{}', lost INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX jobs_by_end ON jobs (ended_at);
CREATE TABLE events (
    key TEXT NOT NULL, seq INTEGER NOT NULL, tag BLOB NOT NULL, body BLOB NOT NULL, blob BLOB, PRIMARY KEY (key, seq)
) WITHOUT ROWID;
CREATE TABLE results (
    key TEXT NOT NULL, role TEXT NOT NULL, frame INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (key, role, frame)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Change:
    """One statement of a transaction."""

    sql: str
    values: tuple[object, ...]


@dataclass(frozen=True)
class JobRow:
    """A job as the journal has it. ``windows`` is JSON: deaths of the engine by window."""

    key: str
    number: int
    body: bytes
    plan: bytes
    client: str
    user: str
    host: str
    state: str
    submitted_at: float
    ended_at: float | None = None
    frames_total: int = 0
    frames_done: int = 0
    last: int = 0
    windows: str = "{}"
    lost: int = 0


@dataclass(frozen=True)
class EventRow:
    """One numbered event: its tag, its header as it went out, and the blob of a plan."""

    key: str
    seq: int
    tag: bytes
    body: bytes
    blob: bytes | None = None


@dataclass(frozen=True)
class ResultRow:
    """A picture in the spool that the client has not taken yet."""

    key: str
    role: str
    frame: int
    name: str


# -- changes -------------------------------------------------------------------------------------------------------


def add_job(row: JobRow) -> Change:
    return Change(
        "INSERT INTO jobs (key, number, body, plan, client, user, host, state, submitted_at) "
        "VALUES (?,?,?,?,?,?,?,?,?)",
        (row.key, row.number, row.body, row.plan, row.client, row.user, row.host, row.state, row.submitted_at),
    )


def set_state(key: str, state: str, ended_at: float | None = None) -> Change:
    return Change("UPDATE jobs SET state=?, ended_at=? WHERE key=?", (state, ended_at, key))


def set_frames(key: str, total: int, done: int) -> Change:
    return Change("UPDATE jobs SET frames_total=?, frames_done=? WHERE key=?", (total, done, key))


def set_windows(key: str, windows: str) -> Change:
    return Change("UPDATE jobs SET windows=? WHERE key=?", (windows, key))


def add_event(row: EventRow) -> Sequence[Change]:
    return (
        Change("INSERT INTO events VALUES (?,?,?,?,?)", (row.key, row.seq, row.tag, row.body, row.blob)),
        Change("UPDATE jobs SET last=? WHERE key=?", (row.seq, row.key)),
    )


def add_result(row: ResultRow) -> Change:
    return Change("INSERT OR REPLACE INTO results VALUES (?,?,?,?)", (row.key, row.role, row.frame, row.name))


def drop_result(key: str, role: str, frame: int) -> Change:
    return Change("DELETE FROM results WHERE key=? AND role=? AND frame=?", (key, role, frame))


def forget_job(key: str) -> Sequence[Change]:
    return tuple(Change(f"DELETE FROM {table} WHERE key=?", (key,)) for table in ("events", "results", "jobs"))


class Journal:
    """The open file. One broker at a time: it holds the folder's lock until `close` or its end."""

    def __init__(self, folder: Path) -> None:
        kind = network_file_system(folder)
        if kind:
            raise Refused(
                f"the journal cannot be kept on a network file system ({kind}): its locks do not hold there",
                remedy="Name a folder on a local disk: --state-dir DIR or MATTEBRIDGE_STATE.",
                file=str(folder),
            )
        self.path = folder / "journal.sqlite3"
        self._lock = FileLock(folder / "journal.lock")
        with contextlib.ExitStack() as undo:
            undo.callback(self._lock.release)
            try:
                self._only_one()
                with self.whole():
                    self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
                    undo.callback(self._db.close)
                    self._prepare()
            except (sqlite3.OperationalError, OSError) as error:
                raise self._unwritable(error) from error
            undo.pop_all()

    def _only_one(self) -> None:
        """Take the folder: two servers with runtime folders of their own would both run the jobs of one journal."""
        try:
            self._lock.acquire(Holder(os.getpid(), socket.gethostname()), DYING_S)
        except Refused:
            raise Refused(
                f"another server keeps its journal here: {self._lock.holder()}",
                remedy="Stop that one, or name another folder: --state-dir DIR or MATTEBRIDGE_STATE.",
                file=str(self.path),
            ) from None

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        if self._db.execute("SELECT name FROM sqlite_master WHERE name='meta'").fetchone() is None:
            self._db.executescript(f"BEGIN; {_SCHEMA} INSERT INTO meta VALUES ('schema', '{SCHEMA_VERSION}'); COMMIT;")
        (found,) = self._db.execute("SELECT value FROM meta WHERE name='schema'").fetchone() or ("unknown",)
        if found != str(SCHEMA_VERSION):
            raise Refused(
                f"the journal has schema {found}, this version writes {SCHEMA_VERSION}",
                remedy="Use the version that wrote it, or move the file away to start with an empty queue.",
                file=str(self.path),
            )

    @contextlib.contextmanager
    def whole(self) -> Iterator[None]:
        """For the time in which the journal is read and understood. Raises `EngineFailed` where it is damaged."""
        try:
            yield
        except (sqlite3.DatabaseError, msgspec.MsgspecError, ValueError) as error:
            if isinstance(error, sqlite3.DatabaseError) and type(error) is not sqlite3.DatabaseError:
                raise  # SQLite says something else than that the file is malformed
            raise EngineFailed(
                f"the journal is damaged: {error}",
                remedy="Move the file away; the server then starts with an empty queue.",
                file=str(self.path),
            ) from error

    def commit(self, changes: Iterable[Change]) -> None:
        """Apply all changes, or none, and return when they are on the disk.

        Raises `OutputFailed` where the disk refuses (full, read-only, failing): the same changes may be tried again.
        Raises `EngineFailed` where the journal is damaged.
        """
        with self.whole():
            self._commit(changes)

    def _commit(self, changes: Iterable[Change]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for change in changes:
                self._db.execute(change.sql, change.values)
            reach("journal-before-commit")
            self._db.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.DatabaseError):  # SQLite has rolled back by itself
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                raise self._unwritable(error) from error
            raise
        reach("journal-after-commit")

    def _unwritable(self, error: sqlite3.OperationalError | OSError) -> OutputFailed:
        return OutputFailed(
            f"the server's journal cannot be written: {error}",
            remedy="Free space on its disk, or name a folder on another one: --state-dir DIR or MATTEBRIDGE_STATE.",
            file=str(self.path),
        )

    def unfinished(self) -> list[JobRow]:
        """Jobs without an end, in the order of their submission."""
        rows = self._db.execute(f"SELECT {_JOB_COLUMNS} FROM jobs WHERE ended_at IS NULL ORDER BY number")
        return [JobRow(*row) for row in rows]

    def finished(self) -> list[JobRow]:
        """Ended jobs, the newest first."""
        rows = self._db.execute(f"SELECT {_JOB_COLUMNS} FROM jobs WHERE ended_at IS NOT NULL ORDER BY ended_at DESC")
        return [JobRow(*row) for row in rows]

    def events(self, key: str, after: int = 0, upto: int | None = None) -> Iterator[EventRow]:
        """A job's events with ``after < seq <= upto``, in order."""
        last = upto if upto is not None else sys.maxsize
        rows = self._db.execute(
            "SELECT * FROM events WHERE key=? AND seq>? AND seq<=? ORDER BY seq", (key, after, last)
        )
        for row in rows:
            yield EventRow(*row)

    def last_event(self, key: str) -> EventRow | None:
        row = self._db.execute("SELECT * FROM events WHERE key=? ORDER BY seq DESC LIMIT 1", (key,)).fetchone()
        return EventRow(*row) if row else None

    def results(self) -> list[ResultRow]:
        """Results that wait for their client, of all jobs."""
        return [ResultRow(*row) for row in self._db.execute("SELECT * FROM results ORDER BY key, frame, role")]

    def count_lost(self, keys: Iterable[str]) -> None:
        """Note that the server went down while these jobs ran."""
        self.commit([Change("UPDATE jobs SET lost=lost+1 WHERE key=?", (key,)) for key in keys])

    def close(self) -> None:
        self._db.close()
        self._lock.release()


_JOB_COLUMNS = ", ".join(JobRow.__dataclass_fields__)


def network_file_system(folder: Path, mounts: str | None = None) -> str:
    """The type of the network file system that holds ``folder``; empty where it is local or cannot be told.

    ``mounts`` is the text of Linux's /proc/self/mountinfo (read when None). On Windows a UNC path is a network's.
    """
    real = str(folder.resolve())
    if real.startswith(("\\\\", "//")):
        return "unc"
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return ""
    best, kind = "", ""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = fields[4].replace("\\040", " ").rstrip("/")
        if (real == point or real.startswith(point + "/")) and len(point) >= len(best):
            best, kind = point, right.split(" ")[0]
    return kind if kind in NETWORK_FILE_SYSTEMS else ""
