"""A plate arrives exactly as it is stored, whatever make of EXR it is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mattebridge.errors import FrameError, InputError
from mattebridge_server.media import (
    ReadLimits,
    Window,
    check_same_geometry,
    place,
    read_header,
    read_plate,
    set_threads,
)

LOSSLESS = ["none", "rle", "zips", "zip", "piz", "zstd"]
LOSSY = ["pxr24", "b44", "b44a", "dwaa", "dwab"]


@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("compression", LOSSLESS)
def test_half_pixels_are_exact(make_image, rgb_planes, compression, tile):
    planes = rgb_planes()
    options = {"tile": tile} if tile else {}
    path = make_image("p.exr", planes, compression=compression, **options)
    plate = read_plate(path, frame=1001)
    assert plate.pixels.dtype == np.float32
    assert plate.header.storage == "half"
    assert plate.header.compression == compression
    np.testing.assert_array_equal(plate.pixels, np.dstack([planes[c].astype(np.float32) for c in "RGB"]))


@pytest.mark.parametrize("tile", [None, (32, 8)])
@pytest.mark.parametrize("compression", LOSSY)
def test_lossy_compressions_are_read(make_image, compression, tile):
    ramp = np.linspace(0.1, 1, 64, dtype=np.float32)[None].repeat(32, 0)
    options = {"tile": tile} if tile else {}
    path = make_image("p.exr", {"R": ramp, "G": ramp, "B": ramp}, compression=compression, **options)
    assert read_plate(path, frame=1).header.compression == compression
    np.testing.assert_allclose(read_plate(path, frame=1).pixels[..., 1], ramp, atol=0.02)


def test_float_pixels_are_exact_beyond_half(make_image):
    values = np.array([[1e6, 1 / 3, -2e-9, 7e4]], np.float32).repeat(4, 0)
    path = make_image("f.exr", {"R": values, "G": values, "B": values}, type_name="float")
    plate = read_plate(path, frame=1)
    assert plate.header.storage == "float"
    np.testing.assert_array_equal(plate.pixels[..., 2], values)


def test_non_finite_values_reach_the_caller(make_image, rgb_planes):
    planes = rgb_planes()
    planes["R"][3, 4], planes["B"][5, 6] = np.nan, -np.inf
    pixels = read_plate(make_image("n.exr", planes), frame=1).pixels
    assert np.isnan(pixels[3, 4, 0])
    assert np.isneginf(pixels[5, 6, 2])


def test_plate_alpha_is_ignored(make_image, rgb_planes):
    planes = rgb_planes()
    alpha = np.zeros_like(planes["R"])
    plate = read_plate(make_image("a.exr", planes | {"A": alpha}), frame=1)
    assert plate.channels == ("R", "G", "B")
    assert plate.pixels[..., 0].max() > 1


@pytest.mark.parametrize(
    ("data", "display"),
    [((-8, -6), (0, 0, 24, 12)), ((5, 3), (0, 0, 100, 50)), ((110, 60), (100, 50, 60, 60)), ((0, 0), (0, 0, 40, 24))],
    ids=["overscan", "cropped", "display window off the origin", "equal"],
)
def test_windows_and_pixel_aspect_are_reported(make_image, rgb_planes, data, display):
    path = make_image("w.exr", rgb_planes(), data=data, display=display, PixelAspectRatio=2.0)
    header = read_plate(path, frame=1).header
    assert header.data_window == Window(*data, 40, 24)
    assert header.display_window == Window(*display)
    assert header.pixel_aspect == 2.0
    assert header == read_header(path, frame=1)


def test_the_header_reports_colour_time_and_camera(make_image, rgb_planes):
    path = make_image(
        "h.exr",
        rgb_planes(),
        colorInteropID="lin_ap1_scene",
        chromaticities=("chromaticities", "float[8]", (0.7, 0.3, 0.1, 0.8, 0.1, 0.04, 0.3, 0.3)),
        timecode=("smpte:TimeCode", "timecode", (0x12345678 & 0x3F7F7F3F, 0)),
        rate=("framesPerSecond", "rational", (24000, 1001)),
        camera="A001",
        secret="not for others",
    )
    header = read_header(path, frame=7)
    assert header.colour.interop_id == "lin_ap1_scene"
    assert header.colour.chromaticities[:2] == pytest.approx((0.7, 0.3))
    assert not header.colour.aces_container
    carried = {attribute.name: attribute.value for attribute in header.carried}
    assert carried["camera"] == "A001"
    assert carried["smpte:TimeCode"] == (0x12345678 & 0x3F7F7F3F, 0)
    assert carried["framesPerSecond"] == (24000, 1001)
    assert "secret" not in carried
    assert hash(header)


def test_the_aces_flag_is_reported(make_image, rgb_planes):
    path = make_image("aces.exr", rgb_planes(), compression="none", acesImageContainerFlag=1)
    assert read_header(path, frame=1).colour.aces_container


def test_text_that_is_not_utf8_does_not_cost_the_frame(make_image, rgb_planes, tmp_path):
    path = make_image("l.exr", rgb_planes(), camera="XXXXX")
    (tmp_path / "l.exr").write_bytes((tmp_path / "l.exr").read_bytes().replace(b"XXXXX", b"M\xfcll\xe9"))
    header = read_plate(path, frame=1).header
    for attribute in header.carried:
        str(attribute.value).encode("utf-8")


def test_integer_pictures_become_fractions(make_image):
    ramp = np.linspace(0, 1, 16, dtype=np.float32)[None].repeat(4, 0)
    path = make_image("p.tif", {"R": ramp, "G": ramp, "B": ramp}, type_name="uint16")
    np.testing.assert_allclose(read_plate(path, frame=1).pixels[..., 0], ramp, atol=1e-5)


def test_a_grey_picture_gives_three_equal_channels(make_image, rgb_planes):
    grey = rgb_planes()["R"]
    plate = read_plate(make_image("y.exr", {"Y": grey}), frame=1)
    assert plate.channels == ("Y",)
    np.testing.assert_array_equal(plate.pixels, np.dstack([grey.astype(np.float32)] * 3))


def test_layers_are_found_by_name(make_image, rgb_planes):
    plain, diffuse = rgb_planes(seed=1), rgb_planes(seed=2)
    planes = plain | {f"diffuse.{c}": diffuse[c] for c in "RGB"}
    path = make_image("l.exr", planes)
    assert read_plate(path, frame=1).pixels[2, 2, 0] == plain["R"][2, 2]
    assert read_plate(path, frame=1, layer="rgba").pixels[2, 2, 0] == plain["R"][2, 2]
    for layer in ("diffuse", "Diffuse"):
        plate = read_plate(path, frame=1, layer=layer)
        assert plate.channels == ("diffuse.R", "diffuse.G", "diffuse.B")
        np.testing.assert_array_equal(plate.pixels[..., 2], diffuse["B"].astype(np.float32))


def test_a_layer_whose_channels_lie_far_apart(make_image, rgb_planes):
    wanted = rgb_planes(seed=5)
    others = {f"a{i}.Z": np.full((24, 40), i, np.float16) for i in range(20)}
    spread = {"far.B": wanted["B"]} | others | {"far.G": wanted["G"], "zz.Z": others["a1.Z"], "far.R": wanted["R"]}
    plate = read_plate(make_image("s.exr", spread), frame=1, layer="far")
    np.testing.assert_array_equal(plate.pixels, np.dstack([wanted[c].astype(np.float32) for c in "RGB"]))


def test_the_only_layer_needs_no_name(make_image, rgb_planes):
    planes = {f"beauty.{long}": rgb_planes()[short] for long, short in (("red", "R"), ("green", "G"), ("blue", "B"))}
    plate = read_plate(make_image("o.exr", planes), frame=1)
    assert plate.channels == ("beauty.red", "beauty.green", "beauty.blue")


def test_several_layers_without_a_plain_picture_have_to_be_named(make_image, rgb_planes):
    planes = {f"{layer}.{c}": rgb_planes()[c] for layer in ("diffuse", "specular") for c in "RGB"}
    with pytest.raises(FrameError, match=r"several layers.*--plate-layer: diffuse, specular"):
        read_plate(make_image("o.exr", planes), frame=1)


def test_an_unknown_layer_lists_what_there_is(make_image, rgb_planes):
    path = make_image("o.exr", rgb_planes() | {f"spec.{c}": rgb_planes()[c] for c in "RGB"})
    for read in (read_plate, read_header):
        with pytest.raises(FrameError, match=r"no layer 'diffuse'.*rgba, spec") as caught:
            read(path, frame=12, layer="diffuse")
        assert (caught.value.file, caught.value.frame) == (path, 12)


def test_parts_are_matched_by_full_name(make_parts, rgb_planes):
    beauty, spec = rgb_planes(seed=1), rgb_planes(seed=2)
    path = make_parts(
        "m.exr",
        [
            ({"Z": beauty["R"]}, {"oiio:subimagename": "depth"}),
            (beauty, {"oiio:subimagename": "rgba"}),
            (spec, {"oiio:subimagename": "specular"}),
            ({f"diffuse.{c}": beauty[c] for c in "RGB"}, {"oiio:subimagename": "diffuse"}),
        ],
    )
    plate = read_plate(path, frame=1)
    assert plate.channels == ("rgba.R", "rgba.G", "rgba.B")
    assert plate.header.part == 1
    np.testing.assert_array_equal(plate.pixels[..., 1], beauty["G"].astype(np.float32))
    plate = read_plate(path, frame=1, layer="specular")
    assert plate.channels == ("specular.R", "specular.G", "specular.B")
    np.testing.assert_array_equal(plate.pixels[..., 1], spec["G"].astype(np.float32))
    assert read_plate(path, frame=1, layer="diffuse").channels == ("diffuse.R", "diffuse.G", "diffuse.B")
    assert "depth.Z" in [channel.name for channel in plate.header.channels]


def test_a_part_has_its_own_data_window(make_parts, rgb_planes):
    display = {"display": (0, 0, 40, 24)}
    path = make_parts(
        "m.exr",
        [
            (rgb_planes(24, 40), {"oiio:subimagename": "rgba", **display}),
            (rgb_planes(6, 10), {"oiio:subimagename": "spec", "data": (3, 2), **display}),
        ],
    )
    plate = read_plate(path, frame=1, layer="spec")
    assert plate.pixels.shape == (6, 10, 3)
    assert plate.header.data_window == Window(3, 2, 10, 6)


def test_views_in_parts_and_in_one_part(make_parts, make_image, rgb_planes):
    left, right = rgb_planes(seed=1), rgb_planes(seed=2)
    parts = make_parts(
        "v.exr",
        [
            (left, {"oiio:subimagename": "rgba.left", "view": "left"}),
            (right, {"oiio:subimagename": "rgba.right", "view": "right"}),
        ],
    )
    single = make_image(
        "s.exr",
        left | {f"right.{c}": right[c] for c in "RGB"},
        views=("multiView", "string[2]", ("left", "right")),
    )
    for path in (parts, single):
        assert read_header(path, frame=1).views == ("left", "right")
        for view, planes in (("", left), ("left", left), ("right", right)):
            np.testing.assert_array_equal(
                read_plate(path, frame=1, view=view).pixels[..., 0], planes["R"].astype(np.float32)
            )
        with pytest.raises(FrameError, match=r"no view 'centre'.*left, right"):
            read_plate(path, frame=1, view="centre")


def test_a_file_without_views_serves_every_view(make_image, rgb_planes):
    planes = rgb_planes()
    pixels = read_plate(make_image("left.exr", planes), frame=1, view="left").pixels
    np.testing.assert_array_equal(pixels[..., 0], planes["R"].astype(np.float32))


def test_a_file_without_rgb_says_what_it_holds(make_image, rgb_planes):
    path = make_image("z.exr", {"Z": rgb_planes()["R"], "A": rgb_planes()["G"]})
    with pytest.raises(FrameError, match="no RGB in A, Z") as caught:
        read_plate(path, frame=44)
    assert (caught.value.file, caught.value.frame) == (path, 44)
    assert [channel.name for channel in read_header(path, frame=44).channels] == ["A", "Z"]


@pytest.mark.parametrize("names", [("x", "y", "z"), ("N.x", "N.y", "N.z"), ("P.X", "P.Y", "P.Z"), ("Y", "RY", "BY")])
def test_a_y_beside_x_or_apart_from_its_colour_is_no_grey_picture(make_image, names):
    path = make_image("v.exr", dict.fromkeys(names, np.ones((4, 4), np.float32)))
    with pytest.raises(FrameError, match="no RGB"):
        read_plate(path, frame=1)


def test_what_the_first_part_states_holds_for_the_picture_in_the_second(make_parts, rgb_planes):
    depth = {"Z": np.ones((24, 40), np.float32)}
    time = {"smpte:TimeCode": ("smpte:TimeCode", "timecode", (0x01020304, 0))}
    rate = {"framesPerSecond": ("framesPerSecond", "rational", (24, 1))}
    parts = [(depth, {"name": "depth", "colorInteropID": "data", **time, **rate}), (rgb_planes(), {"name": "rgba"})]
    header = read_header(make_parts("p.exr", parts), frame=1)
    carried = {attribute.name: attribute.value for attribute in header.carried}
    assert header.part == 1
    assert (carried["smpte:TimeCode"], carried["framesPerSecond"]) == ((0x01020304, 0), (24, 1))
    assert header.colour.interop_id == ""


def test_limits_are_kept_before_anything_is_decoded(make_image, rgb_planes):
    path = make_image("b.exr", rgb_planes())
    with pytest.raises(FrameError, match="data window of 40x24"):
        read_plate(path, frame=1, limits=ReadLimits(max_side=32))
    with pytest.raises(FrameError, match="limit"):
        read_plate(path, frame=1, limits=ReadLimits(max_bytes=40 * 24 * 3 * 4 - 1))
    with pytest.raises(FrameError, match="3 channels"):
        read_plate(path, frame=1, limits=ReadLimits(max_channels=2))
    read_plate(path, frame=1, limits=ReadLimits(max_side=40, max_bytes=40 * 24 * 3 * 4, max_channels=3))


def test_a_change_of_size_is_named(make_image, rgb_planes):
    first = read_header(make_image("1.exr", rgb_planes()), frame=1001)
    check_same_geometry(first, read_header(make_image("2.exr", rgb_planes()), frame=1002))
    wider = read_header(make_image("3.exr", rgb_planes(24, 41)), frame=1003)
    with pytest.raises(InputError, match=r"frame 1003 .*41x24 at 0,0 instead of 40x24 at 0,0") as caught:
        check_same_geometry(first, wider)
    assert (caught.value.code, caught.value.frame) == ("BAD_FRAME", 1003)
    cropped = read_header(make_image("4.exr", rgb_planes(10, 20), data=(2, 2), display=(0, 0, 40, 24)), frame=1004)
    check_same_geometry(first, cropped)
    squeezed = read_header(make_image("5.exr", rgb_planes(), PixelAspectRatio=2.0), frame=1005)
    with pytest.raises(FrameError, match="pixel aspect 2 instead of 1"):
        check_same_geometry(first, squeezed)


def test_placing_crops_and_pads():
    pixels = np.arange(12, dtype=np.float32).reshape(3, 4)
    stored = Window(10, 20, 4, 3)
    assert place(pixels, stored, stored) is pixels
    np.testing.assert_array_equal(place(pixels, stored, Window(11, 21, 2, 1)), [[5, 6]])
    wide = place(pixels[..., None], stored, Window(8, 19, 8, 6))
    assert wide.shape == (6, 8, 1)
    np.testing.assert_array_equal(wide[1:4, 2:6, 0], pixels)
    assert wide.sum() == pixels.sum()
    assert not place(pixels, stored, Window(100, 100, 4, 4)).any()


def test_reads_may_overlap(make_image, rgb_planes):
    planes = [rgb_planes(seed=seed) for seed in range(8)]
    paths = [make_image(f"{seed}.exr", planes[seed]) for seed in range(8)]
    set_threads(2)
    with ThreadPoolExecutor(4) as pool:
        plates = list(pool.map(lambda index: read_plate(paths[index % 8], frame=index), range(64)))
    for index, plate in enumerate(plates):
        np.testing.assert_array_equal(plate.pixels[..., 0], planes[index % 8]["R"].astype(np.float32))


def test_threads_have_to_be_positive():
    with pytest.raises(ValueError, match="1 or more"):
        set_threads(0)
