"""The job's colour: config, plate space, gain and look made into the transforms that the other stages use.

Everything that OCIO refuses becomes an error of the one tree here, with the candidates in the remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mattebridge.config_digest import NUKE_DEFAULT, config_files, digest_of_blobs
from mattebridge.errors import (
    ColourConfigMismatch,
    ColourSpaceUnknown,
    InputError,
    MatteBridgeError,
    PathRefused,
)
from mattebridge.messages import JobRequest
from mattebridge.requests import CHOICES
from mattebridge_ocio.chromaticities import contradiction
from mattebridge_ocio.config import ColourConfig
from mattebridge_ocio.exposure import exposure_gain
from mattebridge_ocio.failure import ColourError
from mattebridge_ocio.network import NetworkTransform, bounded, network_transform
from mattebridge_ocio.plate_space import PlateHints, Resolution, resolve_plate_space

from .plan import quantise_gain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Float32 = NDArray[np.float32]

DEFAULT_CONFIG = "ocio://cg-config-v2.1.0_aces-v1.3_ocio-v2.3"

_Value = TypeVar("_Value")
_ERRORS: dict[str, type[MatteBridgeError]] = {
    "space_unstated": ColourSpaceUnknown,
    "space_unknown": ColourSpaceUnknown,
    "space_ambiguous": ColourSpaceUnknown,
    "space_unfit": ColourSpaceUnknown,
    "config_missing": PathRefused,
}


def translated(call: Callable[[], _Value]) -> _Value:
    """What ``call`` returns; a `ColourError` becomes an error of our tree."""
    try:
        return call()
    except ColourError as error:
        cls = _ERRORS.get(error.kind, InputError)
        details = {"candidates": ", ".join(error.candidates)} if error.candidates else {}
        raise cls(error.message, remedy=error.remedy, file=error.file, details=details) from error


def load_config(request: JobRequest, site_config: str = "") -> ColourConfig:
    """The config that the request names, else the show's, else the pinned built-in ACES config.

    A folder is a config that came by content, its files under their logical names.
    Raises `ColourConfigMismatch` where the client's digest differs from that of the files here.
    """
    name = request.config or site_config or DEFAULT_CONFIG
    digest = _digest(name, request)
    if request.config_digest and request.config_digest != digest:
        raise ColourConfigMismatch(
            f"the OCIO config {name} is not the same on client and server",
            file=name,
            details={"client": request.config_digest, "server": digest},
        )
    return translated(lambda: ColourConfig.load(name, request.context, digest=digest))


def plate_space(config: ColourConfig, hints: PlateHints, request: JobRequest, site_space: str) -> Resolution:
    """Raises `ColourSpaceUnknown` with the candidates where nobody has stated the plate's space."""
    return translated(lambda: resolve_plate_space(config, hints, request=request.plate_space, site_default=site_space))


def stated_space(config: ColourConfig, interop_id: str, path: str) -> str:
    """The config's space for what a header states. Raises `ColourSpaceUnknown` where there is none."""
    hints = PlateHints(path=path, interop_id=interop_id)
    return translated(lambda: resolve_plate_space(config, hints)).space


def contradicted(config: ColourConfig, space: str, chromaticities: tuple[float, ...], whose: str) -> str:
    """A warning where the ``chromaticities`` in a header, eight or none, are not those of ``space``; else ""."""
    if len(chromaticities) != 8:
        return ""
    return translated(lambda: contradiction(config, space, chromaticities, whose))


def convert(config: ColourConfig, source: str, target: str, pixels: Float32) -> Float32:
    """``pixels``, (H, W, 3) finite, from one of the config's spaces to another; themselves where the two are one."""
    return pixels if source == target else bounded(translated(lambda: config.convert(source, target)).apply(pixels))


def transform(config: ColourConfig, space: str, look: str, gain_stops: float = 0.0) -> NetworkTransform:
    """The shot's plate-to-network transform. Raises `InputError` for an unknown look or view."""
    if look not in CHOICES["look"]:
        raise InputError(f"there is no look {look!r}", remedy=f"Choose one of {', '.join(CHOICES['look'])}.")
    return translated(lambda: network_transform(config, space, look, 2.0**gain_stops))  # type: ignore[arg-type]


def shot_gain(samples: Iterable[Float32]) -> float:
    """Exposure gain of a shot in stops; ``samples`` are a few frames, (H, W, 3) float32 linear Rec.709."""
    return quantise_gain(exposure_gain(samples))


def is_scene_linear(config: ColourConfig, space: str) -> bool:
    """Whether light adds up in ``space``, so that a plate in it can be composited as it is."""
    found = config.ocio.getColorSpace(space)
    return found is not None and found.getEncoding() == "scene-linear"


def config_label(name: str, digest: str) -> str:
    """How a result names its config: a built-in by its name, files by their digest, which no mount point changes."""
    return name if _is_built_in(name) else f"sha256:{digest}"


def _is_built_in(name: str) -> bool:
    return "://" in name or name == NUKE_DEFAULT


def _digest(name: str, request: JobRequest) -> str:
    if _is_built_in(name):
        return config_files(name, request.context).digest()
    path = Path(name)
    if not path.exists():
        raise PathRefused(f"the server does not see the OCIO config {name}", file=name)
    if path.is_dir():
        files = (file for file in path.rglob("*") if file.is_file())
        return digest_of_blobs({file.relative_to(path).as_posix(): file.read_bytes() for file in files})
    return config_files(name, request.context).digest()
