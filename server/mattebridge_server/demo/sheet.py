"""A contact sheet: what went in, what came out and how far off it is, as one picture a person can look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mattebridge_ocio.config import ColourConfig
from mattebridge_ocio.network import network_transform

from ..pipeline.colour import DEFAULT_CONFIG

Float32 = NDArray[np.float32]

COLUMNS = ("plate", "mask", "alpha", "composite", "error x4")


def display(light: Float32) -> Float32:
    """Scene-linear ACEScg (H, W, 3) as sRGB codes in 0..1, highlights rolled off above .8."""
    return network_transform(ColourConfig.load(DEFAULT_CONFIG), "ACEScg", "filmic").apply(light)


def heat(error: Float32) -> Float32:
    """Absolute alpha error (H, W), four times enlarged, as a colour ramp (H, W, 3) in 0..1."""
    codes = np.clip(np.abs(error) * 4 * 255, 0, 255).astype(np.uint8)
    ramp = cv2.applyColorMap(codes, cv2.COLORMAP_INFERNO)[..., ::-1]
    return np.asarray(ramp / np.float32(255), np.float32)


def grey(alpha: Float32) -> Float32:
    """Alpha (H, W) as a picture (H, W, 3); data is shown as it is, without a curve."""
    return np.repeat(alpha[..., None], 3, axis=2)


def write_sheet(path: Path, rows: Sequence[tuple[str, Sequence[Float32]]], columns: Sequence[str] = COLUMNS) -> None:
    """Write rows of equally large pictures (H, W, 3) in 0..1 as PNG, 480 pixels wide each, with labels."""
    width, gap, head = 480, 6, 26
    height = round(width * rows[0][1][0].shape[0] / rows[0][1][0].shape[1])
    sheet = np.full((head + len(rows) * (height + gap), len(columns) * (width + gap) - gap, 3), 24, np.uint8)
    for column, name in enumerate(columns):
        _label(sheet, name, (column * (width + gap) + 6, 18))
    for row, (name, pictures) in enumerate(rows):
        top = head + row * (height + gap)
        for column, picture in enumerate(pictures):
            left = column * (width + gap)
            small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
            sheet[top : top + height, left : left + width] = np.clip(small * 255 + 0.5, 0, 255).astype(np.uint8)
        _label(sheet, name, (6, top + height - 8))
    ok, png = cv2.imencode(".png", np.ascontiguousarray(sheet[..., ::-1]), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not ok:
        raise OSError(f"the contact sheet cannot be encoded: {path}")
    path.write_bytes(png.tobytes())


def _label(sheet: NDArray[np.uint8], text: str, where: tuple[int, int]) -> None:
    """White on a dark rim. The rim is the same text moved about: a thicker one is also a wider one."""
    for x, y in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        cv2.putText(sheet, text, (where[0] + x, where[1] + y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    cv2.putText(sheet, text, where, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (235, 235, 235), 1, cv2.LINE_AA)
