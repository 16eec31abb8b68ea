"""Files in and out: plates, masks and headers read, results written atomically.

Knows files, and neither models nor plans nor sockets. Colour is reported as the header states it and never changed.
Every read and write names its file and frame in its errors, and may run in several threads at once.
"""

from mattebridge_server.media.channels import Channel
from mattebridge_server.media.commit import (
    TEMPORARY_PREFIX,
    TEMPORARY_SUFFIX,
    make_folder,
    remove_stale_temporaries,
    share,
    share_results,
)
from mattebridge_server.media.geometry import Raster, Window, place
from mattebridge_server.media.header import (
    OWN_PREFIX,
    CarriedAttribute,
    ColourHints,
    FrameHeader,
    check_same_geometry,
)
from mattebridge_server.media.library import DEFAULT_LIMITS, ReadLimits, set_threads
from mattebridge_server.media.mask import Mask, MaskChoice, choose_mask_channel, read_mask
from mattebridge_server.media.planes import write_planes
from mattebridge_server.media.plate import Plate, read_plate
from mattebridge_server.media.repair import repair_non_finite, usable
from mattebridge_server.media.resample import shrink
from mattebridge_server.media.source import read_attributes, read_header
from mattebridge_server.media.watch import watch_reads
from mattebridge_server.media.write import Written, write_alpha, write_rgb

__all__ = [
    "DEFAULT_LIMITS",
    "OWN_PREFIX",
    "TEMPORARY_PREFIX",
    "TEMPORARY_SUFFIX",
    "CarriedAttribute",
    "Channel",
    "ColourHints",
    "FrameHeader",
    "Mask",
    "MaskChoice",
    "Plate",
    "Raster",
    "ReadLimits",
    "Window",
    "Written",
    "check_same_geometry",
    "choose_mask_channel",
    "make_folder",
    "place",
    "read_attributes",
    "read_header",
    "read_mask",
    "read_plate",
    "remove_stale_temporaries",
    "repair_non_finite",
    "set_threads",
    "share",
    "share_results",
    "shrink",
    "usable",
    "watch_reads",
    "write_alpha",
    "write_planes",
    "write_rgb",
]
