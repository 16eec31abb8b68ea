"""Models that the server itself calls by name, and which of them a job runs besides its own."""

from __future__ import annotations

from typing import Protocol

from mattebridge.messages import JobRequest

AUTO = "auto"
"""The server chooses."""

FALLBACK = "edge"
"""Needs no device and no weights."""

TRACKER = "sam2"
"""Makes masks from prompts where the job names nobody."""

FILLER = "lama"
"""Fills the clean plate of a job whose own model does not."""

CLEAN_PLATE = "clean_plate"


class About(Protocol):
    """What a model's card and its description in the protocol both tell."""

    @property
    def temporal(self) -> str: ...
    @property
    def outputs(self) -> tuple[str, ...]: ...


def helpers(request: JobRequest, model: About) -> tuple[str, ...]:
    """The tracker that makes the job's masks and the filler of its clean plate, where it asks for them.

    A ``model`` that follows a shot takes prompts itself, and one that makes clean plates needs no filler.
    """
    tracker = request.fill or (TRACKER if request.prompts else "")
    fills = bool(request.cleanplate) and CLEAN_PLATE not in model.outputs
    return tuple(filter(None, (tracker if model.temporal != "shot" else "", FILLER if fills else "")))
