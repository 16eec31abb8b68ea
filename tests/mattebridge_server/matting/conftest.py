"""Shots small enough to solve in a fraction of a second, made once for all tests of this folder."""

from __future__ import annotations

import pytest

from mattebridge_server.demo.scenes import SHOTS, Frame, make_shot

SIZE = (480, 270)


@pytest.fixture(scope="session")
def shots() -> dict[str, Frame]:
    """The first frame of every benchmark shot at 480x270."""
    return {name: make_shot(name, *SIZE).frame(0) for name in SHOTS}
