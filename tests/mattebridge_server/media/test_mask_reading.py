"""A mask arrives as coverage on the plate's grid, from the channel that the conventions name."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mattebridge.errors import FrameError, InputError, UsageError
from mattebridge_server.media import choose_mask_channel, read_mask, write_planes

WIDTH, HEIGHT = 96, 54


def disc(width: int = WIDTH, height: int = HEIGHT, softness: float = 0.0) -> np.ndarray:
    y, x = np.mgrid[:height, :width] + 0.5
    distance = np.hypot((x / width - 0.5) * 16 / 9, y / height - 0.5)
    if softness:
        return np.clip((0.3 - distance) / softness + 0.5, 0, 1).astype(np.float32)
    return (distance < 0.3).astype(np.float32)


@pytest.fixture
def plate(plate_header):
    return plate_header(WIDTH, HEIGHT)


def halves(mask):
    return mask.astype(np.float16).astype(np.float32)


def test_a_feathered_roto_keeps_its_values(make_image, plate):
    soft = disc(softness=0.2)
    mask = read_mask(make_image("m.exr", {"A": soft}), frame=1, plate_header=plate)
    np.testing.assert_array_equal(mask.coverage, halves(soft))
    assert mask.coverage.dtype == np.float32
    assert ((mask.coverage > 0.1) & (mask.coverage < 0.9)).sum() > 200


def test_a_motion_blurred_roto_keeps_features_below_one_half(make_image, plate):
    streak = np.zeros((HEIGHT, WIDTH), np.float32)
    streak[20:24] = cv2.blur(np.eye(1, WIDTH, 40, dtype=np.float32), (31, 1))
    mask = read_mask(make_image("m.exr", {"A": streak}), frame=1, plate_header=plate)
    assert 0 < mask.coverage.max() < 0.1
    np.testing.assert_array_equal(mask.coverage, halves(streak))


@pytest.mark.parametrize(
    ("planes", "channel", "reason"),
    [
        ({"R": 0.25, "G": 0, "B": 0, "A": None}, "A", "A is a matte"),
        ({"R": None, "G": 0, "B": 0, "A": 1}, "R", "A is 1 everywhere"),
        ({"R": None, "G": 0, "B": 0}, "R", "no alpha"),
        ({"Y": None}, "Y", "no alpha"),
        ({"Y": None, "A": 1}, "Y", "A is 1 everywhere"),
        ({"A": 1}, "A", "only alpha"),
        ({"matte_hero.A": None, "Z": 1}, "matte_hero.A", "only alpha"),
    ],
)
def test_the_channel_follows_the_convention(make_image, plate, planes, channel, reason):
    matte = disc()
    full = {name: matte if value is None else np.full_like(matte, value) for name, value in planes.items()}
    path = make_image("m.exr", full)
    mask = read_mask(path, frame=1, plate_header=plate)
    assert (mask.channel, reason in mask.reason) == (channel, True)
    np.testing.assert_array_equal(mask.coverage, np.ones_like(matte) if planes == {"A": 1} else matte)
    choice = choose_mask_channel([(1, path)])
    assert (choice.channel, choice.reason) == (mask.channel, mask.reason)


def test_one_choice_holds_for_the_shot(make_image, plate):
    matte, full, red = disc(), np.ones((HEIGHT, WIDTH), np.float32), np.full((HEIGHT, WIDTH), 0.5, np.float32)
    filled = make_image("1.exr", {"R": red, "G": red, "B": red, "A": full})
    normal = make_image("2.exr", {"R": red, "G": red, "B": red, "A": matte})
    assert read_mask(filled, frame=1, plate_header=plate).channel == "R"
    for frames in ([(1, filled), (2, normal)], [(2, normal), (1, filled)]):
        choice = choose_mask_channel(frames)
        assert choice.channel == "A"
    mask = read_mask(filled, frame=1, plate_header=plate, channel=choice.channel)
    assert (mask.coverage == 1).all()


def test_an_empty_alpha_beside_a_red_matte_is_pointed_out(make_image):
    matte, empty = disc(), np.zeros((HEIGHT, WIDTH), np.float32)
    path = make_image("e.exr", {"R": matte, "G": matte, "B": matte, "A": empty})
    choice = choose_mask_channel([(1, path)])
    assert choice.channel == "A"
    assert "--mask-channel" in choice.warning
    other = make_image("f.exr", {"R": matte, "G": matte, "B": matte, "A": matte})
    assert choose_mask_channel([(1, path), (2, other)]).warning == ""


def test_a_named_channel_is_used_or_the_candidates_listed(make_image, plate):
    matte = disc()
    path = make_image("m.exr", {"A": 1 - matte, "matte_hero.A": matte, "roto.red": matte})
    for name in ("matte_hero.A", "MATTE_HERO.a", "roto.red"):
        np.testing.assert_array_equal(read_mask(path, frame=1, plate_header=plate, channel=name).coverage, matte)
    np.testing.assert_array_equal(read_mask(path, frame=1, plate_header=plate, channel="alpha").coverage, 1 - matte)
    for look in (
        lambda: read_mask(path, frame=9, plate_header=plate, channel="G"),
        lambda: choose_mask_channel([(9, path)], channel="G"),
    ):
        with pytest.raises(FrameError, match=r"no channel 'G'.*matte_hero\.A") as caught:
            look()
        assert (caught.value.file, caught.value.frame) == (path, 9)


def test_several_mattes_without_a_plain_one_have_to_be_named(make_image, plate):
    path = make_image("m.exr", {"matte_a.A": disc(), "matte_b.A": disc()})
    with pytest.raises(FrameError, match=r"--mask-channel: matte_a\.A, matte_b\.A"):
        read_mask(path, frame=1, plate_header=plate)


def test_a_mask_in_a_part_of_its_own(make_parts, plate):
    matte, colour = disc(), np.full((HEIGHT, WIDTH), 0.5, np.float32)
    path = make_parts(
        "m.exr",
        [
            (dict.fromkeys("RGB", colour), {"oiio:subimagename": "rgba"}),
            ({"A": matte}, {"oiio:subimagename": "roto"}),
        ],
    )
    mask = read_mask(path, frame=1, plate_header=plate, channel="roto.A")
    np.testing.assert_array_equal(mask.coverage, matte)
    assert mask.header.part == 1


@pytest.mark.parametrize("name", ["m.png", "m.tif"])
@pytest.mark.parametrize("type_name", ["uint8", "uint16"])
@pytest.mark.parametrize("layout", ["Y", "YA", "RGB", "RGBA"])
def test_png_and_tiff_masks(make_image, plate, name, type_name, layout):
    soft, full = disc(softness=0.2), np.ones((HEIGHT, WIDTH), np.float32)
    planes = {channel: full if channel == "A" else soft for channel in layout}
    mask = read_mask(make_image(name, planes, type_name=type_name), frame=1, plate_header=plate)
    step = 1 / (255 if type_name == "uint8" else 65535)
    np.testing.assert_allclose(mask.coverage, soft, atol=step)
    assert mask.channel == layout[0]
    assert mask.warnings == ()


@pytest.mark.parametrize("layout", ["YA", "RGBA"])
def test_the_alpha_of_a_png_is_used_and_its_red_is_not_multiplied_by_it(make_image, plate, layout):
    soft, light = disc(softness=0.2), np.full((HEIGHT, WIDTH), 0.75, np.float32)
    planes = {channel: soft if channel == "A" else light for channel in layout}
    path = make_image("m.png", planes, type_name="uint16", **{"oiio:UnassociatedAlpha": 1})
    np.testing.assert_allclose(read_mask(path, frame=1, plate_header=plate).coverage, soft, atol=1e-4)
    light_mask = read_mask(path, frame=1, plate_header=plate, channel=layout[0])
    np.testing.assert_allclose(light_mask.coverage, light, atol=1e-4)


def test_a_jpeg_is_taken_with_a_warning(make_image, plate):
    mask = read_mask(make_image("m.jpg", {"Y": disc()}, type_name="uint8"), frame=1, plate_header=plate)
    assert any("JPEG" in warning for warning in mask.warnings)


def test_values_are_clamped_and_non_finite_ones_counted(make_image, plate):
    matte = disc()
    matte[0, :4] = [np.nan, np.inf, -np.inf, -3]
    matte[1, 0] = 1e4
    mask = read_mask(make_image("n.exr", {"A": matte}), frame=1, plate_header=plate)
    assert mask.non_finite == 3
    assert (mask.coverage[0, :4] == 0).all()
    assert mask.coverage[1, 0] == 1
    assert (mask.coverage.min(), mask.coverage.max()) == (0, 1)


def test_inverting_turns_black_into_subject(make_image, plate):
    soft = disc(softness=0.2)
    mask = read_mask(make_image("i.exr", {"A": soft}), frame=1, plate_header=plate, invert=True)
    np.testing.assert_array_equal(mask.coverage, 1 - halves(soft))


def test_outside_its_data_window_a_mask_is_empty(make_image, plate):
    path = make_image("c.exr", {"A": np.full((10, 20), 0.75, np.float32)}, data=(30, 5), display=(0, 0, WIDTH, HEIGHT))
    coverage = read_mask(path, frame=1, plate_header=plate).coverage
    expected = np.zeros((HEIGHT, WIDTH), np.float32)
    expected[5:15, 30:50] = 0.75
    np.testing.assert_array_equal(coverage, expected)
    inverted = read_mask(path, frame=1, plate_header=plate, invert=True).coverage
    np.testing.assert_array_equal(inverted, 1 - expected)


@pytest.mark.parametrize("invert", [False, True])
def test_overscan_of_the_plate_is_empty_where_the_mask_has_none(make_image, plate_header, invert):
    plate = plate_header(WIDTH + 16, HEIGHT + 8, (-8, -4, WIDTH + 16, HEIGHT + 8), (0, 0, WIDTH, HEIGHT))
    full = np.full((HEIGHT, WIDTH), 0 if invert else 1, np.float32)
    coverage = read_mask(make_image("o.exr", {"A": full}), frame=1, plate_header=plate, invert=invert).coverage
    assert coverage.shape == (HEIGHT + 8, WIDTH + 16)
    assert coverage.sum() == WIDTH * HEIGHT
    assert (coverage[4:-4, 8:-8] == 1).all()


def test_overscan_of_the_mask_fills_that_of_the_plate(make_image, plate_header):
    plate = plate_header(WIDTH + 16, HEIGHT + 8, (-8, -4, WIDTH + 16, HEIGHT + 8), (0, 0, WIDTH, HEIGHT))
    ramp = np.linspace(0, 1, WIDTH + 32, dtype=np.float32)[None].repeat(HEIGHT + 16, 0)
    path = make_image("o.exr", {"A": ramp}, data=(-16, -8), display=(0, 0, WIDTH, HEIGHT))
    coverage = read_mask(path, frame=1, plate_header=plate).coverage
    np.testing.assert_array_equal(coverage, halves(ramp)[4:-4, 8:-8])


def test_overscan_of_a_coarse_mask_lies_where_it_should(make_image, plate_header):
    plate = plate_header(WIDTH + 16, HEIGHT, (-8, 0, WIDTH + 16, HEIGHT), (0, 0, WIDTH, HEIGHT))
    half_size = np.zeros((HEIGHT // 2, WIDTH // 2 + 8), np.float32)
    half_size[:, :4] = 1
    path = make_image("o.exr", {"A": half_size}, data=(-4, 0), display=(0, 0, WIDTH // 2, HEIGHT // 2))
    coverage = read_mask(path, frame=1, plate_header=plate).coverage
    assert (coverage[:, :6] == 1).all()
    assert (coverage[:, 11:] == 0).all()
    assert coverage[:, :14].sum(axis=1) == pytest.approx(8, abs=0.01)


def test_a_subject_cut_by_the_frame_stays_solid_to_the_edge(make_image, plate):
    coarse = np.zeros((HEIGHT // 3, WIDTH // 3), np.float32)
    coarse[:, :10] = 1
    coverage = read_mask(make_image("e.exr", {"A": coarse}), frame=1, plate_header=plate).coverage
    assert (coverage[:, :27] == 1).all()
    assert (coverage[:, 34:] == 0).all()


def test_a_solid_mask_is_exactly_solid_where_weights_add_up_to_a_little_less(make_image, plate_header):
    coverage = read_mask(
        make_image("one.exr", {"A": np.ones((30, 50), np.float32)}), frame=1, plate_header=plate_header(70, 42)
    ).coverage
    assert (coverage == 1).all()


@pytest.mark.parametrize("scale", [1 / 3, 0.5, 1.5, 2, 4])
def test_another_resolution_shows_the_same_subject_in_the_same_place(make_image, plate, scale):
    width, height = round(WIDTH * scale), round(HEIGHT * scale)
    path = make_image("s.exr", {"A": disc(width, height, softness=0.25)}, type_name="float")
    mask = read_mask(path, frame=1, plate_header=plate)
    assert mask.warnings == ()
    np.testing.assert_allclose(mask.coverage, disc(softness=0.25), atol=0.06)
    assert mask.coverage.mean() == pytest.approx(disc(softness=0.25).mean(), rel=0.01)
    np.testing.assert_allclose(mask.coverage, mask.coverage[::-1, ::-1], atol=1e-5)


def test_proportions_that_differ_a_little_are_stretched_with_a_warning(make_image, plate_header):
    plate = plate_header(1920 // 4, 1088 // 4)
    path = make_image("b.png", {"Y": disc(256, 144)}, type_name="uint8")
    mask = read_mask(path, frame=1, plate_header=plate)
    assert "stretched by 0.7%" in mask.warnings[0]
    assert mask.coverage.shape == (272, 480)


def test_proportions_that_differ_much_need_a_decision(make_image, plate):
    path = make_image("q.exr", {"A": np.ones((HEIGHT, HEIGHT), np.float32)})
    with pytest.raises(InputError, match="--mask-fit stretch or --mask-fit crop") as caught:
        read_mask(path, frame=3, plate_header=plate)
    assert (caught.value.code, caught.value.file, caught.value.frame) == ("BAD_INPUT", path, 3)
    with pytest.raises(UsageError, match="unknown mask fit"):
        read_mask(path, frame=3, plate_header=plate, fit="squash")
    for fit, word in (("stretch", "stretched"), ("crop", "cropped")):
        mask = read_mask(path, frame=3, plate_header=plate, fit=fit)
        assert word in mask.warnings[0]
        assert (mask.coverage == 1).all()


def test_crop_keeps_proportions_and_the_middle(make_image, plate):
    square = np.zeros((WIDTH, WIDTH), np.float32)
    square[40:56, 30:66] = 1
    coverage = read_mask(make_image("q.exr", {"A": square}), frame=3, plate_header=plate, fit="crop").coverage
    expected = np.zeros((HEIGHT, WIDTH), np.float32)
    top = (WIDTH - HEIGHT) // 2
    expected[40 - top : 56 - top, 30:66] = 1
    np.testing.assert_array_equal(coverage, expected)


@pytest.mark.parametrize(("width", "aspect"), [(WIDTH, 1.0), (WIDTH, 2.0), (2 * WIDTH, 1.0)])
def test_an_anamorphic_plate_takes_squeezed_and_desqueezed_masks(make_image, plate_header, width, aspect):
    plate = plate_header(WIDTH, HEIGHT, pixel_aspect=2.0)
    path = make_image("a.exr", {"A": disc(width, HEIGHT, softness=0.3)}, type_name="float", PixelAspectRatio=aspect)
    mask = read_mask(path, frame=1, plate_header=plate)
    assert mask.warnings == ()
    np.testing.assert_allclose(mask.coverage, disc(softness=0.3), atol=0.05)


def test_planes_are_masks_too(tmp_path, plate):
    path = str(tmp_path / "m.planes")
    write_planes(path, disc(softness=0.2), frame=1)
    mask = read_mask(path, frame=1, plate_header=plate)
    assert (mask.channel, mask.header.file_format) == ("A", "planes")
    np.testing.assert_array_equal(mask.coverage, halves(disc(softness=0.2)))


@pytest.mark.parametrize("others", [(), ("R", "G", "B", "N.x")])
def test_a_mask_of_whole_numbers_is_read_as_hosts_read_it(make_image, plate, others):
    ids = disc().astype(np.uint32) * 3
    planes = {**dict.fromkeys(others, np.zeros_like(ids)), "A": ids}
    mask = read_mask(make_image("id.exr", planes, type_name="uint"), frame=1, plate_header=plate, channel="A")
    np.testing.assert_array_equal(mask.coverage, disc())


def test_a_choice_needs_a_frame():
    with pytest.raises(UsageError, match="no mask"):
        choose_mask_channel([])
