"""Files for the tests, written with OpenImageIO directly so that the reader is not tested against our own writer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio
import pytest
from numpy.typing import NDArray

from mattebridge_server.media import FrameHeader, Window

Planes = Mapping[str, NDArray[Any]]
MakeImage = Callable[..., str]


def build_spec(planes: Planes, type_name: str, options: Mapping[str, Any]) -> oiio.ImageSpec:
    height, width = next(iter(planes.values())).shape
    spec = oiio.ImageSpec(width, height, len(planes), oiio.TypeDesc(type_name))
    spec.channelnames = tuple(planes)
    if "A" in planes:
        spec.alpha_channel = list(planes).index("A")
    for name, value in options.items():
        if name == "data":
            spec.x, spec.y = value
        elif name == "display":
            spec.full_x, spec.full_y, spec.full_width, spec.full_height = value
        elif name == "tile":
            spec.tile_width, spec.tile_height = value
        elif isinstance(value, tuple):
            spec.attribute(value[0], oiio.TypeDesc(value[1]), value[2])
        else:
            spec.attribute(name, value)
    return spec


def stack(planes: Planes) -> NDArray[Any]:
    return np.ascontiguousarray(np.dstack(list(planes.values())))


@pytest.fixture
def make_image(tmp_path: Path) -> MakeImage:
    """``make_image("a.exr", {"R": array, ...}, type_name="half", data=(x, y), display=(x, y, w, h), tile=(w, h), ...)``

    Other options are attributes: a value, or (name, type, value).
    """

    def make(name: str, planes: Planes, type_name: str = "half", **options: Any) -> str:
        path = str(tmp_path / name)
        output = oiio.ImageOutput.create(path)
        assert output.open(path, build_spec(planes, type_name, options)), output.geterror()
        assert output.write_image(stack(planes)), output.geterror()
        assert output.close()
        return path

    return make


@pytest.fixture
def make_parts(tmp_path: Path) -> MakeImage:
    """A multi-part EXR: ``make_parts("a.exr", [(planes, options), ...])``; ``options`` as for one part."""

    def make(name: str, parts: list[tuple[Planes, dict[str, Any]]]) -> str:
        path = str(tmp_path / name)
        specs = [build_spec(planes, "half", options) for planes, options in parts]
        output = oiio.ImageOutput.create(path)
        assert output.open(path, tuple(specs)), output.geterror()
        for number, (planes, _) in enumerate(parts):
            if number:
                assert output.open(path, specs[number], "AppendSubimage"), output.geterror()
            assert output.write_image(stack(planes)), output.geterror()
        assert output.close()
        return path

    return make


def picture(height: int = 24, width: int = 40, seed: int = 1) -> dict[str, NDArray[Any]]:
    """R, G and B as halves, with highlights and a negative value."""
    rng = np.random.default_rng(seed)
    planes = {name: (rng.random((height, width)) * 12).astype(np.float16) for name in "RGB"}
    planes["G"][0, 0] = -0.25
    return planes


@pytest.fixture
def rgb_planes() -> Callable[..., dict[str, NDArray[Any]]]:
    return picture


@pytest.fixture
def plate_header() -> Callable[..., FrameHeader]:
    """``plate_header(width, height)``: a plate header whose windows may be given as (x, y, w, h)."""

    def header(
        width: int,
        height: int,
        data: tuple[int, int, int, int] | None = None,
        display: tuple[int, int, int, int] | None = None,
        **fields: Any,
    ) -> FrameHeader:
        whole = (0, 0, width, height)
        return FrameHeader(
            "plate.1001.exr", 1001, "openexr", Window(*(data or whole)), Window(*(display or whole)), **fields
        )

    return header
