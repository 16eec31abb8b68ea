"""Who may run which model: the licence a person accepted, or the site's policy, which then decides alone.

Acceptance is recorded next to the weights, in ``mattebridge.json`` of each folder that a model's files lie in, with the
digests of the files that were pulled. Copied by hand, the record comes along.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mattebridge.errors import LicenceRefused, OutputFailed
from mattebridge_server.models.base import ModelCard
from mattebridge_server.site import LicencePolicy

RECORD = "mattebridge.json"
OPEN_LICENCES = frozenset({"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause"})
"""Licences that ask nothing of a user; accepting them would be a formality."""
LICENCE_PAGES = {
    "Stability AI Community License": "https://stability.ai/license",
}
LICENCE_TERMS = {
    "Stability AI Community License": (
        "Free for research, and for commercial use below a yearly revenue limit after registration with Stability AI; "
        "above it an enterprise licence is needed."
    ),
}


@dataclass(frozen=True)
class LicenceNotice:
    """What a person is shown before a model is fetched."""

    model: str
    licence: str
    terms: str
    page: str
    repos: tuple[str, ...]


def notice(card: ModelCard) -> LicenceNotice:
    """The card's licence in words, with the repositories that the files come from."""
    licences = {card.licence, *(weights.licence for weights in card.weights)}
    licence = next((name for name in sorted(licences) if name not in OPEN_LICENCES), card.licence)
    repos = tuple(dict.fromkeys(weights.repo for weights in card.weights if weights.repo))
    return LicenceNotice(card.name, licence, LICENCE_TERMS.get(licence, ""), LICENCE_PAGES.get(licence, ""), repos)


def needs_acceptance(card: ModelCard) -> bool:
    """Whether anything about the licence has to be accepted at all."""
    return notice(card).licence not in OPEN_LICENCES


def check_allowed(card: ModelCard, policy: LicencePolicy) -> None:
    """Raises `LicenceRefused` where the site has a policy that does not allow the model. Called before every run."""
    if policy.allow is None:
        return
    for licence in sorted({card.licence, *(weights.licence for weights in card.weights)}):
        if not policy.allows(licence):
            raise LicenceRefused(
                f"{card.name} is under {licence}, which this site does not allow",
                remedy=f"The site allows {', '.join(sorted(policy.allow)) or 'no licence'}; use another model or ask "
                "whoever keeps the site file.",
                details={"model": card.name, "licence": licence},
            )


def is_accepted(card: ModelCard, folders: Sequence[Path]) -> bool:
    """Whether the licence was accepted, here or where the folder was copied from, or asks nothing."""
    if not needs_acceptance(card):
        return True
    licence = notice(card).licence
    return any(
        read_record(Path(folder) / top).get("accepted", {}).get(licence) is not None
        for folder in folders
        for top in _tops(card)
    )


def record(card: ModelCard, folder: Path, how: str, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Write acceptance (``how``: "asked", "flag" or "site") and what is known of ``files`` next to the weights.

    The first acceptance stands: later ones say only that there was one.
    Raises `OutputFailed` where the folder cannot be written.
    """
    licence = notice(card).licence
    for top in _tops(card):
        held = read_record(folder / top)
        own = {path: dict(facts) for path, facts in files.items() if path.split("/", 1)[0] == top}
        now = {"model": card.name, "how": how, "utc": datetime.now(UTC).isoformat(timespec="seconds")}
        held.setdefault("accepted", {}).setdefault(licence, now)
        held.setdefault("files", {}).update(own)
        _write(folder / top / RECORD, held)


def read_record(folder: Path) -> dict[str, Any]:
    """What was recorded in a folder; nothing where there is no record or it cannot be read."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _tops(card: ModelCard) -> tuple[str, ...]:
    return tuple(dict.fromkeys(weights.path.split("/", 1)[0] for weights in card.weights))


def _write(path: Path, content: Mapping[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # another pull may write its own
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True), encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise OutputFailed(f"the record of weights cannot be written: {error.strerror}", file=str(path)) from error
