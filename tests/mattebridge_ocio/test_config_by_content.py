"""A config is the same on both sides when its files are, and can travel by content."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PyOpenColorIO as ocio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mattebridge.config_digest import (
    config_files,
    declared_variables,
    digest_of_blobs,
    is_safe_name,
    search_paths,
)
from mattebridge.errors import InputError, UsageError
from mattebridge_ocio import ColourConfig

WORDS = st.text("abcdefgh_", min_size=1, max_size=6)
CG = "ocio://cg-config-v2.1.0_aces-v1.3_ocio-v2.3"


def blobs_of(config: Path, context: dict[str, str]) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in config_files(str(config), context).paths.items()}


def laid_out(blobs: dict[str, bytes], folder: Path) -> Path:
    for name, blob in blobs.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(blob)
    return folder


def test_the_digest_covers_the_tables_of_this_shot_and_only_those(studio: Path) -> None:
    def digest(shot: str) -> str:
        return config_files(str(studio), {"SHOT": shot}).digest()

    first, second = digest("sh010"), digest("sh020")
    assert first != second
    (studio.parent / "luts/sh020/grade.cube").write_text("LUT_1D_SIZE 2\n0 0 0\n.1 .1 .1\n")
    assert digest("sh010") == first
    assert digest("sh020") != second
    studio.write_text(studio.read_text() + "\n")
    assert digest("sh010") != first


def test_the_config_s_own_default_stands_in_for_a_variable_that_was_not_sent(studio: Path) -> None:
    assert config_files(str(studio)).digest() == config_files(str(studio), {"SHOT": "sh010"}).digest()
    assert config_files(str(studio), {"OTHER": "x"}).digest() == config_files(str(studio)).digest()


def test_the_digest_does_not_depend_on_where_the_files_lie(studio: Path, tmp_path: Path) -> None:
    before = config_files(str(studio)).digest()
    moved = studio.parent.rename(tmp_path / "elsewhere")
    assert config_files(str(moved / "studio.ocio")).digest() == before


def test_the_files_found_are_those_that_ocio_would_open(studio: Path) -> None:
    for shot in ("sh010", "sh020", "absent"):
        context = {"SHOT": shot}
        config = ColourConfig.load(str(studio), context)
        found = [path for name, path in config_files(str(studio), context).paths.items() if name != "config.ocio"]
        opened = ocio.Context(
            workingDir=str(studio.parent), searchPaths=["luts/$SHOT", "luts"], stringVars=dict(config.context)
        )
        try:
            expected = [Path(opened.resolveFileLocation("${GRADE}.cube"))]
        except ocio.ExceptionMissingFile:
            expected = []
        assert found == expected


def test_of_a_table_in_several_places_the_one_that_ocio_opens_counts(studio: Path) -> None:
    def found(shot: str) -> list[Path]:
        files = config_files(str(studio), {"SHOT": shot}).paths
        return [path for name, path in files.items() if name != "config.ocio"]

    def opened(shot: str) -> Path:
        ocio.ClearAllCaches()  # it remembers which files are not there
        context = ocio.Context(
            workingDir=str(studio.parent), searchPaths=["luts/$SHOT", "luts"], stringVars={"SHOT": shot}
        )
        return Path(context.resolveFileLocation("grade.cube"))

    (studio.parent / "grade.cube").write_text("beside the config, where nothing searches")
    assert found("absent") == []
    with pytest.raises(ocio.ExceptionMissingFile):
        opened("absent")
    (studio.parent / "luts/grade.cube").write_text("LUT_1D_SIZE 2\n0 0 0\n.2 .2 .2\n")
    assert found("absent") == [opened("absent")] == [studio.parent / "luts/grade.cube"]
    assert found("sh010") == [opened("sh010")] == [studio.parent / "luts/sh010/grade.cube"]


def test_a_variable_whose_name_begins_with_anothers_is_taken_whole(studio: Path) -> None:
    table = studio.parent / "luts/warm.cube"
    table.write_text("LUT_1D_SIZE 2\n0 0 0\n.2 .2 .2\n")
    declared = studio.read_text().replace("  GRADE: grade", "  SHOT_GRADE: warm")
    studio.write_text(declared.replace("${GRADE}.cube", "$SHOT_GRADE.cube"))
    context = {"SHOT": "sh010", "SHOT_GRADE": "warm"}
    assert ocio.Context(stringVars=context).resolveStringVar("$SHOT_GRADE.cube") == "warm.cube"
    assert table in config_files(str(studio), context).paths.values()


def test_the_order_in_which_a_configs_files_arrive_does_not_matter(studio: Path) -> None:
    blobs = blobs_of(studio, {"SHOT": "sh010"})
    assert digest_of_blobs(blobs) == digest_of_blobs(dict(reversed(blobs.items())))
    assert digest_of_blobs(blobs) == config_files(str(studio), {"SHOT": "sh010"}).digest()


@given(paths=st.lists(WORDS, max_size=4), variables=st.dictionaries(WORDS, WORDS, max_size=3))
def test_search_paths_and_variables_are_read_as_ocio_writes_them(paths: list[str], variables: dict[str, str]) -> None:
    config = ocio.Config()
    for path in paths:
        config.addSearchPath(path)
    for name, value in variables.items():
        config.addEnvironmentVar(name, value)
    text = config.serialize()
    assert search_paths(text) == paths
    assert (declared_variables(text) or {}) == variables


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("search_path: luts:more/luts\n", ["luts", "more/luts"]),
        ("search_path: /abs/luts:luts  # both\n", ["/abs/luts", "luts"]),
        ("search_path: C:\\luts:D:/luts\n", ["C:\\luts", "D:/luts"]),
        ('search_path: ["luts", more]\n', ["luts", "more"]),
        ("search_path: [luts, # first\n  more]\nroles: {}\n", ["luts", "more"]),
        ("search_path: [\n  luts,\n  more,\n]\nroles: {}\n", ["luts", "more"]),
        ("search_path:\n  # first\n  - 'luts'\n  - more # last\nroles:\n  - no\n", ["luts", "more"]),
        ("search_path:\n- luts\n- more\nroles: {}\n", ["luts", "more"]),
        ("resource_path: luts\n", ["luts"]),
        ('search_path: ""\nroles: {}\n', []),
        ("roles: {}\n", []),
    ],
)
def test_search_paths_are_read_in_every_form_people_write(text: str, paths: list[str]) -> None:
    assert search_paths(text) == paths


def test_sources_are_found_in_every_form_people_write(tmp_path: Path) -> None:
    forms = [
        "{src: a.cube, x: 1}",
        '{src: "b b.cube"}',
        "{src: 'c''s.cube'}",
        "\n      src: d.cube\n",
        "{src: sub/e.cube}",
        '{"src": "f.cube"}',
        "\n      src:\n        g.cube\n",
    ]
    names = ["a.cube", "b b.cube", "c's.cube", "d.cube", "sub/e.cube", "f.cube", "g.cube"]
    (tmp_path / "sub").mkdir()
    for name in names:
        (tmp_path / name).write_text(name)
    config = tmp_path / "config.ocio"
    config.write_text("\n".join(f"  - !<FileTransform> {form}" for form in forms))
    found = config_files(str(config)).paths
    assert sorted(found) == sorted(["config.ocio", *(f"search/0/{name}" for name in names)])


def test_builtins_are_named_and_moving_names_refused() -> None:
    assert config_files(CG).paths == {}
    assert config_files(CG).digest() != config_files("nuke-default").digest()
    for name in ("ocio://default", "ocio://cg-config-latest", "ocio://"):
        with pytest.raises(UsageError):
            config_files(name)
    for entry in ocio.BuiltinConfigRegistry().getBuiltinConfigs():
        assert len(config_files(f"ocio://{entry[0]}").digest()) == 64


def test_a_config_that_cannot_be_read_is_an_input_error_that_names_it(tmp_path: Path) -> None:
    for name in ("no.ocio", "no.ocioz"):
        with pytest.raises(InputError) as caught:
            config_files(str(tmp_path / name))
        assert caught.value.file == str(tmp_path / name)


def test_an_uploaded_config_gives_the_same_colours_and_the_same_digest(studio: Path, tmp_path: Path) -> None:
    context = {"SHOT": "sh020"}
    files = config_files(str(studio), context)
    blobs = blobs_of(studio, context)
    digest = digest_of_blobs(blobs)
    assert digest == files.digest()
    folder = laid_out(blobs, tmp_path / "store")
    for child in sorted(studio.parent.rglob("*.cube")):
        child.unlink()
    config = ColourConfig.load(str(folder), context, digest=digest)
    out = config.convert("graded", "studio aces").apply(np.ones((1, 1, 3), dtype=np.float32))
    assert out[0, 0, 0] == pytest.approx(0.75)


@pytest.mark.parametrize("names", [("LUTS", "SEQ"), ("P", "PROJECT")])
def test_a_variable_that_names_another_is_followed_in_what_is_sent(
    studio: Path, tmp_path: Path, names: tuple[str, str]
) -> None:
    outer, inner = names
    declared = f"  {outer}: luts/${inner}\n  {inner}: sh010\n  GRADE: grade\n"
    text = studio.read_text().replace("  SHOT: sh010\n  GRADE: grade\n", declared)
    studio.write_text(text.replace("  - luts/$SHOT\n", f"  - ${outer}\n"))
    context = {inner: "sh020"}
    blobs = blobs_of(studio, context)
    assert sorted(blobs) == ["config.ocio", "search/0/grade.cube"]
    for source in (studio, laid_out(blobs, tmp_path / "store")):
        loaded = ColourConfig.load(str(source), context, digest=digest_of_blobs(blobs))
        out = loaded.convert("graded", "studio aces").apply(np.ones((1, 1, 3), dtype=np.float32))
        assert out[0, 0, 0] == pytest.approx(0.75)


def test_variables_that_name_themselves_come_to_an_end(tmp_path: Path) -> None:
    declared = "".join(f"  V{n}: $V{(n + 1) % 64}$V{(n + 1) % 64}\n" for n in range(64))
    config = tmp_path / "config.ocio"
    config.write_text(f"environment:\n{declared}search_path: $V0\ncolorspaces:\n  - !<FileTransform> {{src: a.cube}}\n")
    assert list(config_files(str(config)).paths) == ["config.ocio"]


def test_an_archive_is_one_file_and_works_by_content(studio: Path, tmp_path: Path) -> None:
    archive = tmp_path / "show.ocioz"
    # OCIO archives no config with variables in its search paths or at the start of a source.
    text = studio.read_text().replace("  - luts/$SHOT\n  - luts\n", "  - .\n")
    studio.write_text(text.replace("${GRADE}.cube", "luts/${SHOT}/grade.cube"))
    config = ocio.Config.CreateFromFile(str(studio))
    config.archive(str(archive))
    files = config_files(str(archive))
    assert list(files.paths) == ["config.ocioz"]
    folder = laid_out({"config.ocioz": archive.read_bytes()}, tmp_path / "store")
    for source in (archive, folder):
        loaded = ColourConfig.load(str(source), {"SHOT": "sh020"})
        out = loaded.convert("graded", "studio aces").apply(np.ones((1, 1, 3), dtype=np.float32))
        assert out[0, 0, 0] == pytest.approx(0.75)


def test_a_source_that_leaves_its_folder_is_digested_too(tmp_path: Path) -> None:
    (tmp_path / "out.cube").write_text("x")
    folder = tmp_path / "show"
    folder.mkdir()
    config = folder / "config.ocio"
    for source in ("../out.cube", str(tmp_path / "out.cube")):
        config.write_text(f"  from: !<FileTransform> {{src: {source}}}\n")
        assert len(config_files(str(config)).paths) == 2


@given(name=st.text("ab./\\:\0", max_size=12))
def test_a_safe_name_never_leaves_its_folder(name: str) -> None:
    if is_safe_name(name):
        root = Path("/anywhere/at/all")
        assert Path(root, name).resolve().is_relative_to(root)
