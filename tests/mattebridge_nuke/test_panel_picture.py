"""The picture in the artist's guide shows the panel as it is now."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
from fakenuke import FakeNuke
from fakenuke.panel import tabs_of

ROOT = Path(__file__).resolve().parents[2]


def test_the_guide_s_picture_shows_today_s_knobs(fake: FakeNuke) -> None:
    spec = importlib.util.spec_from_file_location("make_pictures", Path(__file__).parent / "make_pictures.py")
    assert spec is not None and spec.loader is not None
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    node = fake.session.create("MatteBridge")
    pictures.finished_state(node)
    drawn = pictures.panel(node)
    shown = cv2.imread(str(ROOT / "docs" / "images" / "node-panel.png"))
    assert shown is not None
    assert shown.shape == drawn.shape
    height, width = drawn.shape[:2]
    ours = np.ones((height, width), bool)
    ours[height // 2 :, 2 * width // 3 :] = False  # the server's own parameters are drawn there
    different = np.abs(drawn.astype(int) - shown.astype(int)).max(axis=2)[ours] > 48
    assert different.mean() < 0.001, "run tests/mattebridge_nuke/make_pictures.py"


def test_every_knob_of_the_panel_has_a_tooltip_or_is_a_divider(fake: FakeNuke) -> None:
    node = fake.session.create("MatteBridge")
    bare = [
        knob.name()
        for tab in tabs_of(node)
        for line in tab.lines
        for knob in line
        if not knob.tooltip() and not knob.name().startswith("mb_divide")
    ]
    assert bare == []
    assert [tab.title for tab in tabs_of(node)] == ["MatteBridge", "Output", "Input", "Make mask", "Server"]
