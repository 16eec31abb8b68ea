"""Masks: coverage on the grid of a plate, whatever file and resolution they come in.

A mask is coverage, white = subject, and soft values are respected. It sits in channel A unless that is absent or 1
everywhere; then in R, or in Y of a grey image. The choice is made once for a shot (`choose_mask_channel`), so that a
frame on which the subject fills the picture does not switch channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebridge.errors import UsageError
from mattebridge_server.media.channels import Channel, find_channel, find_matte, in_view
from mattebridge_server.media.geometry import map_mask
from mattebridge_server.media.header import FrameHeader
from mattebridge_server.media.library import DEFAULT_LIMITS, ReadLimits
from mattebridge_server.media.resample import resample
from mattebridge_server.media.source import Source, open_source

Float32 = NDArray[np.float32]

_ROUNDING = 1e-6


@dataclass(frozen=True)
class MaskChoice:
    """The channel of a shot's masks. ``reason`` is for the log; ``warning`` too, and mostly empty."""

    channel: str
    reason: str
    warning: str = ""


@dataclass(frozen=True)
class Mask:
    """One mask on its plate's data window.

    ``coverage``: (H, W) float32 in 0..1, 1 = subject. ``non_finite`` counts values that were not finite and became 0.
    ``warnings`` are sentences for the job's log.
    """

    coverage: Float32
    header: FrameHeader
    channel: str
    reason: str
    warnings: tuple[str, ...] = ()
    non_finite: int = 0


def choose_mask_channel(
    frames: Iterable[tuple[int, str]], *, channel: str = "", view: str = "", limits: ReadLimits = DEFAULT_LIMITS
) -> MaskChoice:
    """Decide from a few ``frames`` (number, path) in which channel the masks of a shot are.

    ``channel`` is what the user asked for, checked to be there. Decodes the alpha of every frame that has another
    candidate. Raises `UsageError` for no frames, and what `read_mask` raises.
    """
    choices = []
    for frame, path in frames:
        with open_source(path, frame, limits) as source:
            seen = in_view(source.channels, file=path, frame=frame, view=view)
            if channel:
                return MaskChoice(find_channel(seen, channel, file=path, frame=frame).name, "asked for")
            choices.append(_choose(source, seen)[0])
    if not choices:
        raise UsageError("no mask to look at", remedy="Give at least one frame of the mask.")
    # One frame whose alpha is a matte settles it: on the others the subject may fill the picture.
    mattes = [choice for choice in choices if choice.channel == choice.alpha]
    chosen = mattes[0] if mattes else choices[0]
    suspect = bool(mattes) and all(choice.alpha_empty_light_not for choice in choices)
    return MaskChoice(chosen.channel, chosen.reason, _suspicion(chosen) if suspect else "")


def read_mask(
    path: str,
    *,
    frame: int,
    plate_header: FrameHeader,
    channel: str = "",
    invert: bool = False,
    fit: str = "",
    view: str = "",
    limits: ReadLimits = DEFAULT_LIMITS,
) -> Mask:
    """Read a mask and lay it over the plate of ``plate_header``, display window to display window.

    Outside its data window a mask is 0 (and with ``invert`` 1); beyond its display window too where it has no overscan
    of its own (and there it stays 0). ``fit`` is "", "stretch" or "crop", see `map_mask`. Without ``channel`` the
    choice is made for this frame alone. Raises `MissingFrames`, `FrameError`, `InputError` (proportions), `UsageError`
    or `OutOfMemory`.
    """
    with open_source(path, frame, limits) as source:
        seen = in_view(source.channels, file=path, frame=frame, view=view)
        if channel:
            chosen, reason = find_channel(seen, channel, file=path, frame=frame), "asked for"
            stored = source.read([chosen])[:, :, 0]
        else:
            choice, chosen, stored = _choose_and_read(source, seen)
            reason = choice.reason
        header = source.header(chosen.part)
    mapping = map_mask(header.raster, plate_header.raster, fit, file=path, frame=frame)
    stored, non_finite = _without_non_finite(stored)
    np.clip(stored, 0, 1, out=stored)
    coverage = resample(stored, mapping.x, mapping.y, plate_header.width, plate_header.height)
    if coverage is not stored:
        np.clip(coverage, 0, 1, out=coverage)
        # Weights add up to 1 only within a rounding error, and solid has to stay solid.
        coverage[coverage > 1 - _ROUNDING] = 1
    if invert:
        coverage = 1 - coverage
    coverage[~mapping.known_y] = 0
    coverage[:, ~mapping.known_x] = 0
    warnings = tuple(filter(None, (mapping.warning, _format_warning(header))))
    return Mask(coverage, header, chosen.name, reason, warnings, non_finite)


@dataclass(frozen=True)
class _FrameChoice:
    """What one frame suggests, by full names; ``alpha`` and ``light`` are "" where absent."""

    channel: str
    reason: str
    alpha: str
    light: str
    alpha_empty_light_not: bool = False


def _choose(source: Source, channels: list[Channel]) -> tuple[_FrameChoice, Channel, Float32 | None]:
    """The choice for one frame, with the pixels where they had to be decoded for it."""
    matte = find_matte(channels, file=source.path, frame=source.frame)
    alpha, light = matte.alpha, matte.light
    if alpha is None or light is None:
        only = alpha or light
        assert only is not None
        reason = "its only alpha" if alpha else "it has no alpha"
        return _FrameChoice(only.name, reason, only.name if alpha else "", only.name if light else ""), only, None
    pixels = source.read([alpha])[:, :, 0]
    with np.errstate(invalid="ignore"):
        lowest, highest = pixels.min(), pixels.max()
    if lowest >= 1:
        reason = f"{alpha.name} is 1 everywhere"
        return _FrameChoice(light.name, reason, alpha.name, light.name), light, None
    empty = bool(lowest == highest == 0) and bool(np.count_nonzero(source.read([light])))
    return _FrameChoice(alpha.name, f"{alpha.name} is a matte", alpha.name, light.name, empty), alpha, pixels


def _choose_and_read(source: Source, channels: list[Channel]) -> tuple[_FrameChoice, Channel, Float32]:
    choice, chosen, pixels = _choose(source, channels)
    return choice, chosen, source.read([chosen])[:, :, 0] if pixels is None else pixels


def _suspicion(choice: _FrameChoice) -> str:
    return f"channel {choice.alpha} is empty on the frames looked at while {choice.light} is not: check --mask-channel"


def _without_non_finite(coverage: Float32) -> tuple[Float32, int]:
    """``coverage`` with 0 for what is not finite, and how much that was. The array itself is changed."""
    coverage = np.ascontiguousarray(coverage)
    if np.isfinite(cv2.sumElems(coverage)[0]):
        return coverage, 0
    bad = ~np.isfinite(coverage)
    coverage[bad] = 0
    return coverage, int(np.count_nonzero(bad))


def _format_warning(header: FrameHeader) -> str:
    return "the mask is a JPEG: its edges carry compression artefacts" if header.file_format == "jpeg" else ""
