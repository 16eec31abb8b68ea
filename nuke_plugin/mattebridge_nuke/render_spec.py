"""What a temporary Write is told: plain values, made by `job_request` and carried out by `host.render`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RenderSpec:
    """Frames of one input as EXR: ``spans`` are (first, last) runs; ``channels`` a Write's channel list."""

    role: str
    pattern: str
    channels: str
    spans: tuple[tuple[int, int], ...]
    views: tuple[str, ...]


WRITE_KNOBS: Mapping[str, Any] = {
    "file_type": "exr",
    "datatype": "16 bit half",
    "raw": True,
    "autocrop": False,
    "create_directories": True,
    "metadata": "all metadata",
}
