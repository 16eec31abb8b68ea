"""Fetches one file from a hub with huggingface_hub's own client, and says in our words what went wrong."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from mattebridge.errors import InputError, LicenceRefused, MatteBridgeError, ModelNotInstalled, OutputFailed
from mattebridge.extras import install_command
from mattebridge_server.models import folders as places
from mattebridge_server.models.base import Weights


@dataclass(frozen=True)
class Progress:
    """``done_bytes`` of ``total_bytes`` of one file; a resumed file starts where it was cut. Total 0 is unknown."""

    file: str
    done_bytes: int
    total_bytes: int


MAKE_ROOM = "Free space, correct its permissions, or name another folder (--models-dir), then pull again."

Report = Callable[[Progress], None]
Check = Callable[[Path], str]
"""Reads a whole file before it gets its name: the SHA-256, or a `MatteBridgeError` that says what is wrong with it."""


def silent(progress: Progress) -> None:
    """A report for those who do not look."""
    del progress


def fetch(weights: Weights, target: Path, report: Report, endpoint: str | None, check: Check) -> str:
    """One file to its place, going on with what an earlier pull left, whoever ended it.

    Its SHA-256; empty where another pull was there first. A file gets its name once it has passed ``check``, and is
    removed where it does not. The client's own `hf_hub_download` starts a file anew after every interruption, which for
    6 GB over a studio's line is a lost night; its parts are used instead.
    """
    try:
        import huggingface_hub
    except ImportError as error:
        raise ModelNotInstalled(
            "fetching models needs huggingface_hub, which is not installed",
            remedy=f"Run {install_command('models')}, or copy the files by hand.",
        ) from error
    url = huggingface_hub.hf_hub_url(weights.repo, places.repo_path(weights), endpoint=endpoint)
    path = target / weights.path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _download(url, path, reporting(weights.path, report), check)
    except MatteBridgeError:
        raise
    except Exception as error:  # the client raises classes of four libraries
        raise _explain(weights, target, error) from error


def _download(url: str, path: Path, bar: Any, check: Check) -> str:
    """The unfinished file carries the hub's name for the content, so that other content is never appended to it."""
    from filelock import FileLock
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    headers = build_hf_headers(library_name="mattebridge")
    metadata = get_hf_file_metadata(url, headers=headers)
    if urlparse(metadata.location).netloc != urlparse(url).netloc:
        headers.pop("authorization", None)  # a token is for the hub, not for the store it points to
    content = hashlib.sha256((metadata.etag or url).encode()).hexdigest()[:16]
    partial, sha256 = path.with_name(f"{path.name}.{content}.partial"), ""
    with FileLock(f"{partial}.lock"):
        if not path.is_file():  # another pull may have fetched it meanwhile
            with partial.open("ab") as stream:
                http_get(
                    metadata.location,
                    stream,
                    resume_size=stream.tell(),
                    headers=headers,
                    expected_size=metadata.size,
                    displayed_filename=path.name,
                    tqdm_class=bar,
                )
                stream.flush()
                os.fsync(stream.fileno())
            try:
                sha256 = check(partial)
            except MatteBridgeError:
                partial.unlink()
                raise
            os.replace(partial, path)
    Path(f"{partial}.lock").unlink(missing_ok=True)
    return sha256


def unfinished_bytes(weights: Weights, target: Path) -> int:
    """What earlier pulls of a file have left on the disk, which the next goes on with."""
    path = target / weights.path
    return max((part.stat().st_size for part in path.parent.glob(f"{path.name}.*.partial")), default=0)


def _explain(weights: Weights, target: Path, error: Exception) -> MatteBridgeError:
    from huggingface_hub import errors

    file = f"{places.repo_path(weights)} of {weights.repo}"
    if isinstance(error, errors.GatedRepoError):
        return LicenceRefused(
            f"{weights.repo} wants its licence accepted on its own page first",
            remedy=f"Open the page of {weights.repo} on the hub, accept, run `hf auth login`, then pull again.",
        )
    absent = (errors.RepositoryNotFoundError, errors.RemoteEntryNotFoundError, errors.RevisionNotFoundError)
    if isinstance(error, absent):
        return InputError(f"the hub does not have {file}", remedy="Copy the file by hand.", file=weights.path)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
        message = f"{file} cannot be written: {os.strerror(error.errno)}"
        return OutputFailed(message, remedy=MAKE_ROOM, file=str(target / weights.path))
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ModelNotInstalled(
        f"{file} could not be fetched: {reason}",
        remedy=f"Try again (it goes on where it was cut), or copy the file to {target / weights.path}.",
        file=weights.path,
    )


def reporting(name: str, report: Report) -> Any:
    """A stand-in for tqdm that tells ``report`` instead of drawing."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    class Reporting(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._done, self._total = int(kwargs.get("initial") or 0), int(kwargs.get("total") or 0)
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": True})
            report(Progress(name, self._done, self._total))

        def update(self, n: float | None = 1) -> bool | None:
            self._done += int(n or 0)
            report(Progress(name, self._done, self._total))
            return None

    return Reporting
