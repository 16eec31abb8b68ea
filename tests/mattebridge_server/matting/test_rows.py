"""Work shared out by rows gives the bits of the whole image, wherever a stripe ends."""

from __future__ import annotations

import threading
from functools import partial

import cv2
import numpy as np
import pytest

from mattebridge_server.matting.band import disc, gaussian, open_band
from mattebridge_server.matting.kernels import by_rows

THREADS = (1, 2, 3)


def _noise(height: int, *channels: int) -> np.ndarray:
    return np.random.default_rng(height).random((height, 83, *channels)).astype(np.float32)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("sigma", [0.3, 0.8, 1.2, 2.0, 5.0, 6.0])
@pytest.mark.parametrize("image", [_noise(5), _noise(97), _noise(230, 3)], ids=["low", "plane", "colour"])
def test_a_gaussian_by_rows_is_the_gaussian_of_the_whole(image: np.ndarray, sigma: float, threads: int) -> None:
    np.testing.assert_array_equal(gaussian(image, sigma, threads), cv2.GaussianBlur(image, (0, 0), sigma))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("kind", [cv2.MORPH_OPEN, cv2.MORPH_CLOSE, cv2.MORPH_DILATE, cv2.MORPH_ERODE])
def test_morphology_by_rows_is_that_of_the_whole(kind: int, dtype: type) -> None:
    image = (_noise(230) * 255).astype(dtype)
    band = open_band((_noise(230) > 0.5).astype(np.float32), 140.0, 30.0, threads=2)
    assert band is not None
    whole = cv2.morphologyEx(image, kind, disc(60 * band.unit))
    np.testing.assert_array_equal(band.morphology(kind, image, 60), whole)
    assert band.morphology(kind, image, 60).dtype == dtype


def test_each_stripe_sees_its_rows_of_every_image_and_the_halo() -> None:
    seen: list[tuple[int, int]] = []

    def rows_of(index: np.ndarray, double: np.ndarray) -> np.ndarray:
        np.testing.assert_array_equal(double, 2 * index)
        seen.append((int(index[0, 0]), int(index[-1, 0])))
        return index

    index = np.arange(100)[:, None]
    np.testing.assert_array_equal(by_rows(1, rows_of, index, 2 * index, halo=7, dtype=np.int64), index)
    assert seen == [(0, 31), (18, 56), (43, 81), (68, 99)]


@pytest.mark.parametrize("threads", [2, 3])
def test_work_that_is_shared_out_may_share_out_work_in_its_turn(threads: int) -> None:
    image = np.arange(64 * 8, dtype=np.float32).reshape(64, 8)
    twice: list[np.ndarray] = []

    def outer() -> None:
        inner = partial(by_rows, threads, lambda part: part + 1)
        twice.append(by_rows(threads, inner, image))

    worker = threading.Thread(target=outer, daemon=True)
    worker.start()
    worker.join(20)
    assert not worker.is_alive(), "a thread waits for one that waits for it"
    assert np.array_equal(twice[0], image + 1)
