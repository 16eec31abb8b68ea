"""The job's colour: digests that must agree, a config that came by content, context variables, typed errors."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mattebridge.config_digest import config_files
from mattebridge.errors import ColourConfigMismatch, InputError, PathRefused
from mattebridge.messages import JobRequest
from mattebridge_server.pipeline import colour

from .conftest import SmallShot

CONFIG = """ocio_profile_version: 2.1
environment: {SHOT: sh010}
search_path: luts
roles: {scene_linear: lin, aces_interchange: aces, default: lin, data: raw}
file_rules:
  - !<Rule> {name: Default, colorspace: raw}
displays: {sRGB: [!<View> {name: Raw, colorspace: raw}]}
colorspaces:
  - !<ColorSpace> {name: aces, encoding: scene-linear}
  - !<ColorSpace> {name: raw, isdata: true}
  - !<ColorSpace> {name: lin, encoding: scene-linear}
  - !<ColorSpace>
    name: shot
    encoding: scene-linear
    to_scene_reference: !<FileTransform> {src: $SHOT.spi1d, interpolation: linear}
"""


def lut(gain: float) -> str:
    return f"Version 1\nFrom 0.0 1.0\nLength 2\nComponents 1\n{{\n0.0\n{gain}\n}}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "ocio/luts").mkdir(parents=True)
    (tmp_path / "ocio/luts/sh010.spi1d").write_text(lut(0.5))
    (tmp_path / "ocio/luts/sh020.spi1d").write_text(lut(0.75))
    (tmp_path / "ocio/config.ocio").write_text(CONFIG)
    return tmp_path / "ocio/config.ocio"


def request(config: Path, **fields: object) -> JobRequest:
    return JobRequest(**{"plate": "p.####.exr", "config": str(config), "plate_space": "shot", **fields})  # type: ignore[arg-type]


def grey(loaded: object, space: str = "shot") -> float:
    transform = colour.transform(loaded, space, "srgb")  # type: ignore[arg-type]
    return float(transform.light(np.full((1, 1, 3), 0.5, np.float32))[0, 0, 1])


def test_context_variables_travel_with_the_job(config: Path) -> None:
    default = grey(colour.load_config(request(config)))
    other = grey(colour.load_config(request(config, context={"SHOT": "sh020"})))
    assert other / default == pytest.approx(1.5, rel=1e-4)


def test_a_plan_keeps_the_variables_of_a_config_that_declares_none(
    config: Path, shot_of: Callable[..., SmallShot]
) -> None:
    config.write_text(CONFIG.replace("environment: {SHOT: sh010}\n", ""))
    shot = shot_of((1,))
    colours = {"config": str(config), "plate_space": "shot", "context": {"SHOT": "sh020"}}
    plan = str(shot.run(kind="plan", **colours).facts["plan"]).encode()
    assert shot.run(plan=plan, **colours).written == 1


def test_another_digest_is_refused_and_the_same_is_taken(config: Path) -> None:
    digest = config_files(str(config)).digest()
    assert colour.load_config(request(config, config_digest=digest)).digest == digest
    (config.parent / "luts/sh010.spi1d").write_text(lut(0.51))
    with pytest.raises(ColourConfigMismatch) as refused:
        colour.load_config(request(config, config_digest=digest))
    assert refused.value.details["client"] == digest
    with pytest.raises(PathRefused, match="does not see"):
        colour.load_config(request(config.with_name("gone.ocio")))


def test_a_config_that_came_by_content_is_the_same_config(config: Path, tmp_path: Path) -> None:
    files = config_files(str(config))
    for name, path in files.paths.items():
        (tmp_path / "spool" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "spool" / name)
    wanted = request(config, config_digest=files.digest())
    by_path = grey(colour.load_config(wanted))
    shutil.rmtree(config.parent)
    assert grey(colour.load_config(replace(wanted, config=str(tmp_path / "spool")))) == by_path


def test_a_config_that_cannot_be_used_says_so_in_our_words(config: Path) -> None:
    config.write_text("nonsense")
    with pytest.raises(InputError) as refused:
        colour.load_config(request(config))
    assert refused.value.remedy
    with pytest.raises(InputError, match="no look 'pretty'"):
        colour.transform(colour.load_config(JobRequest("p")), "ACEScg", "pretty")


@pytest.mark.parametrize("look", ["srgb", "filmic"])
def test_looks_are_told_apart_from_spaces(look: str) -> None:
    transform = colour.transform(colour.load_config(JobRequest("p")), "ACEScg", look, 1.0)
    codes = transform.apply(np.full((2, 2, 3), 0.18, np.float32))
    assert 0.55 < float(codes.mean()) < 0.68, "one stop over mid grey"


def test_the_engine_uses_an_uploaded_config(config: Path, tmp_path: Path, shot_of: Callable[..., SmallShot]) -> None:
    from mattebridge_server.engine.jobs import _with_uploaded_config
    from mattebridge_server.engine.wire import RunJob

    spool = str(tmp_path / "spool")
    job = RunJob(key="k", request=request(Path(f"{spool}/config/config.ocio")), spool=spool)
    assert _with_uploaded_config(job).config == f"{spool}/config"
    assert _with_uploaded_config(RunJob(key="k", request=request(config), spool=spool)).config == str(config)
