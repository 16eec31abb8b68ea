"""The refinement pipeline in one job: points → sam2 → VideoMaMa → alpha, foreground, composite, clean plate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mattebridge.errors import MissingFrames, ModelNotInstalled, UsageError
from mattebridge.frames import FrameSet
from mattebridge.messages import Done, PromptInfo, Warning_
from mattebridge_server.engine import local
from mattebridge_server.engine.shelf import Shelf
from mattebridge_server.farm.shot import with_paths
from mattebridge_server.farm.verify import verify
from mattebridge_server.media import OWN_PREFIX, read_header, read_mask, read_plate, write_alpha, write_rgb
from mattebridge_server.models.base import FrameResult, Window
from mattebridge_server.models.identity import Identity
from mattebridge_server.models.lama import LaMa
from mattebridge_server.models.registry import Registry, load_registry

from .conftest import SmallShot, header

pytestmark = [pytest.mark.models, pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")]
torch = pytest.importorskip("torch", reason="the [models] extra is not installed")

GOLDEN = Path(__file__).parents[2] / "data" / "videomama_golden"


class Grey(torch.nn.Module):
    """Fills with mid grey: the smallest network with LaMa's call."""

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return image * (1 - mask) + 0.5 * mask


@pytest.fixture(scope="session")
def lama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lama-models")
    (folder / "lama").mkdir()
    torch.jit.trace(Grey(), (torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8))).save(str(folder / "lama/big-lama.pt"))
    return folder


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, sam2_folder: Path, lama_folder: Path, tmp_path: Path
) -> Callable[..., tuple[SmallShot, Done]]:
    digest = hashlib.sha256((lama_folder / "lama/big-lama.pt").read_bytes()).hexdigest()

    class PinnedLaMa(LaMa):
        def __init__(self) -> None:
            super().__init__(sha256=digest)

    shipped = load_registry()
    registry = Registry({**shipped.classes, "lama": PinnedLaMa}, shipped.broken)
    monkeypatch.setattr(local, "Shelf", lambda device, folders: Shelf(device, folders, registry))
    folders = (str(GOLDEN), str(sam2_folder), str(lama_folder))
    shot = SmallShot(tmp_path / "shot", (1, 2, 3), 128, 96).write()

    def go(out: str = "out/a.####.exr", **fields: Any) -> tuple[SmallShot, Done]:
        shot.events.clear()
        request = shot.request(out, **{"model": "videomama", "precision": "fp32", **fields})
        return shot, local.run_local(request, b"", shot.events.append, lambda: False, folders=folders, threads=1)

    return go


def point(layer: str, x: float, y: float, frame: int = 1) -> PromptInfo:
    return PromptInfo(frame, layer, points=(x, y, 1.0))


def test_points_become_alpha_foreground_composite_and_clean_plate_in_one_job(
    run: Callable[..., tuple[SmallShot, Done]], tmp_path: Path
) -> None:
    folder = tmp_path / "shot"
    sky = np.full((96, 128, 3), 0.25, np.float32)
    write_rgb(str(folder.parent / "sky.exr"), sky, like=header(128, 96, 1), frame=1)
    right = np.zeros((96, 128), np.float32)
    right[:, 48:] = 1
    write_alpha(str(folder.parent / "right.exr"), right, like=header(128, 96, 1), frame=1)
    asked = {
        "mask": "",
        "prompts": (point("A", 0.2, 0.25),),
        "garbage": str(folder.parent / "right.exr"),
        "fgr": str(folder / "out/f.####.exr"),
        "comp_over": str(folder.parent / "sky.exr"),
        "comp": str(folder / "out/c.####.exr"),
        "cleanplate": str(folder / "out/clean.####.exr"),
    }
    shot, done = run(**asked)
    assert done.written == 3
    assert any(e.code == "TRACKED" and "1-3" in e.message for e in shot.events if isinstance(e, Warning_))
    alpha = shot.alpha("out/a.####.exr", 2)[..., None]
    plate, fgr, comp, clean = (
        read_plate(str(path), frame=2).pixels
        for path in (shot.path("plate", 2), *(folder / f"out/{name}.0002.exr" for name in ("f", "c", "clean")))
    )
    assert np.array_equal(fgr[alpha[..., 0] == 1], plate[alpha[..., 0] == 1])
    assert np.abs(comp - (fgr * alpha + sky * (1 - alpha))).max() < 2e-3
    untouched = np.all(clean == plate, axis=-1)
    assert untouched[:, 90:].all(), "pixels away from the subject are the plate's bit for bit"
    assert not untouched[:, :40].any()
    _, done = run(**asked)
    assert (done.written, done.kept) == (0, 3), "tracking again gives the same masks, so every result is fresh"


def test_several_objects_are_named_layers_of_one_file(run: Callable[..., tuple[SmallShot, Done]]) -> None:
    shot, _ = run(mask="", prompts=(point("hero", 0.2, 0.25), point("dog", 0.8, 0.7)))
    names = {channel.name for channel in read_header(str(shot.folder / "out/a.0002.exr"), frame=2).channels}
    assert names == {"A", "matte_hero.A", "matte_dog.A"}


def test_missing_masks_are_filled_only_when_asked_and_the_job_says_which(
    run: Callable[..., tuple[SmallShot, Done]], tmp_path: Path
) -> None:
    (tmp_path / "shot/mask/mask.0002.exr").unlink()
    with pytest.raises(MissingFrames, match="frames 2"):
        run(frames="1-3")
    shot, done = run(frames="1-3", fill="sam2")
    assert done.written == 3
    told = [e.message for e in shot.events if isinstance(e, Warning_) and e.code == "TRACKED"]
    assert told == ["sam2 made masks for frames 2"]


