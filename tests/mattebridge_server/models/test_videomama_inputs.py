"""What VideoMaMa is given: canvas, hard mask and noise."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mattebridge.errors import InputError
from mattebridge_server.models.byte_cache import ByteCache
from mattebridge_server.models.canvas import fit_canvas
from mattebridge_server.models.coverage import binarise
from mattebridge_server.models.noise import frame_noise


@given(st.integers(1, 8192), st.integers(1, 8192), st.integers(64 * 64, 8_000_000))
def test_a_canvas_keeps_its_promises(width: int, height: int, budget: int) -> None:
    canvas = fit_canvas(width, height, budget)
    assert canvas.width % 64 == 0 and canvas.height % 64 == 0
    assert canvas.pixels <= budget
    assert canvas.pixels // 64 <= 65_535
    assert canvas.width < width + 64 and canvas.height < height + 64


@given(st.integers(480, 4096), st.integers(480, 4096), st.sampled_from([589_824, 1_224_704, 1_835_008]))
def test_common_regions_keep_their_aspect_and_use_the_budget(width: int, height: int, budget: int) -> None:
    canvas = fit_canvas(width, height, budget)
    error = (canvas.width / canvas.height) / (width / height)
    if 0.4 <= width / height <= 2.5:
        assert 0.87 <= error <= 1.15
        assert canvas.pixels >= 0.6 * min(budget, width * height)


def test_hd_and_uhd_plates_get_the_published_canvas() -> None:
    assert fit_canvas(1920, 1080, 589_824) == fit_canvas(3840, 2160, 589_824)
    canvas = fit_canvas(1920, 1080, 589_824)
    assert (canvas.width, canvas.height) == (1024, 576)


def test_a_budget_below_one_tile_is_refused() -> None:
    with pytest.raises(InputError, match="budget"):
        fit_canvas(100, 100, 4095)


def test_a_hard_mask_stays_as_it_is() -> None:
    mask = (np.random.default_rng(0).random((40, 60)) > 0.5).astype(np.float32)
    assert np.array_equal(binarise(mask), mask)
    assert np.array_equal(binarise(binarise(mask * 0.9)), binarise(mask * 0.9))


def test_half_coverage_is_the_edge_of_a_soft_mask() -> None:
    ramp = np.tile(np.linspace(0, 1, 11, dtype=np.float32), (3, 1))
    assert binarise(ramp)[0].tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]


def test_a_faint_separate_feature_is_kept_and_residue_is_not() -> None:
    mask = np.zeros((40, 40), np.float32)
    mask[5:15, 5:15] = 1
    mask[30, 5:35] = 0.3
    mask[20, 20] = 0.01
    hard = binarise(mask)
    assert hard[30, 5:35].all() and not hard[20].any() and hard.sum() == 130


def test_an_empty_mask_stays_empty() -> None:
    assert not binarise(np.zeros((8, 8), np.float32)).any()


def test_noise_is_a_function_of_frame_size_and_seed_alone() -> None:
    first = frame_noise(1001, 4, 72, 128)
    assert np.array_equal(first, frame_noise(1001, 4, 72, 128))
    assert not np.array_equal(first, frame_noise(1002, 4, 72, 128))
    assert not np.array_equal(first, frame_noise(-1001, 4, 72, 128))
    assert not np.array_equal(first, frame_noise(1001, 4, 72, 128, seed=1))
    assert first.shape == (4, 72, 128) and first.dtype == np.float32
    assert abs(first.mean()) < 0.02 and abs(first.std() - 1) < 0.02


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12)), max_size=60))
def test_a_byte_cache_never_holds_more_than_its_cap_and_keeps_the_newest(puts: list[tuple[int, int]]) -> None:
    cache: ByteCache[int, bytes] = ByteCache(20, len)
    for key, size in puts:
        cache.put(key, bytes(size))
        assert cache.held_bytes <= 20
        assert cache.get(key) == bytes(size)
    assert cache.held_bytes == sum(len(cache.get(key) or b"") for key in range(10))


def test_the_least_recently_used_leaves_first_and_an_oversize_value_evicts_nothing() -> None:
    cache: ByteCache[str, bytes] = ByteCache(3, len)
    for key in "abc":
        cache.put(key, b"x")
    cache.get("a")
    cache.put("d", b"x")
    assert cache.get("b") is None and cache.get("a") == b"x"
    cache.put("huge", b"xxxx")
    assert cache.get("huge") is None and len(cache) == 3


def test_importing_the_models_does_not_import_torch() -> None:
    code = (
        "import sys; from mattebridge_server.models.registry import load_registry; r = load_registry();"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules);"
        "assert 'videomama' in r.classes, r.broken"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
