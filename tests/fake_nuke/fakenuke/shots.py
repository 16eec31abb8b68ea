"""Small EXR shots for the node's tests, and the script around them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import FakeNuke, Node, Picture, write_exr

RGB = ["rgba.red", "rgba.green", "rgba.blue"]
WIDTH, HEIGHT = 64, 48


def disc(frame: int, radius: float = 12.0, soft: float = 1.5) -> NDArray[np.float32]:
    """Coverage of a disc that moves a pixel a frame: (48, 64) float32 in 0..1."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    distance = np.hypot(x - 24 - (frame % 16), y - 24)
    cover: NDArray[np.float32] = np.clip((radius - distance) / soft + 0.5, 0, 1).astype(np.float32)
    return cover


def plate(frame: int, seed: int = 0) -> Picture:
    """A bright disc over a dark, grainy ground, scene-linear."""
    grain = np.random.default_rng(1000 * seed + abs(frame)).normal(0, 0.004, (HEIGHT, WIDTH))
    cover = disc(frame)
    planes = {}
    for name, front, back in zip(RGB, (0.9, 0.7, 0.5), (0.05, 0.08, 0.12)):
        planes[name] = (front * cover + back * (1 - cover) + grain).astype(np.float32)
    window = (0, 0, WIDTH, HEIGHT)
    return Picture(planes, window, window)


def mask(frame: int, value: float = 1.0) -> Picture:
    """A rough mask of the same disc in the alpha channel."""
    window = (0, 0, WIDTH, HEIGHT)
    return Picture({"rgba.alpha": (disc(frame, 13.0, 0.5) * value).astype(np.float32)}, window, window)


class Shot:
    """A folder with a plate and a mask, in a path with spaces."""

    def __init__(self, folder: Path, first: int = 1001, last: int = 1008, views: tuple[str, ...] = ()) -> None:
        self.folder = folder / "show a" / "sh 010"
        self.folder.mkdir(parents=True)
        self.first, self.last, self.views = first, last, views
        for frame in range(first, last + 1):
            for index, view in enumerate(views or ("",)):
                self.write_plate(frame, view, index)
                self.write_mask(frame, view)

    def pattern(self, name: str) -> str:
        view = ".%V" if self.views else ""
        return f"{self.folder.as_posix()}/{name}{view}.%04d.exr"

    def path(self, name: str, frame: int, view: str = "") -> Path:
        return Path(self.pattern(name).replace("%V", view).replace("%04d", f"{frame:04d}"))

    def write_plate(self, frame: int, view: str = "", seed: int = 0) -> None:
        write_exr(self.path("plate", frame, view), plate(frame, seed), RGB)

    def write_mask(self, frame: int, view: str = "", value: float = 1.0) -> None:
        write_exr(self.path("mask", frame, view), mask(frame, value), ["rgba.alpha"])

    def script(self, fake: FakeNuke, saved: bool = True, **knobs: Any) -> Any:
        """Reads and a MatteBridge node in a saved script; gives the node."""
        nuke: Any = fake.module
        fake.session.context = fake.session.context.at(frame=self.first, view=(self.views or ("main",))[0])
        fake.session.root._knobs["views"].setValue(" ".join(self.views or ("main",)))  # type: ignore[attr-defined]
        reads = [self.read(nuke, name) for name in ("plate", "mask")]
        node: Node = nuke.nodes.MatteBridge(inputs=reads)
        if saved:
            nuke.scriptSaveAs(f"{self.folder.as_posix()}/comp v012.nk")
        for name, value in knobs.items():
            node._knobs[name].setValue(value)  # type: ignore[attr-defined]
        return node

    def read(self, nuke: Any, name: str, **knobs: Any) -> Node:
        read: Node = nuke.nodes.Read(
            file=self.pattern(name), first=self.first, last=self.last, raw=True, name=f"Read_{name}", **knobs
        )
        return read

    def store(self, node: Any, name: str = "mask") -> None:
        """Put files on the node as if they were a finished matte."""
        values = {
            "alpha_path": self.pattern(name),
            "has_matte": True,
            "result_first": self.first,
            "result_last": self.last,
            "version_name": "v001",
        }
        for knob, value in values.items():
            node._knobs[knob].setValue(value)


def value(node: Node, name: str) -> Any:
    return node._value(name)
