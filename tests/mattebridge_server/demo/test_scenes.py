"""The demo's shots: exact truth, the same bits every time, and the difficulties they claim to have."""

from __future__ import annotations

import numpy as np
import pytest

from mattebridge_server.demo.scenes import MASKS, SHOTS, make_shot

WIDTH, HEIGHT = 320, 180


@pytest.mark.parametrize("name", SHOTS)
def test_a_plate_is_the_linear_mix_of_its_parts_plus_grain(name: str) -> None:
    frame = make_shot(name, WIDTH, HEIGHT).frame(1)
    assert frame.plate.shape == frame.foreground.shape == frame.background.shape == (HEIGHT, WIDTH, 3)
    assert frame.alpha.shape == frame.mask.shape == (HEIGHT, WIDTH)
    for part in (frame.plate, frame.foreground, frame.background, frame.alpha, frame.mask):
        assert part.dtype == np.float32
        assert np.isfinite(part).all()
    cover = frame.alpha[..., None]
    clean = frame.foreground * cover + frame.background * (1 - cover)
    grain = frame.plate - clean
    relative = grain / np.sqrt(np.maximum(clean, 0.01))
    assert 0.001 < float(relative.std()) < 0.03
    assert abs(float(relative.mean())) < 0.0005


@pytest.mark.parametrize("name", SHOTS)
def test_alpha_and_mask_are_coverage_with_solid_soft_and_empty_parts(name: str) -> None:
    frame = make_shot(name, WIDTH, HEIGHT).frame(0)
    assert frame.alpha.min() == 0.0
    assert frame.alpha.max() == 1.0
    assert ((frame.alpha > 0.05) & (frame.alpha < 0.95)).mean() > 0.003
    assert set(np.unique(frame.mask)) == {0.0, 1.0} or SHOTS[name].mask == "soft"
    assert 0.002 < float(np.abs(frame.mask - frame.alpha).mean()) < 0.07


def test_the_same_frame_has_the_same_bits_in_any_order_and_another_seed_is_another_shot() -> None:
    shot = make_shot("hair_highlights", WIDTH, HEIGHT)
    later, first = shot.frame(2), shot.frame(0)
    alone = make_shot("hair_highlights", WIDTH, HEIGHT).frame(2)
    assert later.plate.tobytes() == alone.plate.tobytes()
    assert later.alpha.tobytes() == alone.alpha.tobytes()
    assert not np.array_equal(first.plate, later.plate)
    assert not np.array_equal(make_shot("hair_highlights", WIDTH, HEIGHT, seed=2).frame(2).plate, later.plate)


def test_highlights_behind_hair_reach_from_8_to_40() -> None:
    frame = make_shot("hair_highlights", 480, 270).frame(0)
    hair = (frame.alpha > 0.05) & (frame.alpha < 0.95)
    behind = frame.background[hair].max(axis=-1)
    assert frame.background.max() > 30
    assert (behind > 8).mean() > 0.01


def test_loose_hair_reaches_sixty_pixels_and_more_beyond_the_mask() -> None:
    import cv2

    for name in ("dark_hair_bright", "bright_hair_dark", "hair_highlights"):
        frame = make_shot(name, 480, 270).frame(0)
        away = cv2.distanceTransform((frame.mask < 0.5).astype(np.uint8), cv2.DIST_L2, 5) * (1080 / 270)
        assert away[frame.alpha > 0.2].max() > 60


def test_every_kind_of_coarse_mask_is_used() -> None:
    assert {recipe.mask for recipe in SHOTS.values()} | {"exact"} == set(MASKS)
