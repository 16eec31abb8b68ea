"""Opening a file by its kind, and the two reads that decode no pixel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mattebridge.errors import FrameError
from mattebridge.planes import SUFFIX
from mattebridge_server.media.channels import find_picture
from mattebridge_server.media.header import FrameHeader
from mattebridge_server.media.image_file import ImageFile
from mattebridge_server.media.library import DEFAULT_LIMITS, ReadLimits
from mattebridge_server.media.planes import PlanesFile
from mattebridge_server.media.watch import being_read

Source = ImageFile | PlanesFile


@contextmanager
def open_source(path: str, frame: int, limits: ReadLimits = DEFAULT_LIMITS) -> Iterator[Source]:
    """``path`` as an image or as ``.planes``. Raises `MissingFrames` or `FrameError`."""
    kind = PlanesFile if path.endswith(SUFFIX) else ImageFile
    with being_read(path, frame), kind(path, frame, limits) as source:
        yield source


def read_header(
    path: str, *, frame: int, layer: str = "", view: str = "", limits: ReadLimits = DEFAULT_LIMITS
) -> FrameHeader:
    """The header of the part that holds ``layer`` in ``view``; of the first part where the file has no picture.

    A layer or view that is asked for by name has to exist. Raises `MissingFrames` or `FrameError`.
    """
    with open_source(path, frame, limits) as source:
        try:
            part = find_picture(source.channels, file=path, frame=frame, layer=layer, view=view).part
        except FrameError:
            if layer or view:
                raise
            part = 0
        return source.header(part)


def read_attributes(path: str, *, frame: int = 0) -> dict[str, str]:
    """Our own attributes of a result, ``{"mattebridge:key": ...}``; empty for a file that is not ours.

    Reads the header alone. Raises `MissingFrames` or `FrameError`.
    """
    with open_source(path, frame) as source:
        return dict(source.header().own)
