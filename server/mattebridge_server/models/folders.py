"""Where weights lie: several model folders, searched in order, and a cheap digest of what was found.

A card names each file as ``<folder>/<path in the repository>``. A folder copied by hand serves as well as a pulled one.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mattebridge.errors import ModelNotInstalled
from mattebridge_server.models.base import ModelCard, Weights

ENVIRONMENT_VARIABLE = "MATTEBRIDGE_MODELS"
SAMPLE_BYTES = 64 * 1024
SAMPLES = 48


def default_folder(home: Path | None = None) -> Path:
    """The folder under the user's data directory where models are pulled to unless the site says otherwise."""
    home = home or Path.home()
    if sys.platform == "win32":
        return home / "AppData" / "Local" / "mattebridge" / "models"
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "mattebridge" / "models"
    return home / ".local" / "share" / "mattebridge" / "models"


def model_folders(
    flags: Sequence[str], environ: Mapping[str, str], site: Sequence[str] = (), home: Path | None = None
) -> tuple[Path, ...]:
    """All model folders in the order in which they are searched; a pull goes to the first.

    The command line's, those of ``MATTEBRIDGE_MODELS`` (separated as in PATH), the site's, the user's own. Called once
    at the edge of a process; nothing deeper reads the environment.
    """
    stated = [folder for folder in environ.get(ENVIRONMENT_VARIABLE, "").split(os.pathsep) if folder]
    found = [*map(Path, (*flags, *stated, *site))]
    with suppress(RuntimeError):  # this user has no home: there are the stated ones, and models without weights
        found.append(default_folder(home))
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class FoundFile:
    """One file of a card on this machine; ``path`` is None where no folder has it."""

    weights: Weights
    path: Path | None


def find(card: ModelCard, folders: Sequence[Path]) -> tuple[FoundFile, ...]:
    """Each file of a card with its first place in ``folders``: those of the first set that is complete.

    Where no set is complete, the card's own ``weights``. Never raises; an unreadable folder has nothing.
    """
    own = _places(card.weights, folders)
    for found in (own, *(_places(other, folders) for other in card.alternatives)):
        if all(file.path is not None for file in found):
            return found
    return own


def is_installed(card: ModelCard, folders: Sequence[Path]) -> bool:
    """Whether every file of the card is on this machine. A model without weights always is."""
    return all(found.path is not None for found in find(card, folders))


def require(card: ModelCard, folders: Sequence[Path]) -> dict[str, Path]:
    """The card's files by their name in the card.

    Raises `ModelNotInstalled` that names the first missing file, where it comes from and how to get it.
    """
    found = find(card, folders)
    for file in found:
        if file.path is None:
            raise missing(card, file.weights, folders)
    return {file.weights.path: file.path for file in found if file.path is not None}


def missing(card: ModelCard, weights: Weights, folders: Sequence[Path]) -> ModelNotInstalled:
    """The error for one absent file."""
    searched = ", ".join(str(folder) for folder in folders) or "no model folder"
    gate = " (the repository asks you to accept its licence first)" if weights.gated else ""
    return ModelNotInstalled(
        f"{card.name} needs {weights.path}, which is not in {searched}",
        remedy=(
            f"Run `mattebridge models pull {card.name}` on the server{gate}, or copy "
            f"{source(weights)} to {weights.path} in one of these folders."
        ),
        file=str(Path(folders[0]) / weights.path) if folders else weights.path,
        details={"model": card.name, "repo": weights.repo, "licence": weights.licence},
    )


def repo_path(weights: Weights) -> str:
    """The file's name inside its repository: the card's path without its first folder."""
    return weights.path.split("/", 1)[1] if "/" in weights.path else weights.path


def source(weights: Weights) -> str:
    """Where a person gets the file, in words."""
    return f"{repo_path(weights)} from {weights.repo}" if weights.repo else "your own file"


def digest_of_model(card: ModelCard, model_folders: Sequence[Path], precision: str) -> str:
    """Code version, digest of the weight files, precision. Raises `ModelNotInstalled`."""
    files = list(require(card, model_folders).values())
    return f"{card.name}/{card.version}/{weights_digest(files)}/{precision}"


def weights_digest(files: Sequence[Path]) -> str:
    """Digest of weight files that costs milliseconds: size, and blocks spread evenly over each file.

    The first block holds a safetensors header, so names, shapes and dtypes always count; a fine-tune changes every
    block. A full SHA-256 is what `verify` computes. The same files give the same digest on every machine, pulled or
    copied, which the keys of farm chunks rely on.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name}/{size}/".encode())
        step = max(SAMPLE_BYTES, size // SAMPLES)
        with path.open("rb") as stream:
            for start in range(0, size, step):
                stream.seek(start)
                digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _places(weights: Sequence[Weights], folders: Sequence[Path]) -> tuple[FoundFile, ...]:
    return tuple(FoundFile(file, _first(file, folders)) for file in weights)


def _first(weights: Weights, folders: Sequence[Path]) -> Path | None:
    for folder in folders:
        path = Path(folder) / weights.path
        try:
            if path.is_file():
                return path
        except OSError:
            continue
    return None
