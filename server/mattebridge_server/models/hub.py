"""Models on disk: fetching what is missing, checking what was fetched.

`pull` uses huggingface_hub's own client: only the files that a card names, with progress, resuming a file that was cut
off, into the first model folder. Before anything is fetched the licence is settled: by the site's policy alone where
it has one, else by the person who is asked, or by a script's explicit flag. Gated repositories also ask on their own
page; the user's token (``hf auth login``) is the client's business, not ours.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mattebridge.errors import InputError, LicenceRefused, OutputFailed
from mattebridge_server.models import folders as places
from mattebridge_server.models import licences
from mattebridge_server.models.base import ModelCard, Weights
from mattebridge_server.models.fetch import MAKE_ROOM, Progress, Report, fetch, silent, unfinished_bytes
from mattebridge_server.models.licences import LicenceNotice
from mattebridge_server.site import LicencePolicy

GIB = 2**30
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class PulledFile:
    """One file after a pull; ``fetched`` is False where it was there already."""

    path: Path
    size_bytes: int
    sha256: str
    fetched: bool


@dataclass(frozen=True)
class FileCheck:
    """One file after `verify`. ``basis`` says what it was compared with; "none" where nothing is known of it."""

    path: str
    place: str
    ok: bool
    basis: Literal["sha256", "md5", "record", "none"]
    problem: str


Confirm = Callable[[LicenceNotice], bool]


def pull(
    card: ModelCard,
    model_folders: Sequence[Path],
    policy: LicencePolicy,
    *,
    confirm: Confirm | None = None,
    accept: bool = False,
    report: Report = silent,
    endpoint: str | None = None,
) -> tuple[PulledFile, ...]:
    """Fetch the files that no folder has, into the first folder, and record licence and digests there.

    Raises `LicenceRefused` where the licence is not allowed or not accepted (nothing is fetched then), `InputError`
    for files that are wrong or that nobody offers, `ModelNotInstalled` where the hub cannot be reached, and
    `OutputFailed` for a full or unwritable disk.
    """
    if not model_folders:
        raise InputError("no model folder is set", remedy="Set MATTEBRIDGE_MODELS or the site's models folder.")
    how = _settle_licence(card, policy, confirm, accept, model_folders)
    own = next((weights for weights in card.weights if not weights.repo), None)
    found = places.find(card, model_folders)
    if own is not None and any(file.path is None for file in found):
        raise places.missing(card, own, model_folders)
    target = Path(model_folders[0])
    if wanted := [file.weights for file in found if file.path is None]:
        _check_room(card, target, wanted)
    pulled = []
    for file in found:
        one = _there(file.weights, file.path) if file.path else _fetched(file.weights, target, report, endpoint)
        if one.fetched:  # told at once: whatever ends this pull, the next one finds the file and does not read it again
            facts = {"sha256": one.sha256, "size_bytes": one.size_bytes, "repo": file.weights.repo}
            licences.record(card, target, how, {file.weights.path: facts})
        pulled.append(one)
    if not licences.is_accepted(card, model_folders):
        licences.record(card, target, how, {})
    return tuple(pulled)


def verify(card: ModelCard, model_folders: Sequence[Path], *, report: Report = silent) -> tuple[FileCheck, ...]:
    """Read every byte of the model's files and compare with what is pinned, or was recorded when they were pulled."""
    return tuple(_verify(file, report) for file in places.find(card, model_folders))


# -- parts ---------------------------------------------------------------------------------------------------------


def _settle_licence(
    card: ModelCard, policy: LicencePolicy, confirm: Confirm | None, accept: bool, model_folders: Sequence[Path]
) -> str:
    """How the licence came to be accepted. Where the site has a policy, nobody is asked and no flag counts."""
    if policy.allow is not None:
        licences.check_allowed(card, policy)
        return "site"
    if licences.is_accepted(card, model_folders):
        return "before" if licences.needs_acceptance(card) else "open"
    if accept:
        return "flag"
    told = licences.notice(card)
    if confirm is not None and confirm(told):
        return "asked"
    raise LicenceRefused(
        f"the licence of {card.name} ({told.licence}) was not accepted; nothing was fetched",
        remedy="Read it" + (f" at {told.page}" if told.page else "") + ", then answer yes, or pass --accept-licence.",
        details={"model": card.name, "licence": told.licence},
    )


