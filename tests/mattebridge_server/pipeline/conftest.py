"""Small real shots on disk, and jobs run on them in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mattebridge.messages import Done, FrameDone, JobRequest
from mattebridge_server.engine.local import run_local
from mattebridge_server.media import ColourHints, FrameHeader, Window, read_header, read_mask, write_alpha, write_rgb

sys.path.insert(0, str(Path(__file__).parents[2] / "studio_package"))


def header(width: int, height: int, frame: int) -> FrameHeader:
    window = Window(0, 0, width, height)
    return FrameHeader("", frame, "openexr", window, window, colour=ColourHints(interop_id="lin_ap1_scene"))


@dataclass
class SmallShot:
    """Plates of noise and a disc that moves as masks, on disk."""

    folder: Path
    frames: tuple[int, ...]
    width: int = 64
    height: int = 48
    events: list[Any] = field(default_factory=list)

    def write(self) -> SmallShot:
        for role in ("plate", "mask"):
            (self.folder / role).mkdir(parents=True, exist_ok=True)
        for index, frame in enumerate(self.frames):
            rng = np.random.default_rng([7, frame])
            like = header(self.width, self.height, frame)
            plate = rng.uniform(0.05, 0.9, (self.height, self.width, 3)).astype(np.float32)
            write_rgb(str(self.path("plate", frame)), plate, like=like, frame=frame)
            self.write_mask(frame, 20 + index, 24, 12)
        return self

    def write_mask(self, frame: int, x: float, y: float, radius: float) -> None:
        rows, columns = np.mgrid[: self.height, : self.width]
        disc = (np.hypot(columns - x, rows - y) < radius).astype(np.float32)
        write_alpha(str(self.path("mask", frame)), disc, like=header(self.width, self.height, frame), frame=frame)

    def path(self, role: str, frame: int) -> Path:
        return self.folder / role / f"{role}.{frame:04d}.exr"

    def result(self, out: str, version: int, frame: int) -> Path:
        """A result's file."""
        return self.folder / out.replace("{version}", f"v{version:03d}").replace("####", f"{frame:04d}")

    def request(self, out: str = "out/a.####.exr", **fields: Any) -> JobRequest:
        plate, mask = (str(self.folder / role / f"{role}.####.exr") for role in ("plate", "mask"))
        return JobRequest(
            **{"plate": plate, "mask": mask, "out": str(self.folder / out), "model": "identity", **fields}
        )

    def run(self, out: str = "out/a.####.exr", plan: bytes = b"", **fields: Any) -> Done:
        self.events.clear()
        return run_local(self.request(out, **fields), plan, self.events.append, lambda: False)

    def kept(self) -> dict[int, bool]:
        return {event.frame: event.kept for event in self.events if isinstance(event, FrameDone)}

    def alpha(self, out: str, frame: int) -> Any:
        path = str(self.folder / out.replace("####", f"{frame:04d}"))
        return read_mask(path, frame=frame, plate_header=read_header(path, frame=frame)).coverage


@pytest.fixture
def shot_of(tmp_path: Path) -> Iterator[Callable[..., SmallShot]]:
    def make(frames: range | tuple[int, ...], **kinds: Any) -> SmallShot:
        return SmallShot(tmp_path / "shot", tuple(frames), **kinds).write()

    yield make
