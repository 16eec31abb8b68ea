"""Every error that mattebridge raises, sends or prints, in one tree.

    MatteBridgeError                 the base; nothing raises it directly
    ├── UsageError                   USAGE                  the call itself is wrong
    ├── InputError                   BAD_INPUT              an input cannot be used
    │   ├── FrameError               BAD_FRAME              one frame of a sequence cannot be used
    │   ├── MissingFrames            MISSING_FRAMES         frames of a sequence do not exist
    │   ├── PlanError                BAD_PLAN               the plan does not fit this shot or this code
    │   ├── ColourSpaceUnknown       COLOUR_SPACE_UNKNOWN   nobody said what the plate's space is
    │   ├── ModelUnknown             MODEL_UNKNOWN          no model of that name
    │   ├── ModelNotInstalled        MODEL_NOT_INSTALLED    its weights or packages are not on this machine
    │   ├── OutputExists             OUTPUT_EXISTS          a file with another key is in the way
    │   ├── OutputFailed             OUTPUT_FAILED          a result could not be written (disk full, no permission)
    │   ├── PoisonFrame              POISON                 the engine died on this window every time
    │   └── JobConflict              CONFLICT               the job key is taken by another body
    ├── ServerError                  SERVER_LOST            the server cannot be reached, or was lost
    │   ├── ServerBusy               BUSY                   the queue is full; says when to try again
    │   ├── ProtocolError            PROTOCOL               the two sides do not speak the same protocol
    │   ├── JobTimeout               TIMEOUT                a queue or run time limit passed
    │   └── EngineFailed             ENGINE_FAILED          the engine failed for a reason that is ours
    ├── OutOfMemory                  OUT_OF_MEMORY          the job does not fit the device or the host
    ├── Cancelled                    CANCELLED              somebody cancelled the job
    └── Refused                      REFUSED                the server understood and will not
        ├── AuthRefused              AUTH_REFUSED           the key of this client, or of the server, is wrong
        ├── PathRefused              PATH_REFUSED           outside the roots, or not visible to the server
        ├── ColourConfigMismatch     COLOUR_CONFIG_MISMATCH the two sides hold different OCIO configs
        └── LicenceRefused           LICENCE_REFUSED        the licence is not accepted, or not allowed here

A code is stable: it is the same in a `FAILED` message, in `--json`, in the metrics and in docs/errors.md. The exit
status belongs to the class (0 done, 2 usage, 3 bad input, 4 server, 5 memory, 6 cancelled, 7 refused). An error says
what happened, to which file and frame, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Optional, Union

Detail = Union[bool, int, float, str]


class MatteBridgeError(Exception):
    """Base of the tree.

    ``message`` says what happened, ``remedy`` what the reader can do. ``file`` and ``frame`` name the culprit where
    there is one; ``details`` are flat facts for machines (a list of candidates is joined with ``", "``).
    """

    code: ClassVar[str] = "INTERNAL"
    exit_status: ClassVar[int] = 4
    cause: ClassVar[str] = "An unexpected failure inside mattebridge."
    default_remedy: ClassVar[str] = "Look at the server's log, and report it with the log."

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        file: str = "",
        frame: Optional[int] = None,
        details: Optional[Mapping[str, Detail]] = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy or self.default_remedy
        self.file = file
        self.frame = frame
        self.details: dict[str, Detail] = dict(details or {})

    def __str__(self) -> str:
        where = ""
        if self.frame is not None and str(self.frame) not in self.message:
            where += f" (frame {self.frame})"
        if self.file and self.file not in self.message:
            where += f" [{self.file}]"
        return f"{self.message}{where}. {self.remedy}" if self.remedy else f"{self.message}{where}"

    def to_wire(self) -> dict[str, Union[Detail, dict[str, Detail], None]]:
        """The fields of an `ErrorInfo` (see `mattebridge.messages`)."""
        return {
            "code": self.code,
            "message": self.message,
            "remedy": self.remedy,
            "file": self.file,
            "frame": self.frame,
            "details": dict(self.details),
        }

    def __reduce__(self) -> tuple[object, ...]:
        return (error_from_wire, (self.to_wire(),))


class UsageError(MatteBridgeError):
    code, exit_status = "USAGE", 2
    cause = "An argument is missing, unknown or contradicts another."
    default_remedy = "See the command's --help."


class InputError(MatteBridgeError):
    code, exit_status = "BAD_INPUT", 3
    cause = "A file or a value that the job needs cannot be used."
    default_remedy = "Correct the input and run the same job again; frames already written are kept."


class FrameError(InputError):
    code = "BAD_FRAME"
    cause = "One frame is missing its data: truncated, empty, deep, without RGB, of another size, or not an image."
    default_remedy = "Render or copy that frame again, then run the same job; finished frames are kept."


class MissingFrames(InputError):
    code = "MISSING_FRAMES"
    cause = "The sequence on disk has holes in the range that was asked for."
    default_remedy = "Render the missing frames, or ask for a range without them."


class PlanError(InputError):
    code = "BAD_PLAN"
    cause = "The plan was made for another shot, other masks, another model or another version."
    default_remedy = "Make a new plan with `mattebridge plan` and use it for every chunk."


class ColourSpaceUnknown(InputError):
    code = "COLOUR_SPACE_UNKNOWN"
    cause = "The plate's colour space is not stated, not in its header and not set for the show."
    default_remedy = "State it: --plate-space NAME."


class ModelUnknown(InputError):
    code = "MODEL_UNKNOWN"
    cause = "No model of that name is registered on the server."
    default_remedy = "See `mattebridge models`."


class ModelNotInstalled(InputError):
    code = "MODEL_NOT_INSTALLED"
    cause = "The model's weights or Python packages are not on the server's machine."
    default_remedy = "Run `mattebridge models pull NAME` on the server, or copy its folder there."


class OutputExists(InputError):
    code = "OUTPUT_EXISTS"
    cause = "A result made with other inputs or parameters is already at that path."
    default_remedy = "Write to the next version ({version} in the path), or pass --overwrite."


class OutputFailed(InputError):
    code = "OUTPUT_FAILED"
    cause = "The disk is full, the folder is read-only, or the file system failed."
    default_remedy = "Free space or correct the folder's permissions, then run the same job; finished frames are kept."


class PoisonFrame(InputError):
    code = "POISON"
    cause = "The engine crashed each time it worked on this window of frames."
    default_remedy = "Look at the named frames and the server's log; leave the frames out or replace them."


class JobConflict(InputError):
    code = "CONFLICT"
    cause = "The same job key was used for another request."
    default_remedy = "Use a new job key for a new request."


class ServerError(MatteBridgeError):
    code, exit_status = "SERVER_LOST", 4
    cause = "No answer: the server is not running, the host is down or the network is cut."
    default_remedy = "Start it with `mattebridge serve`, or see `mattebridge doctor`."


class ServerBusy(ServerError):
    code = "BUSY"
    cause = "The queue is at its limit."
    default_remedy = "Try again after the time it names."


class ProtocolError(ServerError):
    code = "PROTOCOL"
    cause = "Client and server have no protocol version in common, or a message was malformed."
    default_remedy = "Bring the older of the two up to date."


class JobTimeout(ServerError):
    code = "TIMEOUT"
    cause = "The job waited or ran longer than its limit."
    default_remedy = "Raise the limit, or run it when the queue is shorter."


class EngineFailed(ServerError):
    code = "ENGINE_FAILED"
    cause = "The engine failed in a way that is not the input's fault."
    default_remedy = "Run the same job again; if it fails again, look at the server's log and report it with the log."


class OutOfMemory(MatteBridgeError):
    code, exit_status = "OUT_OF_MEMORY", 5
    cause = "The job needs more memory than the device or the host has."
    default_remedy = "Use a smaller preset, a lighter model, or a larger host."


class Cancelled(MatteBridgeError):
    code, exit_status = "CANCELLED", 6
    cause = "The job was cancelled; what it had finished is kept."
    default_remedy = "Run the same job again to go on where it stopped."


class Refused(MatteBridgeError):
    code, exit_status = "REFUSED", 7
    cause = "The server's settings do not allow this."
    default_remedy = "Ask whoever runs the server."


class AuthRefused(Refused):
    code = "AUTH_REFUSED"
    cause = "The client's key is not on the allow-list, or the server's key is not the one expected."
    default_remedy = "Have the key added with `mattebridge serve --allow-client`, or fetch the server's new public key."


class PathRefused(Refused):
    code = "PATH_REFUSED"
    cause = "The path leaves the allowed roots, or the server does not see it."
    default_remedy = "Use a folder under the server's roots, add a path map, or use --delivery exr."


class ColourConfigMismatch(Refused):
    code = "COLOUR_CONFIG_MISMATCH"
    cause = "The server's copy of the OCIO config differs from the client's."
    default_remedy = "Bring the two to the same config, or let the client upload its own."


class LicenceRefused(Refused):
    code = "LICENCE_REFUSED"
    cause = "The model's licence has not been accepted, or the site does not allow it."
    default_remedy = "Accept it with `mattebridge models pull NAME`, or choose a model that is allowed."


def _subclasses(cls: type[MatteBridgeError]) -> Iterator[type[MatteBridgeError]]:
    yield cls
    for sub in cls.__subclasses__():
        yield from _subclasses(sub)


def error_classes() -> dict[str, type[MatteBridgeError]]:
    """Every error class by its code."""
    return {cls.code: cls for cls in _subclasses(MatteBridgeError)}


def error_from_wire(info: Mapping[str, object]) -> MatteBridgeError:
    """The exception for an `ErrorInfo`; a code from a newer server falls back to `MatteBridgeError`."""
    cls = error_classes().get(str(info.get("code")), MatteBridgeError)
    details = info.get("details")
    frame = info.get("frame")
    return cls(
        str(info.get("message", "")),
        remedy=str(info.get("remedy", "")),
        file=str(info.get("file", "")),
        frame=frame if isinstance(frame, int) else None,
        details=details if isinstance(details, dict) else None,
    )
