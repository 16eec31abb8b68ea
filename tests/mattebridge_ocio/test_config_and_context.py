"""What a config promises: pinned names, a context of its own, interchange, and tables that are read again."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import PyOpenColorIO as ocio
import pytest
from numpy.typing import NDArray

from mattebridge.config_digest import config_files
from mattebridge_ocio import ColourConfig, ColourError

CG = "ocio://cg-config-v2.1.0_aces-v1.3_ocio-v2.3"
PINNED = [f"ocio://{entry[0]}" for entry in ocio.BuiltinConfigRegistry().getBuiltinConfigs()]


def grey(value: float) -> NDArray[np.float32]:
    return np.full((1, 1, 3), value, dtype=np.float32)


@pytest.mark.parametrize("uri", PINNED)
def test_every_pinned_built_in_converts_acescg_to_rec709_by_interchange(uri: str) -> None:
    config = ColourConfig.load(uri)
    (acescg,) = config.find("lin_ap1_scene")
    red = config.to_linear_rec709(acescg).apply(np.array([[[1, 0, 0]]], dtype=np.float32))
    # reference/serving C2: saturated ACEScg red lies outside Rec.709
    np.testing.assert_allclose(red[0, 0], [1.7051, -0.1302, -0.0240], atol=2e-3)


@pytest.mark.parametrize("name", ["ocio://default", "ocio://cg-config-latest", "ocio://studio-config-latest"])
def test_a_moving_name_is_refused_and_the_pinned_one_is_told(name: str) -> None:
    with pytest.raises(ColourError) as caught:
        ColourConfig.load(name)
    assert caught.value.kind == "config_unpinned"
    assert ocio.ResolveConfigPath(name) in str(caught.value)
    assert CG in caught.value.candidates


def test_an_unknown_built_in_and_a_missing_file_are_told_apart_from_a_broken_one(tmp_path: Path) -> None:
    with pytest.raises(ColourError) as caught:
        ColourConfig.load("ocio://cg-config-v9.9.9_aces-v1.3_ocio-v2.3")
    assert caught.value.kind == "config_missing"
    with pytest.raises(ColourError) as caught:
        ColourConfig.load(str(tmp_path / "no.ocio"))
    assert caught.value.kind == "config_missing"
    broken = tmp_path / "broken.ocio"
    broken.write_text("ocio_profile_version: 2\ncolorspaces: [")
    with pytest.raises(ColourError) as caught:
        ColourConfig.load(str(broken))
    assert caught.value.kind == "config_invalid"
    assert caught.value.file == str(broken)


def test_the_shots_variable_chooses_its_table(studio: Path) -> None:
    values = {}
    for shot in ("sh010", "sh020"):
        config = ColourConfig.load(str(studio), {"SHOT": shot})
        transform = config.convert("graded", "studio aces")
        values[shot] = (float(transform.apply(grey(1.0))[0, 0, 0]), transform.cache_id)
    assert values["sh010"][0] == pytest.approx(0.5)
    assert values["sh020"][0] == pytest.approx(0.75)
    assert values["sh010"][1] != values["sh020"][1]


def test_the_process_environment_does_not_leak_into_a_job(studio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOT", "sh020")
    config = ColourConfig.load(str(studio))
    assert config.context == {"SHOT": "sh010", "GRADE": "grade"}
    assert config.convert("graded", "studio aces").apply(grey(1.0))[0, 0, 0] == pytest.approx(0.5)


def test_undeclared_variables_are_ignored(studio: Path) -> None:
    config = ColourConfig.load(str(studio), {"SHOT": "sh020", "HOME": "elsewhere"})
    assert config.context == {"SHOT": "sh020", "GRADE": "grade"}


def test_a_config_that_declares_nothing_gets_the_jobs_values(studio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOT", "sh010")
    text = studio.read_text().replace("environment:\n  SHOT: sh010\n  GRADE: grade\n", "")
    studio.write_text(text)
    config = ColourConfig.load(str(studio), {"SHOT": "sh020", "GRADE": "grade"})
    assert config.convert("graded", "studio aces").apply(grey(1.0))[0, 0, 0] == pytest.approx(0.75)


def test_a_missing_table_is_an_error_that_names_it(studio: Path) -> None:
    config = ColourConfig.load(str(studio), {"SHOT": "sh010", "GRADE": "nowhere"})
    with pytest.raises(ColourError, match=r"nowhere\.cube") as caught:
        config.convert("graded", "studio aces")
    assert caught.value.kind == "file_missing"


def test_a_table_that_changed_on_disk_is_read_again_under_its_new_digest(studio: Path) -> None:
    def graded(digest: str) -> float:
        config = ColourConfig.load(str(studio), digest=digest)
        return float(config.convert("graded", "studio aces").apply(grey(1.0))[0, 0, 0])

    assert graded("a" * 64) == pytest.approx(0.5)
    (studio.parent / "luts/sh010/grade.cube").write_text("LUT_1D_SIZE 2\n0 0 0\n.25 .25 .25\n")
    assert graded("b" * 64) == pytest.approx(0.25)


def table(factor: float) -> str:
    return f"LUT_1D_SIZE 2\n0 0 0\n{factor} {factor} {factor}\n"


def graded(path: Path) -> float:
    """What the table of the config at ``path`` makes of 1, loaded as a server does."""
    config = ColourConfig.load(str(path), digest=config_files(str(path)).digest())
    return float(config.convert("graded", "studio aces").apply(grey(1.0))[0, 0, 0])


def test_a_table_that_two_configs_share_is_read_again_for_either(studio: Path) -> None:
    twin = studio.with_name("twin.ocio")
    twin.write_text(studio.read_text().replace("plain", "other"))
    shared = studio.parent / "luts/sh010/grade.cube"
    assert graded(studio) == pytest.approx(0.5)
    shared.write_text(table(0.25))
    assert graded(twin) == pytest.approx(0.25)
    shared.write_text(table(0.5))
    assert graded(studio) == pytest.approx(0.5), "under a digest that was seen before"


def test_archives_with_tables_of_one_name_do_not_mix(studio: Path, tmp_path: Path) -> None:
    archives = {factor: tmp_path / f"{factor}.ocioz" for factor in (0.5, 0.75)}
    for factor, path in archives.items():
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.ocio", studio.read_text())
            archive.writestr("luts/sh010/grade.cube", table(factor))
    for factor in (0.5, 0.75, 0.5):
        assert graded(archives[factor]) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("name", "value"),
    [("OCIO_ACTIVE_DISPLAYS", "Rec.1886 Rec.709 - Display"), ("OCIO_ACTIVE_VIEWS", "Un-tone-mapped")],
)
def test_the_server_s_environment_does_not_choose_the_view(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    usual = ColourConfig.load(CG).display_view().apply(grey(0.18))
    monkeypatch.setenv(name, value)
    np.testing.assert_array_equal(ColourConfig.load(CG).display_view().apply(grey(0.18)), usual)
    assert os.environ[name] == value


def test_interchange_works_for_a_config_that_has_none_of_our_names(studio: Path) -> None:
    config = ColourConfig.load(str(studio))
    there = config.to_linear_rec709("plate lin")
    assert there.apply(grey(0.5))[0, 0] == pytest.approx([1.0, 1.0, 1.0], abs=1e-3)
    plate = np.random.default_rng(1).uniform(-0.2, 20, (32, 32, 3)).astype(np.float32)
    back = config.from_linear_rec709("plate lin").apply(there.apply(plate))
    np.testing.assert_allclose(back, plate, rtol=1e-4, atol=1e-4)


def test_a_config_without_the_interchange_role_is_refused_and_told_what_to_add(studio: Path) -> None:
    studio.write_text(studio.read_text().replace("  aces_interchange: studio aces\n", ""))
    config = ColourConfig.load(str(studio))
    with pytest.raises(ColourError, match="aces_interchange") as caught:
        config.to_linear_rec709("plate lin")
    assert caught.value.kind == "config_invalid"


def test_a_config_without_scene_linear_is_refused(studio: Path) -> None:
    studio.write_text(studio.read_text().replace("  scene_linear: plate lin\n", ""))
    with pytest.raises(ColourError, match="scene_linear"):
        _ = ColourConfig.load(str(studio)).working_space


def test_nuke_default_means_linear_rec709() -> None:
    config = ColourConfig.load("nuke-default")
    (linear,) = config.find("linear")
    assert linear == config.working_space
    plate = np.random.default_rng(2).uniform(-1, 10, (8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(config.to_linear_rec709(linear).apply(plate), plate, rtol=1e-5, atol=1e-5)
    assert config.to_linear_rec709(config.find("sRGB")[0]).apply(grey(0.5))[0, 0, 0] == pytest.approx(0.2140, abs=1e-3)


def test_an_array_that_is_not_packed_is_refused_in_place_and_copied_otherwise() -> None:
    transform = ColourConfig.load(CG).to_linear_rec709("ACEScg")
    planar = np.random.default_rng(3).uniform(0, 1, (3, 8, 8)).astype(np.float32).transpose(1, 2, 0)
    with pytest.raises(ValueError, match="packed"):
        transform.apply_in_place(planar)
    packed = np.ascontiguousarray(planar)
    transform.apply_in_place(packed)
    np.testing.assert_array_equal(transform.apply(planar), packed)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_before_a_colour_step(bad: float) -> None:
    plate = np.ones((4, 4, 3), dtype=np.float32)
    plate[2, 1, 0] = bad
    with pytest.raises(ColourError) as caught:
        ColourConfig.load(CG).to_linear_rec709("ACEScg").apply(plate)
    assert caught.value.kind == "not_finite"


def test_processors_are_shared_between_configs_and_threads() -> None:
    one = ColourConfig.load(CG).to_linear_rec709("ACEScg")
    other = ColourConfig.load(CG).to_linear_rec709("ACES - ACEScg")
    assert one.cpu is other.cpu
