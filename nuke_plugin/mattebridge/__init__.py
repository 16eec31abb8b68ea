"""mattebridge: plate and rough mask in, linear-light alpha out. This is the thin side: no numpy, no image library.

    with mattebridge.Client.connect() as client:
        job = client.matte(plate="plate.####.exr", mask="roto.####.exr", out="alpha.####.exr", frames="1001-1100")
        for event in job.events():
            print(event)

Names are imported when they are first used (PEP 562), so that ``import mattebridge`` costs a host application nothing;
zmq and msgpack are imported by the first connection.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as `typing` has it, whose import costs as much as all the rest of this file
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "AuthRefused": "errors",
    "Cancelled": "errors",
    "CancelledEvent": "messages",
    "Checked": "messages",
    "Client": "client",
    "ColourConfigMismatch": "errors",
    "ColourSpaceUnknown": "errors",
    "Done": "messages",
    "EngineFailed": "errors",
    "Event": "messages",
    "Failed": "messages",
    "FrameDone": "messages",
    "FrameError": "errors",
    "FrameSet": "frames",
    "InputError": "errors",
    "Job": "job",
    "JobConflict": "errors",
    "JobInfo": "messages",
    "JobRequest": "messages",
    "JobTimeout": "errors",
    "LicenceRefused": "errors",
    "MatteBridgeError": "errors",
    "MissingFrames": "errors",
    "ModelInfo": "messages",
    "ModelNotInstalled": "errors",
    "ModelUnknown": "errors",
    "OutOfMemory": "errors",
    "OutputExists": "errors",
    "OutputFailed": "errors",
    "PathRefused": "errors",
    "PlanError": "errors",
    "Planes": "planes",
    "PoisonFrame": "errors",
    "Progress": "messages",
    "ProtocolError": "errors",
    "Queued": "messages",
    "Refused": "errors",
    "Sequence": "sequence",
    "ServerBusy": "errors",
    "ServerError": "errors",
    "Settings": "settings",
    "Started": "messages",
    "StatusReport": "messages",
    "UsageError": "errors",
    "Warning_": "messages",
}

__all__ = [*sorted(_HOMES), "__version__"]

if TYPE_CHECKING:
    from .client import Client as Client
    from .errors import AuthRefused as AuthRefused
    from .errors import Cancelled as Cancelled
    from .errors import ColourConfigMismatch as ColourConfigMismatch
    from .errors import ColourSpaceUnknown as ColourSpaceUnknown
    from .errors import EngineFailed as EngineFailed
    from .errors import FrameError as FrameError
    from .errors import InputError as InputError
    from .errors import JobConflict as JobConflict
    from .errors import JobTimeout as JobTimeout
    from .errors import LicenceRefused as LicenceRefused
    from .errors import MatteBridgeError as MatteBridgeError
    from .errors import MissingFrames as MissingFrames
    from .errors import ModelNotInstalled as ModelNotInstalled
    from .errors import ModelUnknown as ModelUnknown
    from .errors import OutOfMemory as OutOfMemory
    from .errors import OutputExists as OutputExists
    from .errors import OutputFailed as OutputFailed
    from .errors import PathRefused as PathRefused
    from .errors import PlanError as PlanError
    from .errors import PoisonFrame as PoisonFrame
    from .errors import ProtocolError as ProtocolError
    from .errors import Refused as Refused
    from .errors import ServerBusy as ServerBusy
    from .errors import ServerError as ServerError
    from .errors import UsageError as UsageError
    from .frames import FrameSet as FrameSet
    from .job import Job as Job
    from .messages import CancelledEvent as CancelledEvent
    from .messages import Checked as Checked
    from .messages import Done as Done
    from .messages import Event as Event
    from .messages import Failed as Failed
    from .messages import FrameDone as FrameDone
    from .messages import JobInfo as JobInfo
    from .messages import JobRequest as JobRequest
    from .messages import ModelInfo as ModelInfo
    from .messages import Progress as Progress
    from .messages import Queued as Queued
    from .messages import Started as Started
    from .messages import StatusReport as StatusReport
    from .messages import Warning_ as Warning_
    from .planes import Planes as Planes
    from .sequence import Sequence as Sequence
    from .settings import Settings as Settings


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
