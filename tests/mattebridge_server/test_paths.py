"""Paths are translated between platforms, and no path leads out of the roots."""

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mattebridge.errors import FrameError, PathRefused
from mattebridge_server.paths import PathMap, folder_inside, inside, map_path, open_inside, pinned, resolve

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


def read(path, allowed):
    descriptor = open_inside(str(path), allowed)
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()


def test_a_file_under_the_roots_is_read_also_through_a_link_that_stays_inside(roots):
    allowed = [str(roots / "root")]
    (roots / "root" / "link.exr").symlink_to(roots / "root" / "good.exr")
    (roots / "alias").symlink_to(roots / "root")
    assert read(roots / "root" / "good.exr", allowed) == b"good"
    assert read(roots / "root" / "link.exr", allowed) == b"good"
    assert read(roots / "alias" / "good.exr", allowed) == b"good"
    assert read(roots / "root" / "good.exr", [str(roots / "alias")]) == b"good"


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


def test_no_trick_reads_outside_the_roots(roots):
    for path in tricks(roots):
        with pytest.raises(PathRefused):
            open_inside(path, [str(roots / "root")])
    with pytest.raises((FrameError, PathRefused)):
        open_inside(str(roots / "root" / "loop"), [str(roots / "root")])


def test_no_trick_resolves_outside_the_roots(roots):
    for path in tricks(roots):
        with pytest.raises(PathRefused):
            resolve(path, [str(roots / "root")])


def test_without_roots_the_kernels_folders_stay_closed(roots):
    assert read(roots / "outside" / "secret.exr", []) == b"secret"
    for path in ("/proc/self/environ", "/dev/zero", "/sys/kernel/notes"):
        with pytest.raises(PathRefused):
            open_inside(path, [])


def test_what_is_not_a_regular_file_is_a_frame_error_and_does_not_block(roots):
    os.mkfifo(roots / "root" / "pipe.exr")
    for name in ("pipe.exr", "missing.exr"):
        with pytest.raises(FrameError):
            open_inside(str(roots / "root" / name), [str(roots / "root")])
    with pytest.raises(FrameError):
        open_inside(str(roots / "root"), [str(roots / "root")])


def test_a_link_swapped_between_check_and_use_never_reads_outside(roots):
    inner, swapped = roots / "root", roots / "root" / "swap"
    (inner / "real").mkdir()
    (inner / "real" / "secret.exr").write_bytes(b"good")
    swapped.symlink_to(inner / "real")
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            for target in (roots / "outside", inner / "real"):
                fresh = inner / "fresh"
                fresh.symlink_to(target)
                os.replace(fresh, swapped)

    thread = threading.Thread(target=swap)
    thread.start()
    seen = {"good": 0, "refused": 0}
    try:
        while min(seen.values()) < 20:
            try:
                assert read(swapped / "secret.exr", [str(inner)]) == b"good"
                seen["good"] += 1
            except PathRefused:
                seen["refused"] += 1
    finally:
        stop.set()
        thread.join()


def test_a_folder_swapped_while_writing_still_receives_the_bytes_inside(roots):
    folder = roots / "root" / "matte"
    with folder_inside(str(folder), [str(roots / "root")]) as descriptor:
        folder.rename(roots / "root" / "moved")
        folder.symlink_to(roots / "outside")
        Path(pinned(descriptor, str(folder), "a.exr")).write_bytes(b"matte")
    assert (roots / "root" / "moved" / "a.exr").read_bytes() == b"matte"
    assert not (roots / "outside" / "a.exr").exists()


def test_a_folder_that_leads_outside_is_refused_and_nothing_is_made_there(roots):
    (roots / "root" / "out").symlink_to(roots / "outside")
    with pytest.raises(PathRefused), folder_inside(str(roots / "root" / "out" / "new"), [str(roots / "root")]):
        raise AssertionError("opened")
    assert not (roots / "outside" / "new").exists()


@given(st.text(min_size=1, max_size=40))
def test_no_text_is_inside_but_under_the_root(text):
    path = os.path.normpath("/" + text.replace("\0", ""))
    assert inside(path, ["/mnt/root"]) == (path == "/mnt/root" or path.startswith("/mnt/root/"))
