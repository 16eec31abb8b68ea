"""What a host finds in a result: the right channels, windows and tags, and none that would be a lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest

from mattebridge.errors import UsageError
from mattebridge_server.media import (
    ColourHints,
    Window,
    read_attributes,
    read_header,
    read_mask,
    read_plate,
    write_alpha,
    write_rgb,
)
from mattebridge_server.media.write import _write_exr

HEIGHT, WIDTH = 24, 40


@pytest.fixture
def plate(make_image, rgb_planes):
    """The header of a plate with everything a plate may have."""
    path = make_image(
        "plate.exr",
        rgb_planes(HEIGHT, WIDTH),
        data=(-4, -3),
        display=(0, 0, 32, 18),
        PixelAspectRatio=2.0,
        colorInteropID="lin_ap1_scene",
        chromaticities=("chromaticities", "float[8]", (0.713, 0.293, 0.165, 0.83, 0.128, 0.044, 0.32168, 0.33767)),
        timecode=("smpte:TimeCode", "timecode", (0x01020304, 0)),
        rate=("framesPerSecond", "rational", (24000, 1001)),
        camera="A001",
        reelName="A001_C003",
        secret="true of the plate alone",
    )
    return read_header(path, frame=1001)


def spec_of(path: str) -> oiio.ImageSpec:
    source = oiio.ImageInput.open(path)
    assert source, oiio.geterror()
    spec = source.spec()
    source.close()
    return spec


def attributes_of(path: str) -> dict:
    return {entry.name: entry.value for entry in spec_of(path).extra_attribs}


def ramp() -> np.ndarray:
    return np.linspace(0, 1, HEIGHT * WIDTH, dtype=np.float32).reshape(HEIGHT, WIDTH)


def test_an_alpha_is_one_half_channel_named_a(tmp_path, plate):
    path = str(tmp_path / "a.exr")
    written = write_alpha(path, ramp(), like=plate, frame=1001)
    assert (written.path, written.frame, written.clamped) == (path, 1001, 0)
    spec = spec_of(path)
    assert (tuple(spec.channelnames), str(spec.format)) == (("A",), "half")
    assert attributes_of(path)["compression"] == "zips"
    pixels = oiio.ImageInput.open(path).read_image(oiio.HALF)
    np.testing.assert_array_equal(pixels.reshape(HEIGHT, WIDTH), ramp().astype(np.float16))


def test_an_alpha_has_the_plates_geometry_and_time(tmp_path, plate):
    path = str(tmp_path / "a.exr")
    write_alpha(path, ramp(), like=plate, frame=1001)
    header = read_header(path, frame=1001)
    assert header.data_window == Window(-4, -3, WIDTH, HEIGHT)
    assert header.display_window == Window(0, 0, 32, 18)
    assert header.pixel_aspect == 2.0
    assert {"smpte:TimeCode", "framesPerSecond"} <= {attribute.name for attribute in header.carried}
    assert header.carried == plate.carried
    assert attributes_of(path)["camera"] == "A001"
    assert attributes_of(path)["reelName"] == "A001_C003"


def test_an_alpha_is_tagged_as_data_and_says_nothing_of_the_plates_colour(tmp_path, plate, plate_header):
    for number, like in enumerate(
        [plate, plate_header(WIDTH, HEIGHT, colour=ColourHints("lin_ap0_scene", aces_container=True))]
    ):
        path = str(tmp_path / f"{number}.exr")
        write_alpha(path, ramp(), like=like, frame=1)
        attributes = attributes_of(path)
        assert attributes["colorInteropID"] == "data"
        assert not {"chromaticities", "acesImageContainerFlag", "secret"} & attributes.keys()
        assert read_header(path, frame=1).colour == ColourHints("data")


def test_several_objects_become_named_layers(tmp_path, plate):
    path = str(tmp_path / "a.exr")
    layers = {"": ramp(), "hero": ramp() / 2, "matte_dog": ramp() / 4, "B2": 1 - ramp()}
    write_alpha(path, layers, like=plate, frame=1)
    assert set(spec_of(path).channelnames) == {"A", "matte_hero.A", "matte_dog.A", "matte_B2.A"}
    for channel, expected in {"A": ramp(), "matte_hero.A": ramp() / 2, "matte_B2.A": 1 - ramp()}.items():
        mask = read_mask(path, frame=1, plate_header=plate, channel=channel)
        inside = mask.coverage[3:21, 4:36]
        np.testing.assert_array_equal(inside, expected.astype(np.float16).astype(np.float32)[3:21, 4:36])


@pytest.mark.parametrize("name", ["1", "7up", "hero.left", "héro", "a b", "matte/x"])
def test_layer_names_that_hosts_refuse_are_refused(tmp_path, plate, name):
    with pytest.raises(UsageError, match="cannot name a layer"):
        write_alpha(str(tmp_path / "a.exr"), {name: ramp()}, like=plate, frame=1)
    assert list(tmp_path.glob("a.exr")) == []


def test_two_layers_of_one_name_are_refused(tmp_path, plate):
    for layers in ({"": ramp(), "A": ramp()}, {"hero": ramp(), "matte_hero": ramp()}, {}):
        with pytest.raises(UsageError, match="different names"):
            write_alpha(str(tmp_path / "a.exr"), layers, like=plate, frame=1)


def test_alpha_is_clamped_and_finite(tmp_path, plate):
    alpha = ramp()
    alpha[0, :6] = [np.nan, np.inf, -np.inf, -0.5, 1.5, 1 + 1e-7]
    path = str(tmp_path / "a.exr")
    assert write_alpha(path, alpha, like=plate, frame=1).clamped == 5
    stored = oiio.ImageInput.open(path).read_image(oiio.FLOAT).reshape(HEIGHT, WIDTH)
    np.testing.assert_array_equal(stored[0, :6], [0, 1, 0, 0, 1, 1])
    assert (stored.min(), stored.max()) == (0, 1)


def test_our_attributes_come_back_as_text(tmp_path, plate):
    path = str(tmp_path / "a.exr")
    given = {
        "mattebridge:key": "5e1f" * 16,
        "model": "edge/1",
        "n": 3,
        "gain_stops": 0.1,
        "note": "é☃ two\nlines",
        "x" * 100: "a long name",
        "plan": "{}" * 50_000,
    }
    write_alpha(path, ramp(), like=plate, frame=1, attributes=given)
    expected = {name if ":" in name else f"mattebridge:{name}": str(value) for name, value in given.items()}
    assert read_attributes(path) == expected
    assert dict(read_header(path, frame=1).own) == expected


def test_a_file_of_others_has_no_attributes_of_ours(make_image, rgb_planes):
    assert read_attributes(make_image("p.exr", rgb_planes(), camera="A001")) == {}


def test_equal_results_are_equal_files(tmp_path, plate, monkeypatch):
    for name, date in (("1.exr", "1"), ("2.exr", "1000000000")):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", date)
        write_alpha(str(tmp_path / name), ramp(), like=plate, frame=1, attributes={"key": "k"})
    assert (tmp_path / "1.exr").read_bytes() == (tmp_path / "2.exr").read_bytes()
    assert "DateTime" not in attributes_of(str(tmp_path / "1.exr"))


def test_colour_keeps_the_plates_tags_and_has_no_alpha(tmp_path, plate):
    rgb = read_plate(plate.path, frame=1001).pixels
    path = str(tmp_path / "c.exr")
    assert write_rgb(path, rgb, like=plate, frame=1001, attributes={"key": "k"}).clamped == 0
    back = read_plate(path, frame=1001)
    np.testing.assert_array_equal(back.pixels, rgb)
    assert [channel.name for channel in back.header.channels] == ["R", "G", "B"]
    assert back.header.storage == "half"
    assert back.header.colour == plate.colour
    assert back.header.data_window == plate.data_window
    assert back.header.carried == plate.carried
    assert read_attributes(path) == {"mattebridge:key": "k"}


def test_colour_from_an_aces_container_keeps_its_meaning(tmp_path, plate_header):
    like = plate_header(WIDTH, HEIGHT, colour=ColourHints("", aces_container=True))
    path = str(tmp_path / "c.exr")
    write_rgb(path, np.zeros((HEIGHT, WIDTH, 3), np.float32), like=like, frame=1)
    assert read_header(path, frame=1).colour == ColourHints("lin_ap0_scene")


def test_colour_beyond_half_is_clamped_and_counted(tmp_path, plate):
    rgb = np.ones((HEIGHT, WIDTH, 3), np.float32)
    rgb[0, :5, 0] = [1e6, -1e6, np.inf, np.nan, 65504]
    path = str(tmp_path / "c.exr")
    assert write_rgb(path, rgb, like=plate, frame=1).clamped == 4
    assert read_plate(path, frame=1).pixels[0, :5, 0].tolist() == [65504, -65504, 65504, 0, 65504]


def test_sizes_that_do_not_fit_the_plate_are_a_mistake_of_the_caller(tmp_path, plate):
    for write, pixels in (
        (write_alpha, np.zeros((HEIGHT, WIDTH + 1), np.float32)),
        (write_rgb, np.zeros((HEIGHT + 1, WIDTH, 3), np.float32)),
        (write_rgb, np.zeros((HEIGHT, WIDTH), np.float32)),
    ):
        with pytest.raises(ValueError, match=r"shape|not"):
            write(str(tmp_path / "a.exr"), pixels, like=plate, frame=1)
    assert not Path(tmp_path / "a.exr").exists()


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (HEIGHT, WIDTH, 2), (1, HEIGHT, WIDTH, 1)])
def test_the_writer_is_never_handed_an_array_that_would_kill_the_process(tmp_path, shape):
    spec = oiio.ImageSpec(WIDTH, HEIGHT, 1, oiio.HALF)
    with pytest.raises(ValueError, match="C-ordered"):
        _write_exr("a.exr", 1, str(tmp_path / "a.exr"), spec, np.ones(shape, np.float16))
    with pytest.raises(ValueError, match="C-ordered"):
        turned = np.ones((WIDTH, HEIGHT, 1), np.float16).transpose(1, 0, 2)
        _write_exr("a.exr", 1, str(tmp_path / "a.exr"), spec, turned)


def test_arrays_of_any_memory_order_are_written_right(tmp_path, plate):
    alpha = np.asfortranarray(ramp())
    path = str(tmp_path / "a.exr")
    write_alpha(path, alpha, like=plate, frame=1)
    write_alpha(path, np.repeat(ramp(), 2, axis=1)[:, ::2], like=plate, frame=1)
    stored = oiio.ImageInput.open(path).read_image(oiio.HALF).reshape(HEIGHT, WIDTH)
    np.testing.assert_array_equal(stored, ramp().astype(np.float16))
    flipped = np.ones((HEIGHT, WIDTH, 3), np.float32)[::-1, :, ::-1]
    write_rgb(path, flipped, like=plate, frame=1)
    assert (read_plate(path, frame=1).pixels == 1).all()
