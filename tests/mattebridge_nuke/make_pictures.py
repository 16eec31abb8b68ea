"""Draws the pictures of docs/compositor.md and the node's icon. Run by hand after the node's panel changed:

    python tests/mattebridge_nuke/make_pictures.py

The panel is drawn from the gizmo's own knobs; the result is a real matte: fake Nuke, real server, model `edge`, and the
composite that the node itself makes of it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "fake_nuke")]

from fakenuke import FakeNuke, Picture, write_exr  # noqa: E402
from fakenuke.artist import Artist  # noqa: E402
from fakenuke.graph import draw_graph  # noqa: E402
from fakenuke.local_server import running_server  # noqa: E402
from fakenuke.panel import draw_panel  # noqa: E402
from fakenuke.shots import RGB  # noqa: E402

from mattebridge_server.demo.scenes import make_shot  # noqa: E402
from mattebridge_server.demo.sheet import display, grey, write_sheet  # noqa: E402

GIZMOS = ROOT / "nuke_plugin" / "gizmos"
IMAGES = ROOT / "docs" / "images"
SIZE = (960, 540)
FRAMES = range(1001, 1006)

Float32 = NDArray[np.float32]


def finished_state(node: Any) -> None:
    """What a panel looks like after some work; fixed values, so that the picture can be compared."""
    folder = "/shows/moor/sh010/comp/mattebridge/MatteBridge1"
    values = {
        "status": "v003: 12 frames made, 88 kept\n- mask jumps between frames 1040 and 1041",
        "range": "custom",
        "frames": "1001-1100",
        "rgb_from": "over background",
        "make_fgr": True,
        "alpha_path": f"{folder}/v003/MatteBridge1.%04d.exr",
        "fgr_path": f"{folder}/v003/fgr/MatteBridge1_fgr.%04d.exr",
        "working_space": "scene_linear of config.ocio (custom config)",
        "point1": [912, 640],
        "kind1": "subject",
        "point2": [301, 220],
        "kind2": "background",
        "server": "auto",
        "version_name": "v003",
    }
    node._knobs["version"].setValues(["v001", "v002", "v003"])
    for name, value in {**values, "version": "v003"}.items():
        node._knobs[name].setValue(value)


def panel(node: Any) -> NDArray[np.uint8]:
    return half(draw_panel(node, "MatteBridge1"))


def half(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def graph(reads: Sequence[Any], node: Any) -> NDArray[np.uint8]:
    """The node and what it reads, as they stand in the script."""
    for column, read in enumerate(reads):
        read.setXYpos(190 * column, 0)
    node.setXYpos(190, 120)
    return half(draw_graph([*reads, node]))


def write_frames(folder: Path) -> Float32:
    """A shot of the benchmark as EXR, and the background of another; gives that background."""
    shot = make_shot("dark_hair_bright", *SIZE)
    window = (0, 0, *SIZE)
    for index, number in enumerate(FRAMES):
        frame = shot.frame(index)
        planes = {name: frame.plate[..., i] for i, name in enumerate(RGB)}
        write_exr(folder / f"plate.{number}.exr", Picture(planes, window, window), RGB)
        write_exr(folder / f"mask.{number}.exr", Picture({"rgba.alpha": frame.mask}, window, window), ["rgba.alpha"])
    other = make_shot("hair_highlights", *SIZE, seed=7).frame(0).background
    write_exr(folder / "bg.exr", Picture({name: other[..., i] for i, name in enumerate(RGB)}, window, window), RGB)
    return other


def result_rows(fake: FakeNuke, artist: Artist, frame: int) -> list[Float32]:
    """Plate, mask, matte and composite of one frame, as codes in 0..1."""
    session, node = fake.session, artist.node
    plate, mask = (session.picture_of(node.input(index), frame) for index in (0, 1))
    over = session.picture_of(node, frame)
    colour = [np.stack([picture.plane(name) for name in RGB], axis=-1) for picture in (plate, over)]
    return [
        display(colour[0]),
        grey(mask.plane("rgba.alpha")),
        grey(over.plane("rgba.alpha")),
        display(colour[1]),
    ]


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, running_server(), FakeNuke(plugin_folders=[GIZMOS]) as fake:
        folder = Path(scratch)
        write_frames(folder)
        nuke: Any = fake.module
        reads = [
            nuke.nodes.Read(
                file=f"{scratch}/{name}.%04d.exr", first=FRAMES[0], last=FRAMES[-1], raw=True, name=f"Read_{name}"
            )
            for name in ("plate", "mask")
        ]
        node = nuke.nodes.MatteBridge(inputs=reads, make_fgr=True)
        nuke.scriptSaveAs(f"{scratch}/comp.nk")
        artist = Artist(fake, node)
        artist.choose_model("edge")
        drawn = nuke.nodes.MatteBridge()
        Artist(fake, drawn).choose_model("edge")
        finished_state(drawn)
        cv2.imwrite(str(IMAGES / "node-panel.png"), panel(drawn), [cv2.IMWRITE_PNG_COMPRESSION, 9])
        run = artist.press("matte_range", 300)
        if run.error is not None:
            raise run.error
        background = nuke.nodes.Read(file=f"{scratch}/bg.exr", first=1, last=1, raw=True, name="Read_background")
        node.setInput(4, background)
        cv2.imwrite(str(IMAGES / "node-graph.png"), graph([*reads, background], node))
        artist.set(rgb_from="over background")
        columns = ("plate input", "mask input", "matte", "over background")
        write_sheet(IMAGES / "node-result.png", [("", result_rows(fake, artist, FRAMES[2]))], columns)
    draw_icon(ROOT / "nuke_plugin" / "icons" / "MatteBridge.png")


def draw_icon(path: Path) -> None:
    """A figure cut from its ground, 24 pixels square with transparency."""
    big = np.zeros((192, 192, 4), np.uint8)
    cv2.rectangle(big, (8, 8), (184, 184), (110, 90, 70, 255), -1)
    cv2.circle(big, (96, 72), 34, (235, 235, 235, 255), -1, cv2.LINE_AA)
    cv2.ellipse(big, (96, 190), (66, 82), 0, 180, 360, (235, 235, 235, 255), -1, cv2.LINE_AA)
    cv2.line(big, (20, 150), (172, 150), (232, 156, 72, 255), 14, cv2.LINE_AA)
    small = cv2.resize(big, (24, 24), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(path), small, [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
