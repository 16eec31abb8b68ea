"""A small studio config of our own: a context variable chooses the shot's look-up table."""

from __future__ import annotations

from pathlib import Path

import pytest

STUDIO = """ocio_profile_version: 2

environment:
  SHOT: sh010
  GRADE: grade
search_path:
  - luts/$SHOT
  - luts
file_rules:
  - !<Rule> {name: Scans, extension: "*", pattern: "*_scan.*", colorspace: plate lin}
  - !<Rule> {name: Default, colorspace: default}
roles:
  aces_interchange: studio aces
  scene_linear: plate lin
  data: raw
  default: plate lin
displays:
  monitor:
    - !<View> {name: plain, colorspace: plate lin}
active_displays: []
active_views: []
colorspaces:
  - !<ColorSpace>
    name: raw
    isdata: true
  - !<ColorSpace>
    name: studio aces
    encoding: scene-linear
  - !<ColorSpace>
    name: graded
    aliases: [shot grade]
    to_scene_reference: !<FileTransform> {src: "${GRADE}.cube", interpolation: linear}
  - !<ColorSpace>
    name: plate lin
    encoding: scene-linear
    to_scene_reference: !<MatrixTransform> {matrix: [2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1]}
"""


def write_lut(path: Path, factor: float) -> None:
    """A cube file that multiplies by ``factor``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"LUT_1D_SIZE 2\n0 0 0\n{factor} {factor} {factor}\n")


@pytest.fixture
def studio(tmp_path: Path) -> Path:
    """The config file in a folder with the tables of two shots: x0.5 for sh010, x0.75 for sh020."""
    folder = tmp_path / "show"
    write_lut(folder / "luts/sh010/grade.cube", 0.5)
    write_lut(folder / "luts/sh020/grade.cube", 0.75)
    write_lut(folder / "luts/neutral.cube", 1.0)
    config = folder / "studio.ocio"
    config.write_text(STUDIO)
    return config
