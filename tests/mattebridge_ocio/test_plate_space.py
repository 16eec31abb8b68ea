"""The plate's space is resolved in one order, and refused with candidates rather than guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mattebridge_ocio import ColourConfig, ColourError, PlateHints, resolve_plate_space

V2 = "ocio://cg-config-v2.1.0_aces-v1.3_ocio-v2.3"
V4 = "ocio://cg-config-v4.0.0_aces-v2.0_ocio-v2.5"
STUDIO = "ocio://studio-config-v2.1.0_aces-v1.3_ocio-v2.3"
AP1 = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)
REC709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
EXR = "/show/sh010/plate_acescg.1001.exr"


def failure(config: ColourConfig, hints: PlateHints, **stated: str) -> ColourError:
    with pytest.raises(ColourError) as caught:
        resolve_plate_space(config, hints, **stated)
    return caught.value


def test_the_order_is_request_header_file_rule_site_default(studio: Path) -> None:
    config = ColourConfig.load(str(studio))
    scan = PlateHints(path="/show/a_scan.1001.exr", aces_container=True)
    assert resolve_plate_space(config, scan, request="graded", site_default="raw").source == "request"
    header = resolve_plate_space(config, scan, site_default="graded")
    assert (header.space, header.source) == ("studio aces", "header")
    unmarked = PlateHints(path=scan.path)
    ruled = resolve_plate_space(config, unmarked, site_default="graded")
    assert (ruled.space, ruled.source) == ("plate lin", "file rule")
    other = PlateHints(path="/show/other.1001.exr")
    default = resolve_plate_space(config, other, site_default="shot grade")
    assert (default.space, default.source) == ("graded", "site default")
    assert failure(config, other).kind == "space_unstated"


@pytest.mark.parametrize("uri", [V2, V4, STUDIO])
def test_the_built_in_rule_for_every_exr_is_never_trusted(uri: str) -> None:
    config = ColourConfig.load(uri)
    assert config.ocio.getColorSpaceFromFilepath(EXR)[0] == "ACES2065-1"
    error = failure(config, PlateHints(path=EXR))
    assert error.kind == "space_unstated"
    assert error.candidates[0] == "ACEScg"
    assert "ACES2065-1" in error.candidates
    assert "Raw" not in error.candidates
    assert "ACEScg" in error.remedy


def test_a_studios_own_rule_for_every_exr_is_trusted(studio: Path) -> None:
    rule = '  - !<Rule> {name: Exr, extension: exr, pattern: "*", colorspace: %s}\n  - !<Rule> {name: Default,'
    text = studio.read_text()
    studio.write_text(text.replace("  - !<Rule> {name: Default,", rule % "graded"))
    assert resolve_plate_space(ColourConfig.load(str(studio)), PlateHints(path=EXR)).space == "graded"
    studio.write_text(text.replace("  - !<Rule> {name: Default,", rule % "studio aces"))
    assert failure(ColourConfig.load(str(studio)), PlateHints(path=EXR)).kind == "space_unstated"


@pytest.mark.parametrize("path", ["/show/graded_plates/a.1001.exr", "/show/straw/a.1001.exr"])
def test_names_of_spaces_within_a_path_say_nothing_where_a_config_has_no_rules(tmp_path: Path, path: str) -> None:
    config = tmp_path / "config.ocio"
    config.write_text(
        "ocio_profile_version: 1\nstrictparsing: true\nroles: {scene_linear: lin, aces_interchange: lin}\n"
        "displays: {monitor: [!<View> {name: plain, colorspace: lin}]}\ncolorspaces:\n"
        "  - !<ColorSpace> {name: lin}\n  - !<ColorSpace> {name: grade}\n  - !<ColorSpace> {name: raw, isdata: true}\n"
    )
    loaded = ColourConfig.load(str(config))
    assert failure(loaded, PlateHints(path=path)).kind == "space_unstated"
    assert resolve_plate_space(loaded, PlateHints(path=path), site_default="lin").source == "site default"


@pytest.mark.parametrize(
    ("uri", "stated", "space"),
    [
        (V2, "lin_ap1_scene", "ACEScg"),
        (V2, "lin_ap0_scene", "ACES2065-1"),
        (V2, "lin_rec709_scene", "Linear Rec.709 (sRGB)"),
        (V2, "srgb_rec709_scene", "sRGB - Texture"),
        (V4, "lin_ap1_scene", "ACEScg"),
        (V4, "scene_linear", "ACEScg"),
        (V4, "acescg", "ACEScg"),
        (V4, "ACES - ACEScg", "ACEScg"),
        (STUDIO, "ARRI LogC4", "ARRI LogC4"),
    ],
)
def test_names_aliases_roles_and_interop_ids_are_understood(uri: str, stated: str, space: str) -> None:
    config = ColourConfig.load(uri)
    assert resolve_plate_space(config, PlateHints(), request=stated).space == space


def test_an_id_in_the_header_that_the_config_lacks_is_refused_not_skipped(studio: Path) -> None:
    error = failure(
        ColourConfig.load(str(studio)), PlateHints(path=EXR, interop_id="lin_p3d65_scene"), site_default="graded"
    )
    assert error.kind == "space_unknown"
    assert error.file == EXR


def test_an_unknown_request_offers_the_nearest_names_first() -> None:
    error = failure(ColourConfig.load(V2), PlateHints(), request="ACEScgg")
    assert error.kind == "space_unknown"
    assert error.candidates[0] == "ACEScg"
    last = ColourConfig.load(V2).candidates()[-1]
    assert failure(ColourConfig.load(V2), PlateHints(), request=f"{last} x").candidates[0] == last


def test_data_and_display_spaces_are_refused_with_a_reason() -> None:
    config = ColourConfig.load(V4)
    data = failure(config, PlateHints(interop_id="data"))
    assert data.kind == "space_unfit"
    assert "data" in data.message
    display = failure(config, PlateHints(), request="sRGB - Display")
    assert display.kind == "space_unfit"
    assert "texture" in display.message
    assert config.candidates() == display.candidates


def test_a_header_that_contradicts_itself_is_ambiguous_unless_the_job_decides() -> None:
    config = ColourConfig.load(V2)
    hints = PlateHints(interop_id="lin_ap1_scene", aces_container=True)
    error = failure(config, hints)
    assert error.kind == "space_ambiguous"
    assert error.candidates == ("lin_ap1_scene", "lin_ap0_scene")
    assert resolve_plate_space(config, hints, request="ACEScg").space == "ACEScg"


def test_an_interop_id_that_two_spaces_carry_is_ambiguous(studio: Path) -> None:
    text = studio.read_text().replace("ocio_profile_version: 2\n", "ocio_profile_version: 2.5\n")
    for name in ("graded", "plate lin"):
        text = text.replace(f"    name: {name}\n", f"    name: {name}\n    interop_id: lin_ap1_scene\n")
    studio.write_text(text)
    error = failure(ColourConfig.load(str(studio)), PlateHints(interop_id="lin_ap1_scene"))
    assert error.kind == "space_ambiguous"
    assert set(error.candidates) == {"graded", "plate lin"}


def test_the_id_unknown_counts_as_no_statement() -> None:
    assert failure(ColourConfig.load(V4), PlateHints(interop_id="unknown")).kind == "space_unstated"
    assert failure(ColourConfig.load(V4), PlateHints(interop_id="Unknown")).kind == "space_unstated"


@pytest.mark.parametrize(
    ("hints", "request_", "told"),
    [
        (PlateHints(interop_id="lin_rec709_scene"), "ACEScg", "'lin_rec709_scene' and the job 'ACEScg'"),
        (PlateHints(aces_container=True), "ACEScg", "'lin_ap0_scene' and the job 'ACEScg'"),
        (PlateHints(interop_id="lin_ap1_scene"), "scene_linear", ""),
        (PlateHints(interop_id="lin_ap1_scene", aces_container=True), "ACEScg", ""),
        (PlateHints(interop_id="unknown"), "ACEScg", ""),
        (PlateHints(interop_id="of_another_studio_scene"), "ACEScg", ""),
    ],
)
def test_a_job_that_overrules_the_header_is_told_so(hints: PlateHints, request_: str, told: str) -> None:
    found = resolve_plate_space(ColourConfig.load(V2), hints, request=request_)
    assert found.space == "ACEScg"
    assert len(found.warnings) == bool(told)
    assert told in "".join(found.warnings)


def test_chromaticities_only_warn() -> None:
    config = ColourConfig.load(V2)
    agreed = resolve_plate_space(config, PlateHints(chromaticities=AP1), request="ACEScg")
    assert agreed.warnings == ()
    stale = resolve_plate_space(config, PlateHints(chromaticities=REC709), request="ACEScg")
    assert stale.space == "ACEScg"
    assert len(stale.warnings) == 1
    assert "chromaticities" in stale.warnings[0]
    assert resolve_plate_space(config, PlateHints(chromaticities=REC709), request="lin_rec709").warnings == ()
    assert failure(config, PlateHints(chromaticities=AP1)).kind == "space_unstated"


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_chromaticities_that_are_no_colours_say_nothing(value: float) -> None:
    found = resolve_plate_space(ColourConfig.load(V2), PlateHints(chromaticities=(value,) * 8), request="ACEScg")
    assert found.warnings == ()


def test_nukes_own_mode_means_linear_rec709_and_says_so() -> None:
    config = ColourConfig.load("nuke-default")
    told = resolve_plate_space(config, PlateHints(path=EXR))
    assert told.source == "nuke-default"
    assert told.space == "Linear Rec.709 (sRGB)"
    assert "linear Rec.709" in told.warnings[0]
    assert resolve_plate_space(config, PlateHints(), request="ACEScg").warnings == ()
