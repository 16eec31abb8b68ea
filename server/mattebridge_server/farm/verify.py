"""The last step of a farm job: is every frame there, made from this plan and these inputs, finite, and without seams?

Reads each result once, holds two frames at a time and hashes the inputs, so that a plate that was rendered again after
its chunk ran is found. It changes nothing; what it finds is repaired by running the chunks of those frames again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mattebridge.errors import FrameError, MatteBridgeError, MissingFrames
from mattebridge.frames import FrameSet
from mattebridge.messages import JobRequest

from ..media import OWN_PREFIX
from ..media.source import open_source
from ..metrics.seam import Seam, frame_changes, seam_from_changes
from ..pipeline.inputs import ShotInputs, resolve_inputs
from ..pipeline.keys import FileDigests, FrameKeys
from ..pipeline.outputs import FILL_ATTRIBUTE, role_key
from .chunking import evened_chunks
from .shot import FarmShot

Float32 = NDArray[np.float32]

VISIBLE_SEAM = 2.0
"""Change at chunk borders over change elsewhere from which a person should look: moving shots vary by half as much."""


@dataclass
class Verified:
    """What was found. ``problems`` by frame, in the order of frames; ``profiles`` are the execution profiles seen."""

    frames: FrameSet
    problems: dict[int, MatteBridgeError] = field(default_factory=dict)
    profiles: set[str] = field(default_factory=set)
    seam: Seam | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is no error and should be seen by a person."""
        found = []
        if len(self.profiles) > 1:
            found.append(
                f"{len(self.profiles)} kinds of workers took part, so chunks agree to a tolerance, not bit for bit"
            )
        if self.seam is not None and self.seam.borders and self.seam.ratio > VISIBLE_SEAM:
            found.append(f"alpha changes {self.seam.ratio:.1f} times as much at chunk borders as elsewhere")
        return tuple(found)

    def raise_problem(self, where: str) -> None:
        """Raises the first problem, naming every frame that has one; ``where`` says whose frames to run again."""
        if not self.problems:
            return
        first = next(iter(self.problems.values()))
        bad = FrameSet(self.problems)
        there = not all(isinstance(problem, MissingFrames) for problem in self.problems.values())
        raise type(first)(
            f"{len(bad)} of {len(self.frames)} frames are not right ({bad}); the first: {first.message}",
            file=first.file,
            frame=first.frame,
            remedy=f"Run them again: mattebridge farm task {where} --frames {bad}{' --overwrite' * there}",
        )


def verify(shot: FarmShot, frames: FrameSet, chunk: int, progress: Callable[[int], None]) -> Verified:
    """Look at every result of ``frames``; ``chunk`` is the size of the job's tasks, 0 where seams do not matter.

    ``progress`` hears percent, whenever they grew. Raises only what keeps it from looking at all.
    """
    inputs = resolve_inputs(_request(shot, frames), shot.plan.frames)
    found = Verified(frames)
    look = _Look(shot, inputs, found)
    changes = frame_changes(_counted(look.alphas(frames), len(frames), progress))
    if chunk > 0 and not found.problems:
        chunks = evened_chunks(frames, chunk)
        borders = np.cumsum([len(part) for part in chunks])[:-1].tolist()
        found.seam = seam_from_changes(changes, borders)
    return found


class _Look:
    def __init__(self, shot: FarmShot, inputs: ShotInputs, found: Verified) -> None:
        self._shot, self._inputs, self._found = shot, inputs, found
        self._digests = FileDigests()
        self._keys = FrameKeys(shot.plan, inputs, self._digest)
        self._plan_digest = shot.plan.digest()
        # Tracked masks are made by the job itself: they are not on disk, and their digests cannot be known here.
        self._whole = not (shot.request.fill or shot.request.prompts)

    def alphas(self, frames: FrameSet) -> Iterator[Float32]:
        """The alpha of each frame that is right, one after the other; the others become problems."""
        size: tuple[int, ...] = ()
        for frame in frames:
            try:
                alpha = self._frame(frame)
            except MatteBridgeError as error:
                self._found.problems[frame] = error
                continue
            if not size or alpha.shape == size:
                size = alpha.shape
                yield alpha

    def _frame(self, frame: int) -> Float32:
        results = {role: self._result(role, frame) for role in self._inputs.results}
        return results["alpha"]

    def _result(self, role: str, frame: int) -> Float32:
        path = self._inputs.path(role, frame)
        assert path is not None
        if not path.exists():
            raise MissingFrames(f"frame {frame} has no {role}", file=str(path), frame=frame)
        with open_source(str(path), frame) as source:
            own = source.header().own
            pixels = source.read(list(source.channels))
        self._check_origin(role, frame, path, own)
        self._found.profiles.add(own.get(OWN_PREFIX + "profile", ""))
        if not np.isfinite(pixels).all():
            raise FrameError(f"the {role} of frame {frame} is not finite", file=str(path), frame=frame)
        if role == "alpha" and (pixels.min() < 0 or pixels.max() > 1):
            raise FrameError(f"the alpha of frame {frame} leaves 0 to 1", file=str(path), frame=frame)
        return pixels

    def _check_origin(self, role: str, frame: int, path: Path, own: Mapping[str, str]) -> None:
        if own.get(OWN_PREFIX + "plan", "") != self._plan_digest:
            raise FrameError(f"the {role} of frame {frame} was made from another plan", file=str(path), frame=frame)
        extra = self._digest("background", frame) if role == "comp" else ""
        if role == "cleanplate":  # whatever filled it says so itself, and is a part of the key
            extra = own.get(OWN_PREFIX + FILL_ATTRIBUTE, "")
        if self._whole and own.get(OWN_PREFIX + "key", "") != role_key(self._keys.of(frame), role, extra):
            raise FrameError(
                f"the {role} of frame {frame} was made from other plates or masks than are there now",
                file=str(path),
                frame=frame,
            )

    def _digest(self, role: str, frame: int) -> str:
        path = self._inputs.path(role, frame)
        return self._digests.of(path, frame) if path is not None else ""


def _request(shot: FarmShot, frames: FrameSet) -> JobRequest:
    return replace(shot.request, frames=str(frames), shot=shot.plan.frames)


def _counted(alphas: Iterator[Float32], total: int, progress: Callable[[int], None]) -> Iterator[Float32]:
    percent = 0
    for count, alpha in enumerate(alphas, 1):
        if 100 * count // total > percent:
            percent = 100 * count // total
            progress(percent)
        yield alpha
