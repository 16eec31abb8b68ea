"""LaMa: only the pinned file is run, and only what the mask covers changes."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mattebridge.errors import EngineFailed, InputError, ModelNotInstalled
from mattebridge_server.models.base import Canvas, Device, LoadSpec
from mattebridge_server.models.execution import reproducible
from mattebridge_server.models.lama import MAX_SIDE, LaMa, Tone, fill_linear, grown, tone_for

Float32 = NDArray[np.float32]


def _grey(picture: Float32, area: NDArray[np.bool_]) -> Float32:
    """A stand-in network: checks what it is given, answers mid-grey with the known pixels left in."""
    assert picture.shape[0] % 8 == 0 and picture.shape[1] % 8 == 0
    assert picture.min() >= 0 and picture.max() <= 1 and picture.dtype == np.float32
    return np.where(area[..., None], np.float32(0.5), picture)


def _plate(height: int, width: int, peak: float) -> Float32:
    pixels = np.random.default_rng(1).random((height, width, 3)).astype(np.float32)
    pixels[0, 0] = peak
    return pixels


@pytest.mark.parametrize(("height", "width"), [(40, 64), (33, 47), (5, 9)])
def test_pixels_outside_the_area_are_the_plates_bit_for_bit(height: int, width: int) -> None:
    plate = _plate(height, width, 40.0)
    area = np.zeros((height, width), bool)
    area[2:4, 3:7] = True
    filled = fill_linear(plate, area, _grey)
    assert np.array_equal(filled[~area], plate[~area])
    assert not np.array_equal(filled[area], plate[area])


def test_an_empty_area_costs_no_network() -> None:
    plate = _plate(8, 8, 1.0)

    def never(picture: Float32, area: NDArray[np.bool_]) -> Float32:
        raise AssertionError("the network was run")

    filled = fill_linear(plate, np.zeros((8, 8), bool), never)
    assert np.array_equal(filled, plate) and filled is not plate


@pytest.mark.models
def test_filling_while_the_next_window_runs_leaves_torch_reproducible() -> None:
    """The fill ends within the window, or the window within the fill; the settings hold until both are done."""
    torch = pytest.importorskip("torch", reason="the [models] extra is not installed")

    def settings() -> tuple[bool, bool, bool]:
        cudnn = torch.backends.cudnn
        return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, not cudnn.allow_tf32

    before = settings()
    fill, window = reproducible(Device(threads=1)), reproducible(Device(threads=1))
    with ThreadPoolExecutor(1) as finisher:
        finisher.submit(fill.__enter__).result()
        with window:
            finisher.submit(fill.__exit__, None, None, None).result()
            assert settings() == (True, True, True)
    assert settings() == before != (True, True, True)


def test_large_plates_are_filled_small_and_only_the_fill_is_enlarged() -> None:
    plate = _plate(16, 2 * MAX_SIDE, 2.0)
    area = np.zeros(plate.shape[:2], bool)
    area[4:9, 100:300] = True
    sizes: list[tuple[int, ...]] = []

    def watched(picture: Float32, hole: NDArray[np.bool_]) -> Float32:
        sizes.append(picture.shape)
        return _grey(picture, hole)

    filled = fill_linear(plate, area, watched)
    assert sizes == [(8, MAX_SIDE, 3)]
    assert filled.shape == plate.shape and np.array_equal(filled[~area], plate[~area])


@pytest.mark.parametrize("width", [64, 2 * MAX_SIDE + 100])
def test_the_network_sees_nothing_of_what_the_area_hides(width: int) -> None:
    """Neither its light, which would bleed into the fill, nor a brighter tone for its sake: a hero in flames."""
    plate = np.full((24, width, 3), 0.5, np.float32)
    area = np.zeros(plate.shape[:2], bool)
    area[9:14, 21:38] = True
    plate[area] = 900.0

    def watched(picture: Float32, hole: NDArray[np.bool_]) -> Float32:
        assert picture[~hole] == pytest.approx(Tone().encode(np.array([0.5], np.float32))[0], abs=1e-4)
        return _grey(picture, hole)

    fill_linear(plate, area, watched)


@given(st.floats(0.01, 2000.0), st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8))
def test_every_light_up_to_the_peak_survives_the_picture(peak: float, shares: list[float]) -> None:
    tone = tone_for(np.full((1, 3), peak, np.float32))
    light = np.array([share * max(peak, 1.0) for share in shares], np.float32)
    picture = tone.encode(light)
    assert picture.min() >= 0 and picture.max() <= 1
    assert np.allclose(tone.decode(picture), light, rtol=2e-3, atol=1e-4 * max(1.0, peak))


@settings(max_examples=30)
@given(st.floats(1.0, 500.0), st.floats(-5.0, 5.0))
def test_nothing_that_a_network_paints_is_brighter_than_the_plates_peak(peak: float, painted: float) -> None:
    tone = tone_for(np.array([[0.2, peak, 0.1]], np.float32))
    light = tone.decode(np.array([painted], np.float32))
    assert 0 <= light[0] <= peak * 1.001
    assert tone.peak == pytest.approx(peak, rel=1e-3)


def test_a_plate_below_one_keeps_the_plain_curve() -> None:
    assert tone_for(np.full((2, 3), 0.9, np.float32)) == Tone()
    assert Tone().encode(np.array([0.18], np.float32))[0] == pytest.approx(0.4613, abs=1e-3)


def test_non_finite_pixels_do_not_reach_the_network() -> None:
    plate = _plate(16, 16, 3.0)
    plate[1, 1] = (np.nan, np.inf, -np.inf)
    area = np.zeros((16, 16), bool)
    area[8:12, 8:12] = True
    assert np.isfinite(fill_linear(plate, area, _grey)[area]).all()
    assert Tone().encode(plate[1, 1]).tolist() == [0, 1, 0], "a highlight is bright and a dead pixel is not"


def test_the_area_grows_by_its_radius_and_not_more() -> None:
    area = np.zeros((21, 21), bool)
    area[10, 10] = True
    large = grown(area, 5)
    assert large[10, 5] and large[10, 15] and not large[10, 4] and not large[5, 5]
    assert grown(area, 0) is area


@pytest.mark.models
class TestTheFile:
    @pytest.fixture
    def script(self, tmp_path: Path) -> tuple[Path, str]:
        """A model folder with a small scripted module, and its digest."""
        torch = pytest.importorskip("torch", reason="the [models] extra is not installed")

        class Mean(torch.nn.Module):  # type: ignore[misc, name-defined]
            def forward(self, image: Any, mask: Any) -> Any:
                known = 1 - mask
                mean = (image * known).sum([2, 3], keepdim=True) / known.sum([2, 3], keepdim=True)
                return image * known + mean * mask

        path = tmp_path / "lama" / "big-lama.pt"
        path.parent.mkdir()
        traced = torch.jit.trace(Mean(), (torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8)))
        traced.save(str(path))
        return tmp_path, hashlib.sha256(path.read_bytes()).hexdigest()

    pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

    def test_a_file_with_the_pinned_digest_is_run(self, script: tuple[Path, str], array_window: Any) -> None:
        folder, digest = script
        model = LaMa(sha256=digest)
        model.load(LoadSpec(Device(threads=1), "fp32", (folder,)))
        plate = np.full((30, 42, 3), 0.25, np.float32)
        plate[10:20, 10:20] = 5.0
        mask = np.zeros((30, 42), np.float32)
        mask[10:20, 10:20] = 1
        mask[10:20, 10] = 0.01  # the end of a soft edge, where the subject still shows
        stages: list[str] = []
        (result,) = model.run(array_window({7: plate}, {7: mask}), {"grow": 3}, stages.append)
        area = result.alpha > 0
        assert result.number == 7 and result.foreground is not None
        assert area[10, 7] and not area[10, 6]
        assert np.array_equal(result.foreground[~area], plate[~area])
        assert np.allclose(result.foreground, 0.25, atol=1e-3)
        assert digest[:32] in model.digest()
        assert stages == ["fill"], "a job can be cancelled between frames"
        model.unload()
        with pytest.raises(EngineFailed, match="before it was loaded"):
            next(model.run(array_window({7: plate}, {7: mask}), {}, stages.append))

    def test_any_other_file_is_never_opened(self, script: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
        import torch

        def opened(*args: Any, **kwargs: Any) -> None:
            raise AssertionError("an unknown TorchScript was loaded")

        monkeypatch.setattr(torch.jit, "load", opened)
        with pytest.raises(InputError, match="was not opened") as caught:
            LaMa().load(LoadSpec(Device(threads=1), "fp32", (script[0],)))
        assert caught.value.file.endswith("big-lama.pt")

    def test_a_missing_file_says_where_it_comes_from(self, tmp_path: Path) -> None:
        with pytest.raises(ModelNotInstalled, match=r"big-lama\.pt from signature-ai/big-lama"):
            LaMa().load(LoadSpec(Device(), "fp32", (tmp_path,)))


def test_running_unloaded_is_our_fault_and_says_so(array_window: Any) -> None:
    with pytest.raises(EngineFailed):
        next(LaMa().run(array_window({1: np.zeros((8, 8, 3), np.float32)}, {}), {}, lambda stage: None))


def test_the_need_is_what_the_card_says_and_more_than_one_layer_at_full_size() -> None:
    (full,) = LaMa.card.presets
    canvas = Canvas(2048, full.canvas_pixels // 2048)
    need = LaMa().memory_need(canvas, 1, "fp32")
    assert need == pytest.approx(full.peak_bytes, rel=0.02)
    one_layer = 64 * 4 * canvas.pixels  # the published network's first and last have 64 channels
    assert need - LaMa().memory_need(Canvas(0, 0), 1, "fp32") > 2 * one_layer
