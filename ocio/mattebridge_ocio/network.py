"""Plate to network picture and back: one value per shot that holds every colour decision of that shot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .config import ColourConfig
from .failure import ColourError
from .looks import FilmicLook, Look, LookName, SrgbLook, ViewLook
from .processors import Transform, refuse_non_finite

Float32 = NDArray[np.float32]

LARGEST_LIGHT = 65504.0
"""The largest half. A log code of 8, which is ordinary in light, decodes to more than float32 holds."""


def bounded(light: Float32) -> Float32:
    """``light`` within +-`LARGEST_LIGHT`. NaN, which a matrix makes of infinite light, counts as bright."""
    if light.size and not (light.min() >= -LARGEST_LIGHT and light.max() <= LARGEST_LIGHT):
        return np.clip(np.nan_to_num(light, nan=LARGEST_LIGHT), -LARGEST_LIGHT, LARGEST_LIGHT)
    return light


@dataclass(frozen=True)
class NetworkTransform:
    """Plate space → linear Rec.709 → one gain → look. Scale the plate down before, not after.

    ``forward``/``inverse`` are the look with the gain in it, on ungained linear Rec.709: what a linear-light solve
    needs, with ``white_point`` and ``shoulder_start`` in the same ungained light.
    """

    space: str
    gain: float
    look: Look
    to_rec709: Transform
    from_rec709: Transform

    @property
    def white_point(self) -> float:
        """Linear Rec.709 before the gain from which on all light has the same code."""
        return self.look.white_point / self.gain

    @property
    def shoulder_start(self) -> float:
        """Linear Rec.709 before the gain above which the look compresses."""
        return self.look.shoulder_start / self.gain

    def light(self, plate: Float32) -> Float32:
        """``plate``, (H, W, 3) float32, finite, in the plate's space → linear Rec.709, without the gain.

        Unclipped, but for what is beyond +-`LARGEST_LIGHT`.
        """
        return bounded(self.to_rec709.apply(plate))

    def forward(self, light: Float32) -> Float32:
        """Linear Rec.709 without the gain, (..., 3) float32, finite → display codes in 0..1."""
        refuse_non_finite(light)
        return self.look.forward(light * np.float32(self.gain))

    def inverse(self, codes: Float32) -> Float32:
        """Display codes in 0..1 → linear Rec.709 without the gain, at most ``white_point``."""
        return self.look.inverse(codes) * np.float32(1.0 / self.gain)

    def apply(self, plate: Float32) -> Float32:
        """``plate``, (H, W, 3) float32, finite, in the plate's space → display codes in 0..1, float32."""
        return self.forward(self.light(plate))

    def invert(self, codes: Float32) -> Float32:
        """Display codes in 0..1 → the plate's space; exact for `srgb` and `filmic` inside Rec.709 and below white."""
        return self.from_rec709.apply(self.inverse(codes))


def network_transform(
    config: ColourConfig, space: str, look: LookName = "filmic", gain: float = 1.0, *, display: str = "", view: str = ""
) -> NetworkTransform:
    """The transform for a plate in ``space``; ``display`` and ``view`` matter to the `view` look only.

    Raises `ColourError` ("config_invalid", "file_missing", "view_unknown").
    """
    if not gain > 0:
        raise ValueError(f"an exposure gain is positive, not {gain}")
    return NetworkTransform(
        space=space,
        gain=float(gain),
        look=make_look(config, look, display, view),
        to_rec709=config.to_linear_rec709(space),
        from_rec709=config.from_linear_rec709(space),
    )


def make_look(config: ColourConfig, name: LookName, display: str = "", view: str = "") -> Look:
    """The look called ``name``. Raises `ColourError` ("view_unknown") for a name or a view that does not exist."""
    if name == "srgb":
        return SrgbLook()
    if name == "filmic":
        return FilmicLook()
    if name == "view":
        return ViewLook.of(config.display_view(display, view))
    raise ColourError("view_unknown", f"there is no look '{name}'", candidates=("srgb", "filmic", "view"))