def test_masks_and_prompts_on_every_frame_are_two_answers(run: Callable[..., tuple[SmallShot, Done]]) -> None:
    with pytest.raises(UsageError, match="prompts as well"):
        run(prompts=(point("A", 0.5, 0.5),))


def test_sam2_alone_writes_its_track(run: Callable[..., tuple[SmallShot, Done]]) -> None:
    shot, done = run(model="sam2", mask="", prompts=(point("A", 0.2, 0.25),))
    assert done.written == 3
    assert set(np.unique(shot.alpha("out/a.####.exr", 2))) != {0.0}


@pytest.mark.parametrize("others", [(), ("hero",)], ids=["alone", "next-to-another"])
def test_a_mask_that_came_with_a_frame_is_given_back_as_it_is(
    run: Callable[..., tuple[SmallShot, Done]], tmp_path: Path, others: tuple[str, ...]
) -> None:
    """Whatever the canvas, whose sides are multiples of 64."""
    folder = tmp_path / "shot"
    SmallShot(folder, (1, 2, 3), 100, 75).write()
    for frame in (1, 3):
        soft = np.random.default_rng(frame).uniform(0, 1, (75, 100)).astype(np.float32)
        write_alpha(str(folder / f"mask/mask.{frame:04d}.exr"), soft, like=header(100, 75, frame), frame=frame)
    (folder / "mask/mask.0002.exr").unlink()
    shot, _ = run(model="sam2", prompts=tuple(point(name, 0.8, 0.7) for name in others))
    for frame in (1, 3):
        given = read_mask(str(shot.path("mask", frame)), frame=frame, plate_header=header(100, 75, frame)).coverage
        path = str(folder / f"out/a.{frame:04d}.exr")
        written = read_mask(path, frame=frame, plate_header=header(100, 75, frame), channel="A").coverage
        hero = [
            read_mask(path, frame=frame, plate_header=header(100, 75, frame), channel=f"matte_{name}.A").coverage
            for name in others
        ]
        assert np.array_equal(written, np.maximum.reduce([given, *hero]))


def test_each_file_names_every_model_that_made_it_and_its_licence(
    run: Callable[..., tuple[SmallShot, Done]], tmp_path: Path
) -> None:
    shot, _ = run(
        model="edge",
        precision="",
        mask="",
        prompts=(point("A", 0.2, 0.25),),
        cleanplate=str(tmp_path / "shot/out/clean.####.exr"),
    )
    alpha, clean = (read_header(str(shot.folder / f"out/{name}.0002.exr"), frame=2).own for name in ("a", "clean"))
    own = OWN_PREFIX
    assert alpha[f"{own}model"].startswith("edge/") and alpha[f"{own}maskModel"].startswith("sam2/")
    assert alpha[f"{own}licence"] == alpha[f"{own}maskLicence"] == "Apache-2.0"
    assert clean[f"{own}fillModel"].startswith("lama/") and clean[f"{own}fillLicence"] == LaMa.card.licence
    assert all(clean[f"{own}{name}"] == alpha[f"{own}{name}"] for name in ("model", "licence", "maskModel"))


def test_a_clean_plate_without_its_model_is_refused_before_anything_is_made(
    run: Callable[..., tuple[SmallShot, Done]], lama_folder: Path, tmp_path: Path
) -> None:
    there, away = lama_folder / "lama", lama_folder / "away"
    there.rename(away)
    try:
        with pytest.raises(ModelNotInstalled, match="lama"):
            run(model="edge", precision="", cleanplate=str(tmp_path / "shot/out/clean.####.exr"))
    finally:
        away.rename(there)
    assert not (tmp_path / "shot/out").exists()


def test_a_clean_plate_of_the_jobs_own_model_is_not_said_to_be_lamas(
    run: Callable[..., tuple[SmallShot, Done]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Own(Identity):
        card = replace(Identity.card, name="own", outputs=("alpha", "clean_plate"))

        def run(self, window: Window, params: Any, checkpoint: Any) -> Iterator[FrameResult]:
            for result in super().run(window, params, checkpoint):
                yield replace(result, foreground=np.full((96, 128, 3), 0.5, np.float32))

    registry = Registry({**load_registry().classes, "own": Own}, {})
    monkeypatch.setattr(local, "Shelf", lambda device, folders: Shelf(device, (tmp_path,), registry))
    path = tmp_path / "shot/out/clean.####.exr"
    shot, _ = run(model="own", precision="", cleanplate=str(path))
    clean = tmp_path / "shot/out/clean.0002.exr"
    assert not any("fill" in name for name in read_header(str(clean), frame=2).own)
    subject = shot.alpha("out/a.####.exr", 2) > 0
    assert (read_plate(str(clean), frame=2).pixels[subject] == 0.5).all()


def test_a_farms_last_look_finds_clean_plates_right(run: Callable[..., tuple[SmallShot, Done]], tmp_path: Path) -> None:
    clean = str(tmp_path / "shot/out/clean.####.exr")
    shot, done = run(kind="plan", model="edge", precision="")
    asked = shot.request()
    paths = {"plate": asked.plate, "mask": asked.mask, "out": asked.out, "cleanplate": clean}
    farm = with_paths(str(done.facts["plan"]).encode(), paths)
    run(model="edge", precision="", cleanplate=clean)
    assert verify(farm, FrameSet([1, 2, 3]), 0, lambda _: None).problems == {}
    shot.write_mask(2, 60, 40, 9)
    assert 2 in verify(farm, FrameSet([1, 2, 3]), 0, lambda _: None).problems
