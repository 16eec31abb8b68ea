"""The same shot through a real server by every delivery, and without a server: the same alpha."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mattebridge import Client
from mattebridge.errors import PlanError
from mattebridge.planes import Planes
from mattebridge_server.demo.scenes import make_shot
from mattebridge_server.media import read_plate, write_alpha, write_rgb

from .conftest import SmallShot, header
from .test_colour import CONFIG, lut

FRAMES = (1001, 1002, 1003)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("server")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MATTEBRIDGE_RUNTIME", str(folder / "run"))
        patch.setenv("MATTEBRIDGE_CONFIG", str(folder / "config"))
        patch.setenv("MATTEBRIDGE_STATE", str(folder / "state"))
        patch.setenv("MATTEBRIDGE_MODELS", str(folder / "models"))
        with Client.connect("auto", start=True) as connected:
            yield connected
            connected.stop(now=True)


@pytest.fixture(scope="module")
def shot(tmp_path_factory: pytest.TempPathFactory) -> SmallShot:
    small = SmallShot(tmp_path_factory.mktemp("shot"), FRAMES, 240, 136)
    for role in ("plate", "mask"):
        (small.folder / role).mkdir()
    scene = make_shot("bright_hair_dark", small.width, small.height)
    for index, frame in enumerate(FRAMES):
        made, like = scene.frame(index), header(small.width, small.height, frame)
        write_rgb(str(small.path("plate", frame)), made.plate, like=like, frame=frame)
        write_alpha(str(small.path("mask", frame)), made.mask, like=like, frame=frame)
    return small


def asked(shot: SmallShot, out: str, **fields: Any) -> dict[str, Any]:
    plate, mask = (str(shot.folder / role / f"{role}.####.exr") for role in ("plate", "mask"))
    return {"plate": plate, "mask": mask, "out": str(shot.folder / out / "a.####.exr"), "model": "edge", **fields}


@pytest.fixture(scope="module")
def by_files(client: Client, shot: SmallShot) -> SmallShot:
    assert client.matte(**asked(shot, "files")).wait().written == 3
    return shot


def test_without_a_server_the_alpha_is_the_same(by_files: SmallShot) -> None:
    by_files.run("local/a.####.exr", model="edge")
    for frame in FRAMES:
        local, served = (by_files.alpha(f"{folder}/a.####.exr", frame) for folder in ("local", "files"))
        assert 0 < served.mean() < 1
        assert np.array_equal(local, served)


def test_without_a_shared_disk_the_alpha_is_the_same(client: Client, by_files: SmallShot) -> None:
    assert client.matte(**asked(by_files, "socket", delivery="exr")).wait().written == 3
    for frame in FRAMES:
        sent, served = (by_files.alpha(f"{folder}/a.####.exr", frame) for folder in ("socket", "files"))
        assert np.array_equal(sent, served)


def test_with_a_config_that_came_by_content_the_files_are_the_same(
    client: Client, by_files: SmallShot, tmp_path: Path
) -> None:
    """Byte for byte: a result says nothing of where its inputs lay."""
    (tmp_path / "luts").mkdir()
    for shot, factor in (("sh010", 0.5), ("sh020", 0.75)):
        (tmp_path / f"luts/{shot}.spi1d").write_text(lut(factor))
    (tmp_path / "config.ocio").write_text(CONFIG)
    colour: dict[str, Any] = {"config": tmp_path / "config.ocio", "context": {"SHOT": "sh020"}, "plate_space": "shot"}
    for delivery in ("files", "exr"):
        done = client.matte(**asked(by_files, f"by-{delivery}", delivery=delivery, **colour)).wait()
        assert (done.written, done.facts["plate_space"]) == (3, "shot")
    for frame in FRAMES:
        by_path, by_content = (by_files.folder / f"by-{way}/a.{frame}.exr" for way in ("files", "exr"))
        assert by_path.read_bytes() == by_content.read_bytes()


def test_a_plan_comes_back_the_same_with_and_without_a_server(client: Client, by_files: SmallShot) -> None:
    fields = asked(by_files, "plan")
    planned = client.plan(**fields)
    with pytest.raises(PlanError, match="plate space"):  # it says what it was made for
        client.matte(plan=planned, **{**fields, "plate_space": "ACES2065-1"})
    assert planned.pop("request")["plate"] == fields["plate"]
    done = by_files.run("plan/a.####.exr", model="edge", kind="plan")
    assert json.loads(str(done.facts["plan"])) == planned
    assert "plan" not in by_files.events[-1].facts, "events stay small"


def test_planes_in_memory_give_the_same_alpha(client: Client, by_files: SmallShot) -> None:
    plates = {f: read_plate(str(by_files.path("plate", f)), frame=f).pixels.astype(np.float16) for f in FRAMES}
    masks = {f: by_files.alpha("mask/mask.####.exr", f).astype(np.float16)[..., None] for f in FRAMES}
    planes = {
        "plate": {f: Planes.of(p) for f, p in plates.items()},
        "mask": {f: Planes.of(m) for f, m in masks.items()},
    }
    job = client.matte(planes=planes, model="edge", plate_space="ACEScg")
    assert job.wait().written == 3
    for frame in FRAMES:
        got = job.results[("alpha", frame)]
        alpha = np.frombuffer(got.data, np.float16).reshape(got.height, got.width)
        assert np.array_equal(alpha.astype(np.float32), by_files.alpha("files/a.####.exr", frame))


def test_a_model_that_is_installed_while_the_server_runs_is_found(client: Client) -> None:
    def lama() -> bool:
        return next(model.installed for model in client.models() if model.name == "lama")

    assert not lama()
    file = Path(os.environ["MATTEBRIDGE_MODELS"], "lama", "big-lama.pt")
    file.parent.mkdir(parents=True)
    file.touch()
    end = time.monotonic() + 20
    while not lama():
        assert time.monotonic() < end, "the server still says that it is not installed"
        time.sleep(0.1)


def test_a_server_makes_files_and_folders_as_the_site_says(
    shot: SmallShot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grp = pytest.importorskip("grp")
    group = next((one for one in grp.getgrall() if os.geteuid() == 0 and one.gr_gid), grp.getgrgid(os.getegid()))
    file = tmp_path / "site.toml"
    file.write_text(f'[output]\numask = "0002"\ngroup = "{group.gr_name}"\n')
    monkeypatch.setenv("MATTEBRIDGE_SITE", str(file))
    for name in ("RUNTIME", "CONFIG", "STATE"):
        monkeypatch.setenv(f"MATTEBRIDGE_{name}", str(tmp_path / name))
    with Client.connect("auto", start=True) as client:
        out = str(shot.folder / "owned" / "{version}" / "a.####.exr")
        client.matte(**{**asked(shot, "", model="identity"), "out": out}).wait()
        client.stop(now=True)
    for name, mode in (("owned", 0o775), ("owned/v001", 0o775), ("owned/v001/a.1001.exr", 0o664)):
        found = (shot.folder / name).stat()
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (mode, group.gr_gid), name
