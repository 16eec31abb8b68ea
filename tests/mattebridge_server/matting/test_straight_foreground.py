"""Straight foreground: the plate where it is solid, no fringe where it is not, grain kept."""

from __future__ import annotations

import numpy as np
import pytest

from mattebridge.errors import InputError
from mattebridge_server.demo.scenes import SHOTS, Frame
from mattebridge_server.matting.foreground import straight_foreground
from mattebridge_server.metrics.matting import soft_band


@pytest.mark.parametrize("name", SHOTS)
def test_where_alpha_is_1_it_is_the_plate_bit_for_bit(name: str, shots: dict[str, Frame]) -> None:
    frame = shots[name]
    colour = straight_foreground(frame.plate, frame.alpha)
    solid = frame.alpha == 1
    assert colour.dtype == np.float32
    assert colour[solid].tobytes() == frame.plate[solid].tobytes()
    assert np.isfinite(colour).all()


@pytest.mark.parametrize("name", SHOTS)
def test_a_new_background_shows_no_fringe_of_the_old_one(name: str, shots: dict[str, Frame]) -> None:
    """What foreground x alpha brings into a composite is at most .65 as wrong as with the plate's own colours."""
    frame = shots[name]
    soft, cover = soft_band(frame.alpha), frame.alpha[..., None]

    def error(colour: np.ndarray) -> float:
        return float(np.abs((colour - frame.foreground) * cover)[soft].mean())

    assert error(straight_foreground(frame.plate, frame.alpha)) < 0.65 * error(frame.plate)


def test_grain_of_the_foreground_is_kept() -> None:
    """Across a soft edge the foreground's noise is the plate's, in the share that the edge lets through."""
    rng = np.random.default_rng(5)
    alpha = np.tile(np.clip(np.linspace(-6, 7, 240, dtype=np.float32), 0, 1), (120, 1))
    clean = np.array([0.4, 0.2, 0.1], np.float32) * alpha[..., None] + np.float32(0.05) * (1 - alpha[..., None])
    grain = (0.01 * rng.standard_normal(clean.shape)).astype(np.float32)
    colour = straight_foreground(clean + grain, alpha)
    noise = colour - colour.mean(axis=0)
    mostly = (alpha > 0.6) & (alpha < 0.95)
    assert mostly.any()
    assert np.corrcoef(noise[mostly].ravel(), grain[mostly].ravel())[0, 1] > 0.9
    assert float(noise[mostly].std()) > 0.008


@pytest.mark.parametrize(("cover", "least", "most"), [(0.99, 4.8, 5.2), (0.5, 0.2, 2.5)])
def test_a_glint_is_kept_where_the_subject_is_nearly_solid_and_an_error_of_alpha_is_bounded_at_half(
    cover: float, least: float, most: float
) -> None:
    alpha, plate = np.zeros((60, 80), np.float32), np.full((60, 80, 3), 0.05, np.float32)
    alpha[:, :40], plate[:, :40] = 1, 0.2
    alpha[30, 38], plate[30, 38] = cover, 5.0
    assert least < straight_foreground(plate, alpha)[30, 38].max() < most


def test_an_empty_alpha_returns_the_plate_and_a_wrong_size_is_refused(shots: dict[str, Frame]) -> None:
    plate = shots["clutter"].plate
    assert np.array_equal(straight_foreground(plate, np.zeros(plate.shape[:2], np.float32)), plate)
    with pytest.raises(InputError, match="does not fit"):
        straight_foreground(plate, np.zeros((3, 4), np.float32))