def _check_room(card: ModelCard, target: Path, wanted: Sequence[Weights]) -> None:
    try:
        target.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(target).free
    except OSError as error:
        message = f"the model folder cannot be used: {error.strerror}"
        raise OutputFailed(message, remedy=MAKE_ROOM, file=str(target)) from error
    need = sum(
        max(0, (weights.size_bytes or weights.about_bytes) - unfinished_bytes(weights, target)) for weights in wanted
    )
    if need > free:
        message = f"{card.name} needs {need / GIB:.1f} GiB on disk, {free / GIB:.1f} are free"
        raise OutputFailed(message, remedy=MAKE_ROOM, file=str(target))


def _there(weights: Weights, path: Path) -> PulledFile:
    """A file that was there before. Raises `InputError` for one of another size, which stays: it is the user's."""
    size = path.stat().st_size
    if weights.size_bytes and size != weights.size_bytes:
        raise InputError(
            f"{weights.path} is there already, but {_problem(weights, size, '', '')}",
            remedy="Remove it and pull again.",
            file=str(path),
        )
    return PulledFile(path, size, "", False)


def _fetched(weights: Weights, target: Path, report: Report, endpoint: str | None) -> PulledFile:
    """Raises `InputError` for a fetched file that is not the pinned one; it never gets its name, so it never runs."""
    path = target / weights.path

    def check(whole: Path) -> str:
        sha256, md5 = _digests(whole, weights.path, report)
        if problem := _problem(weights, whole.stat().st_size, sha256, md5):
            raise InputError(
                f"{weights.path} from {weights.repo} {problem}; it was removed", remedy="Pull again.", file=str(path)
            )
        return sha256

    sha256 = fetch(weights, target, report, endpoint, check)
    return PulledFile(path, path.stat().st_size, sha256, True) if sha256 else _there(weights, path)


def _verify(file: places.FoundFile, report: Report) -> FileCheck:
    weights, path = file.weights, file.path
    if path is None:
        return FileCheck(weights.path, "", False, "none", "is missing")
    try:
        sha256, md5 = _digests(path, weights.path, report)
        problem = _problem(weights, path.stat().st_size, sha256, md5)
    except OSError as error:  # told as this file's; the others are looked at all the same
        return FileCheck(weights.path, str(path), False, "none", f"cannot be read: {error.strerror or error}")
    top = path.parents[weights.path.count("/") - 1]
    recorded = licences.read_record(top).get("files", {}).get(weights.path, {}).get("sha256", "")
    if not problem and recorded and recorded != sha256:
        problem = "has changed since it was pulled"
    pinned: Literal["sha256", "md5", "record", "none"] = "record" if recorded else "none"
    if weights.sha256:
        pinned = "sha256"
    elif weights.md5:
        pinned = "md5"
    return FileCheck(weights.path, str(path), not problem, pinned, problem)


def _problem(weights: Weights, size: int, sha256: str, md5: str) -> str:
    if weights.size_bytes and size != weights.size_bytes:
        return f"has {size} bytes instead of {weights.size_bytes}"
    if weights.sha256 and sha256 != weights.sha256:
        return f"has SHA-256 {sha256[:12]}…, not {weights.sha256[:12]}…"
    if weights.md5 and md5 != weights.md5:
        return f"has MD5 {md5}, not {weights.md5}"
    return ""


def _digests(path: Path, name: str, report: Report) -> tuple[str, str]:
    """SHA-256 and MD5 in one pass. MD5 is only what the source pinned; it guards against accidents, not malice."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    total, done = path.stat().st_size, 0
    with path.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            sha256.update(block)
            md5.update(block)
            done += len(block)
            report(Progress(name, done, total))
    return sha256.hexdigest(), md5.hexdigest()
