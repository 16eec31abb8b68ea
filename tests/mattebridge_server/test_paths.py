"""Paths are translated between platforms, and no path leads out of the roots."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mattebridge.errors import PathRefused
from mattebridge.messages import JobRequest
from mattebridge_server.paths import PathMap, inside, map_path, require_inside, resolve

MAPS = (
    PathMap("/mnt/projects", "/Volumes/projects", ("P:/", "\\\\filer\\projects")),
    PathMap("/mnt/projects/lib", "/Volumes/lib", ("L:/",)),
)


@pytest.mark.parametrize(
    ("path", "platform", "mapped"),
    [
        ("P:\\show\\plate.####.exr", "linux", "/mnt/projects/show/plate.####.exr"),
        ("p:/show/plate.%04d.exr", "linux", "/mnt/projects/show/plate.%04d.exr"),
        ("\\\\FILER\\Projects\\show\\%V\\p.exr", "linux", "/mnt/projects/show/%V/p.exr"),
        ("//filer/projects/show/p.exr", "darwin", "/Volumes/projects/show/p.exr"),
        ("/Volumes/projects/a/b.exr", "linux", "/mnt/projects/a/b.exr"),
        ("/Volumes/lib/a.exr", "linux", "/mnt/projects/lib/a.exr"),
        ("/mnt/projects/lib/a.exr", "darwin", "/Volumes/lib/a.exr"),
        ("/mnt/projects/a.exr", "win32", "P:/a.exr"),
        ("/mnt/projects", "darwin", "/Volumes/projects"),
        ("/mnt/projects2/a.exr", "darwin", "/mnt/projects2/a.exr"),
        ("/elsewhere/a.exr", "linux", "/elsewhere/a.exr"),
        ("/mnt/back\\slash/a.exr", "linux", "/mnt/back\\slash/a.exr"),
    ],
)
def test_a_path_is_translated_to_the_servers_platform(path, platform, mapped):
    assert map_path(path, MAPS, platform) == mapped


@pytest.mark.parametrize(
    "path", ["P:\\a\\..\\..\\b.exr", "/mnt/projects/../etc/x", "/a\0b", "Q:\\x.exr", "//other/x/y.exr"]
)
def test_a_path_that_cannot_be_translated_is_refused(path):
    with pytest.raises(PathRefused):
        map_path(path, MAPS, "linux")


components = st.lists(st.text("abc.# %V", min_size=1, max_size=5).filter(lambda c: c.strip(". ") != ""), max_size=4)


@given(components)
def test_translation_there_and_back_is_the_same_path(parts):
    path = "/".join(["/mnt/projects", *parts])
    there = map_path(path, MAPS[:1], "darwin")
    assert map_path(there, MAPS[:1], "linux") == path
    assert map_path(map_path(path, MAPS[:1], "win32"), MAPS[:1], "linux") == path


@pytest.fixture
def roots(tmp_path):
    for name in ("root", "outside"):
        (tmp_path / name).mkdir()
    (tmp_path / "root" / "good.exr").write_bytes(b"good")
    (tmp_path / "outside" / "secret.exr").write_bytes(b"secret")
    return tmp_path


def test_a_file_under_the_roots_is_found_also_through_a_link_that_stays_inside(roots):
    allowed, good = [str(roots / "root")], roots / "root" / "good.exr"
    (roots / "root" / "link.exr").symlink_to(good)
    (roots / "alias").symlink_to(roots / "root")
    for path in (good, roots / "root" / "link.exr", roots / "alias" / "good.exr"):
        assert resolve(str(path), allowed) == good
    assert resolve(str(good), [str(roots / "alias")]) == good


def tricks(roots: Path) -> list[str]:
    inner = roots / "root"
    (inner / "out").symlink_to(roots / "outside")
    (inner / "file.exr").symlink_to(roots / "outside" / "secret.exr")
    (inner / "loop").symlink_to(inner / "loop")
    held = os.open(roots / "outside" / "secret.exr", os.O_RDONLY)
    (inner / "fd.exr").symlink_to(f"/proc/self/fd/{held}")
    return [
        str(roots / "outside" / "secret.exr"),
        str(inner / "out" / "secret.exr"),
        str(inner / "file.exr"),
        str(inner / ".." / "outside" / "secret.exr"),
        f"{inner}/good.exr\0.exr",
        f"/proc/self/fd/{held}",
        str(inner / "fd.exr"),
        f"/proc/self/cwd/../..{roots}/outside/secret.exr",
        f"//localhost{roots}/outside/secret.exr",
        "\\\\filer\\share\\secret.exr",
        "C:\\secret.exr",
        "outside/secret.exr",
        "",
    ]


def test_no_trick_resolves_outside_the_roots(roots):
    for path in tricks(roots):
        with pytest.raises(PathRefused):
            resolve(path, [str(roots / "root")])


@pytest.mark.parametrize("role", ["mask", "out", "core", "garbage", "fgr", "comp_over", "comp", "cleanplate"])
def test_every_path_of_a_job_has_to_stay_inside(roots, role):
    root = roots / "root"
    plate = str(root / "inner" / "good.exr")
    require_inside(JobRequest(plate, **{role: plate}), [str(root)])
    with pytest.raises(PathRefused):
        require_inside(JobRequest(plate, **{role: str(roots / "outside" / "secret.exr")}), [str(root)])


def test_without_roots_the_kernels_folders_stay_closed(roots):
    secret = roots / "outside" / "secret.exr"
    assert resolve(str(secret), []) == secret
    for path in ("/proc/self/environ", "/dev/zero", "/sys/kernel/notes"):
        with pytest.raises(PathRefused):
            resolve(path, [])


@given(st.text(min_size=1, max_size=40))
def test_no_text_is_inside_but_under_the_root(text):
    path = os.path.normpath("/" + text.replace("\0", ""))
    assert inside(path, ["/mnt/root"]) == (path == "/mnt/root" or path.startswith("/mnt/root/"))
