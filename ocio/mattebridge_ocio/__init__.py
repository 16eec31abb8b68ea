"""Colour, and nothing but colour: OCIO configs, the plate's space, and the picture that a network sees.

Imports numpy and PyOpenColorIO, and nothing of ours. The digest of a config's files is made by the thin side with the
standard library (`mattebridge.config_digest`); this package is handed the result.
"""

from .config import NUKE_DEFAULT, ColourConfig
from .exposure import exposure_gain
from .failure import ColourError
from .looks import FilmicLook, Look, LookName, SrgbLook, ViewLook
from .network import NetworkTransform, make_look, network_transform
from .plate_space import PlateHints, Resolution, resolve_plate_space
from .processors import Transform

__all__ = [
    "NUKE_DEFAULT",
    "ColourConfig",
    "ColourError",
    "FilmicLook",
    "Look",
    "LookName",
    "NetworkTransform",
    "PlateHints",
    "Resolution",
    "SrgbLook",
    "Transform",
    "ViewLook",
    "exposure_gain",
    "make_look",
    "network_transform",
    "resolve_plate_space",
]
