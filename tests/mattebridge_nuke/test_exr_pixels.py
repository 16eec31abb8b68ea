"""Two files of one picture are told from two pictures, whatever their headers say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio
import pytest
from numpy.typing import NDArray

from mattebridge_nuke.exr_pixels import picture_of, same_picture

HEIGHT, WIDTH = 70, 90
PICTURE = np.random.default_rng(3).random((HEIGHT, WIDTH, 1)).astype(np.float32)


def write(path: Path, pixels: NDArray[np.float32] = PICTURE, parts: int = 1, tile: int = 0, **attributes: Any) -> Path:
    """One EXR with channel A in every part."""
    specs = []
    for part in range(parts):
        spec = oiio.ImageSpec(WIDTH, HEIGHT, 1, oiio.HALF)
        spec.channelnames = ["A"]
        if tile:
            spec.tile_width = spec.tile_height = tile
        for name, value in {"compression": "zips", **attributes}.items():
            if name in ("x", "full_x", "full_width"):
                setattr(spec, name, value)
            else:
                spec.attribute(name, value)
        if parts > 1:
            spec.attribute("oiio:subimagename", f"part{part}")
        specs.append(spec)
    out = oiio.ImageOutput.create(str(path))
    assert out.open(str(path), specs if parts > 1 else specs[0]), out.geterror()
    for part in range(parts):
        if part:
            assert out.open(str(path), specs[part], "AppendSubimage")
        assert out.write_image(pixels)
    assert out.close()
    return path


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"compression": "none"},
        {"compression": "zip"},
        {"compression": "dwab"},
        {"openexr:lineOrder": "decreasingY"},
        {"tile": 32},
        {"parts": 3},
    ],
    ids=str,
)
def test_only_the_picture_counts_in_every_form_of_file(tmp_path: Path, form: dict[str, Any]) -> None:
    one = write(tmp_path / "one.exr", DateTime="2026:01:01 00:00:00", view="left", **form)
    late = write(tmp_path / "late.exr", DateTime="2026:01:01 00:00:01", comment="a longer header" * 9, **form)
    assert one.read_bytes() != late.read_bytes()
    assert same_picture(one, late)
    changed = PICTURE.copy()
    changed[HEIGHT - 1, WIDTH - 1] += 0.25
    assert not same_picture(one, write(tmp_path / "other.exr", changed, DateTime="2026:01:01 00:00:00", **form))


@pytest.mark.parametrize("layout", [{"x": 1}, {"full_x": -8}, {"full_width": 200}, {"PixelAspectRatio": 2.0}], ids=str)
def test_the_same_pixels_elsewhere_are_another_picture(tmp_path: Path, layout: dict[str, Any]) -> None:
    assert not same_picture(write(tmp_path / "one.exr"), write(tmp_path / "other.exr", **layout))


def test_the_chunks_hold_every_line_once(tmp_path: Path) -> None:
    _, chunks = picture_of(write(tmp_path / "one.exr", compression="none"))
    assert len(chunks) == HEIGHT * (8 + 2 * WIDTH), "line number, size, then half values"


@pytest.mark.parametrize("end", [0, 3, 40, 300, 700])
def test_a_file_that_ends_in_its_header_or_tables_is_named(tmp_path: Path, end: int) -> None:
    path = write(tmp_path / "cut.exr")
    path.write_bytes(path.read_bytes()[:end])
    with pytest.raises(ValueError, match=r"cut\.exr is not a whole EXR file"):
        picture_of(path)


def test_a_file_whose_offsets_were_never_written_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "open.exr")
    data = path.read_bytes()
    table = len(data) - len(picture_of(path)[1]) - 8 * HEIGHT
    path.write_bytes(data[:table] + bytes(8 * HEIGHT) + data[table + 8 * HEIGHT :])
    with pytest.raises(ValueError, match="not written to its end"):
        picture_of(path)
