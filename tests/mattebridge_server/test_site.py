"""The site file says what a studio decided, and a misspelt decision is refused by name and line."""

import sys

import pytest

from mattebridge.errors import InputError
from mattebridge.messages import JobRequest
from mattebridge_server.paths import PathMap
from mattebridge_server.site import Site, find_site

FULL = """
roots = ["/mnt/projects", "/mnt/cache"]

[[path_map]]
linux = "/mnt/projects"
macos = "/Volumes/projects"
windows = ["P:/", '\\\\filer\\projects']

[[path_map]]
linux = "/mnt/lib"
windows = "L:/"

[licences]
allow = ["Apache-2.0", "MIT"]

[shows.default]
plate_space = "ACEScg"

[shows.hero]
plate_space = "ARRI LogC4"
config = "ocio://studio-config-v2.1.0_aces-v1.3_ocio-v2.3"

[presets.final]
model = "videomama"
preset = "large"
look = "view"
params = { linear_light = true, strength = 0.5 }

[output]
umask = "0002"
group = "vfx"

[models]
folders = ["/mnt/models"]
"""


def test_every_setting_is_read():
    site = Site.parse(FULL)
    assert site.roots == ("/mnt/projects", "/mnt/cache")
    assert site.path_map[0] == PathMap("/mnt/projects", "/Volumes/projects", ("P:/", "\\\\filer\\projects"))
    assert site.path_map[1].windows == ("L:/",)
    assert site.show("hero").plate_space == "ARRI LogC4"
    assert site.show("some other show").plate_space == "ACEScg"
    assert site.output.umask_bits == 0o002
    assert site.models.folders == ("/mnt/models",)


def test_an_empty_site_decides_nothing():
    site = Site.parse("")
    assert site == Site()
    assert site.licences.allows("anything")
    assert site.show("x").plate_space == ""


def test_a_licence_policy_allows_only_what_it_names():
    site = Site.parse(FULL)
    assert site.licences.allows("mit")
    assert not site.licences.allows("CC-BY-NC-4.0")
    assert not Site.parse("[licences]\nallow = []").licences.allows("MIT")


def test_a_preset_fills_only_what_the_job_left_open():
    site = Site.parse(FULL)
    filled = site.apply_preset(JobRequest(plate="p", preset="final", params={"strength": 0.9}))
    assert (filled.model, filled.preset, filled.look) == ("videomama", "large", "view")
    assert filled.params == {"linear_light": True, "strength": 0.9}
    assert site.apply_preset(JobRequest(plate="p", preset="final", model="sam2")).model == "sam2"
    untouched = JobRequest(plate="p", preset="small")
    assert site.apply_preset(untouched) is untouched


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("roots = [\n", ["end of document"]),
        ("roots = [1, =]", ["line 1"]),
        ("\n\nrots = ['/x']", ["rots", "line 3"]),
        ("[licences]\n\nalow = ['MIT']", ["licences.alow", "line 3"]),
        ("[shows.hero]\nplate_spce = 'x'", ["shows.hero.plate_spce", "line 2"]),
        ("[[path_map]]\nlinux = '/a'\nwindos = 'P:/'", ["windos", "line 3"]),
        ("roots = '/mnt'", ["roots", "line 1"]),
        ("\nroots = ['mnt']", ["'mnt'", "absolute", "line 2"]),
        ("[output]\numask = '0999'", ["0999", "octal", "line 2"]),
        ("[output]\numask = 'o022'", ["o022", "octal", "line 2"]),
        ("[[path_map]]\nlinux = '/a'", ["path_map[0]", "two names", "line 1"]),
        ("[presets.x]\nlook = 'srgb'\nparams = { a = [1] }", ["params", "line 3"]),
        ("[presets.x]\nmodel = 'edge'\nlook = 'blue'", ["'blue'", "filmic", "line 3"]),
    ],
)
def test_a_mistake_is_refused_with_its_name_and_line(text, words):
    with pytest.raises(InputError) as caught:
        Site.parse(text, "studio.toml")
    assert caught.value.file == "studio.toml"
    for word in words:
        assert word in caught.value.message


def test_the_flag_wins_over_the_environment(tmp_path):
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text("roots = ['/one']")
    two.write_text("roots = ['/two']")
    environ = {"MATTEBRIDGE_SITE": str(two)}
    assert "one" in find_site(str(one), environ)
    assert "two" in find_site("", environ)
    assert find_site("", {}) == ""


def test_a_mistake_is_told_with_the_name_of_the_file(tmp_path):
    (tmp_path / "studio.toml").write_text("rots = ['/x']")
    with pytest.raises(InputError) as caught:
        find_site("", {"MATTEBRIDGE_SITE": str(tmp_path / "studio.toml")})
    assert caught.value.file == str(tmp_path / "studio.toml")


@pytest.mark.skipif(sys.platform == "win32", reason="files have no groups there")
def test_an_output_group_that_the_host_does_not_know_is_an_error():
    assert Site().output.group_id() is None
    with pytest.raises(InputError, match="no-such-group"):
        Site.parse("[output]\ngroup = 'no-such-group'").output.group_id()


def test_a_named_site_file_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        find_site(str(tmp_path / "no.toml"), {})
