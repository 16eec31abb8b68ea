"""The one exception of this package; a caller translates its ``kind`` into its own error tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

Kind = Literal[
    "config_missing",  # no such file, or no such built-in in this release of OCIO
    "config_unpinned",  # ocio://default and the -latest names
    "config_invalid",  # OCIO cannot parse it, or a role that everything needs is missing
    "space_unstated",  # nothing says which space the plate is in
    "space_unknown",  # a stated space that the config does not have
    "space_ambiguous",  # two statements that contradict each other
    "space_unfit",  # the space exists, but no plate can be in it: data, or a display's
    "view_unknown",  # the display or view of a `view` look
    "file_missing",  # a look-up file that the config names
    "not_finite",  # NaN or infinity reached a colour operation
]


class ColourError(Exception):
    """``message`` says what is wrong, ``remedy`` what to do, ``candidates`` what could be meant, best first."""

    def __init__(
        self, kind: Kind, message: str, *, remedy: str = "", candidates: Sequence[str] = (), file: str = ""
    ) -> None:
        super().__init__(f"{message}. {remedy}" if remedy else message)
        self.kind = kind
        self.message = message
        self.remedy = remedy
        self.candidates = tuple(candidates)
        self.file = file
