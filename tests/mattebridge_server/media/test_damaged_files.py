"""A damaged file costs its frame an error that names it, and nothing else: no crash, no hang, no flood of memory."""

from __future__ import annotations

import json
import os
import random
import resource
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest

from mattebridge.errors import FrameError, InputError, MissingFrames
from mattebridge_server.media import read_attributes, read_header, read_mask, read_plate

COMPRESSIONS = ["none", "rle", "zips", "zip", "piz", "pxr24", "b44", "b44a", "dwaa", "dwab", "zstd"]
SECONDS_A_FILE = 5
MEMORY_BYTES = 3 << 30

# Reads every file named on its command line and says of each how it went; dies rather than take more memory.
READER = """
import json, resource, sys, time
from mattebridge.errors import MatteBridgeError
from mattebridge_server.media import FrameHeader, Window, read_mask, read_plate, set_threads
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
set_threads(1)
window = Window(0, 0, 64, 48)
like = FrameHeader("p.exr", 7, "openexr", window, window)
for path in sys.argv[2:]:
    print(json.dumps(["begin", path]), flush=True)
    for read in (lambda: read_plate(path, frame=7), lambda: read_mask(path, frame=7, plate_header=like, fit="stretch")):
        began = time.monotonic()
        try:
            read()
            outcome = ["read", "", 7]
        except MatteBridgeError as error:
            outcome = [error.code, error.file, error.frame]
        status = open("/proc/self/status").read()  # ru_maxrss would begin at the peak of the process that started this
        peak = int(status.partition("VmHWM:")[2].split()[0])
        print(json.dumps(["end", path, outcome, time.monotonic() - began, peak]), flush=True)
"""


def read_in_a_child(paths: list[Path]) -> list[list]:
    """The reports of a child that reads ``paths``, with every warning an error."""
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", READER, str(MEMORY_BYTES), *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    reports = [json.loads(line) for line in child.stdout.splitlines()]
    assert child.returncode == 0, f"the reader died on {reports[-1]}: {child.returncode}\n{child.stderr[-2000:]}"
    return [report for report in reports if report[0] == "end"]


def assert_all_typed(paths: list[Path]) -> set[str]:
    """Each file is read or refused with its name, in time; returns the codes seen."""
    reports = read_in_a_child(paths)
    assert len(reports) == 2 * len(paths)
    for _, path, (code, file, frame), seconds, _ in reports:
        assert seconds < SECONDS_A_FILE, path
        assert frame == 7, path
        assert code == "read" or (code in ("BAD_FRAME", "BAD_INPUT") and file == path), (path, code, file)
    return {report[2][0] for report in reports}


@pytest.fixture
def seed_files(make_image) -> list[Path]:
    """One small EXR for each compression, by scanlines and by tiles, in half and in float."""
    rng = np.random.default_rng(0)
    files = []
    for number, compression in enumerate(COMPRESSIONS):
        for tile in ({}, {"tile": (16, 16)}):
            planes = {name: rng.random((50, 70)).cumsum(1).astype(np.float32) for name in "ABGR"}
            name = f"{compression}_{'tiled' if tile else 'lines'}.exr"
            options = {"data": (-3, -2), "display": (0, 0, 64, 48), "compression": compression, "camera": "A001"}
            kind = "float" if number % 2 else "half"
            files.append(Path(make_image(name, planes, type_name=kind, **options, **tile)))
    return files


def patched(source: Path, target: Path, attribute: bytes, value: bytes) -> Path:
    """``source`` with the first bytes of a header attribute's value replaced."""
    content = bytearray(source.read_bytes())
    name_end = content.index(attribute + b"\0") + len(attribute) + 1
    value_at = content.index(b"\0", name_end) + 1 + 4
    content[value_at : value_at + len(value)] = value
    target.write_bytes(content)
    return target


@pytest.fixture
def whole_plate(make_image, rgb_planes) -> Path:
    return Path(make_image("whole.exr", rgb_planes(64, 64), compression="zip"))


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        (0, "is empty"),
        (4, "truncated"),
        (100, "truncated"),
        (400, "truncated"),
        (0.5, "truncated or damaged"),
        (-10, "truncated or damaged"),
        (-1, "truncated or damaged"),
    ],
)
def test_a_truncated_frame_is_named(whole_plate, plate_header, cut, words):
    content = whole_plate.read_bytes()
    kept = int(len(content) * cut) if isinstance(cut, float) else cut % len(content) if cut < 0 else cut
    whole_plate.write_bytes(content[:kept])
    with pytest.raises(FrameError, match=words) as caught:
        read_plate(str(whole_plate), frame=1003)
    assert (caught.value.file, caught.value.frame) == (str(whole_plate), 1003)
    assert "again" in caught.value.remedy
    assert "\n" not in str(caught.value)
    with pytest.raises(FrameError, match="frame 1003"):
        read_mask(str(whole_plate), frame=1003, plate_header=plate_header(64, 64))


def test_truncation_anywhere_is_an_error_of_ours(seed_files, tmp_path):
    cuts = []
    for source in seed_files[::3]:
        content = source.read_bytes()
        for percent in range(0, 100, 12):
            target = tmp_path / f"{source.stem}.{percent}.exr"
            target.write_bytes(content[: len(content) * percent // 100])
            cuts.append(target)
    assert assert_all_typed(cuts) == {"BAD_FRAME"}


def test_a_missing_frame_is_named(tmp_path, plate_header):
    path = str(tmp_path / "plate.1003.exr")
    for read in (
        lambda: read_plate(path, frame=1003),
        lambda: read_header(path, frame=1003),
        lambda: read_mask(path, frame=1003, plate_header=plate_header(8, 8)),
    ):
        with pytest.raises(MissingFrames, match="frame 1003 does not exist") as caught:
            read()
        assert (caught.value.file, caught.value.frame) == (path, 1003)


@pytest.mark.parametrize("content", [b"hello, this is no image at all", b"\0" * 4096, b"%PDF-1.7 ...", b"v"])
def test_what_is_not_an_image_is_refused(tmp_path, content):
    path = tmp_path / "plate.1001.exr"
    path.write_bytes(content)
    with pytest.raises(FrameError, match=r"not an EXR, PNG, TIFF or JPEG|truncated") as caught:
        read_plate(str(path), frame=1001)
    assert (caught.value.file, caught.value.frame) == (str(path), 1001)


def test_folders_pipes_and_odd_names_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.exr")
    with pytest.raises(FrameError, match="is not a file"):
        read_plate(str(tmp_path / "pipe.exr"), frame=1)
    with pytest.raises(FrameError, match=r"is a folder.*by a pattern"):
        read_plate(str(tmp_path), frame=1)
    for path in (str(tmp_path / "a\0b.exr"), str(tmp_path / ("x" * 300 + ".exr"))):
        with pytest.raises(FrameError, match="cannot be read"):
            read_plate(path, frame=1)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_frame_without_permission_is_named(whole_plate):
    whole_plate.chmod(0)
    with pytest.raises(FrameError, match="cannot be read: Permission denied"):
        read_plate(str(whole_plate), frame=1)


def test_a_deep_frame_is_refused_with_what_to_do(tmp_path):
    path = str(tmp_path / "deep.exr")
    spec = oiio.ImageSpec(4, 4, 2, oiio.FLOAT)
    spec.channelnames, spec.deep = ("A", "Z"), True
    deep = oiio.DeepData()
    deep.init(16, 2, oiio.FLOAT, ["A", "Z"])
    deep.set_samples(3, 2)
    output = oiio.ImageOutput.create(path)
    assert output.open(path, spec)
    assert output.write_deep_image(deep)
    assert output.close()
    with pytest.raises(FrameError, match=r"deep.*DeepToImage"):
        read_plate(path, frame=9)


def test_a_picture_stored_on_its_side_is_refused(make_image, rgb_planes):
    path = make_image("o.tif", rgb_planes(), type_name="uint16", Orientation=6)
    with pytest.raises(FrameError, match="rotated"):
        read_plate(path, frame=9)


WINDOWS = {
    "endless": (0, 0, 2**31 - 2, 2**31 - 2),
    "wide": (0, 0, 10**8, 10),
    "tall": (0, 0, 10, 10**8),
    "square": (0, 0, 99_999, 99_999),
    "beyond 16k": (0, 0, 32_767, 32_767),
    "negative": (10, 10, 0, 0),
    "nothing": (0, 0, -1, -1),
    "far away": (-(2**31), -(2**31), -(2**31) + 60, -(2**31) + 40),
}


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS.keys())
def test_absurd_windows_are_refused_before_memory_is_taken(seed_files, tmp_path, window):
    bombs = []
    for number, source in enumerate(seed_files):
        data = patched(source, tmp_path / f"d{number}.exr", b"dataWindow", struct.pack("<4i", *window))
        bombs += [data, patched(data, tmp_path / f"b{number}.exr", b"displayWindow", struct.pack("<4i", *window))]
    reports = read_in_a_child(bombs)
    assert {report[2][0] for report in reports} == {"BAD_FRAME"}
    assert max(report[4] for report in reports) < 500 * 1024


def test_an_absurd_size_is_called_that(seed_files, tmp_path):
    bomb = patched(seed_files[0], tmp_path / "b.exr", b"dataWindow", struct.pack("<4i", 0, 0, 99_999, 99_999))
    with pytest.raises(FrameError, match=r"frame 5 has a header that claims an absurd size: .*100000x100000"):
        read_plate(str(bomb), frame=5)


def test_a_header_of_endless_attributes_is_refused_at_once(seed_files, tmp_path):
    """OpenEXR takes seconds for this megabyte, and half a minute for four of them."""
    source = seed_files[0].read_bytes()
    bomb = tmp_path / "b.exr"
    bomb.write_bytes(source[:8] + b"".join(b"a%d\0int\0\4\0\0\0\1\0\0\0" % n for n in range(200_000)) + source[8:])
    before = time.process_time()
    with pytest.raises(FrameError, match="frame 5 lists more than 10000 attributes"):
        read_plate(str(bomb), frame=5)
    assert time.process_time() - before < 0.5


def test_offsets_that_point_at_each_other_are_survived(seed_files, tmp_path):
    damaged = []
    for number, source in enumerate(seed_files):
        content = bytearray(source.read_bytes())
        # The table of chunk offsets follows the header: its first entry is the place just behind the table.
        table = next(
            at for at in range(300, len(content) - 8) if at < struct.unpack_from("<Q", content, at)[0] < len(content)
        )
        entries = (struct.unpack_from("<Q", content, table)[0] - table) // 8
        for name, offset in (("self", table), ("header", 8), ("end", len(content) - 1), ("beyond", 1 << 62)):
            struct.pack_into(f"<{entries}Q", content, table, *[offset] * entries)
            target = tmp_path / f"{number}.{name}.exr"
            target.write_bytes(content)
            damaged.append(target)
    assert "BAD_FRAME" in assert_all_typed(damaged)


def damage(content: bytes, rng: random.Random) -> bytes:
    """One of four kinds of damage: bits of the header, bytes anywhere, an absurd number, a run of garbage."""
    out = bytearray(content)
    header = min(len(out), 900)
    kind = rng.randrange(4)
    if kind == 0:
        for _ in range(rng.choice([1, 1, 2, 8])):
            out[rng.randrange(header)] ^= 1 << rng.randrange(8)
    elif kind == 1:
        for _ in range(rng.choice([1, 4, 32, 256])):
            out[rng.randrange(len(out))] = rng.randrange(256)
    elif kind == 2:
        at = rng.randrange(header - 4)
        out[at : at + 4] = struct.pack("<i", rng.choice([2**31 - 1, -(2**31), -1, 0, 1, 65536]))
    else:
        at = rng.randrange(min(len(out), 3000))
        for offset in range(at, min(len(out), at + rng.choice([8, 64]))):
            out[offset] = rng.randrange(256)
    return bytes(out)


@pytest.mark.parametrize("seed", range(3))
def test_random_damage_gives_a_picture_or_an_error_of_ours(seed_files, tmp_path, seed):
    rng = random.Random(seed)
    damaged = []
    for source in seed_files:
        for number in range(12):
            target = tmp_path / f"{source.stem}.{number}.exr"
            target.write_bytes(damage(source.read_bytes(), rng))
            damaged.append(target)
    assert assert_all_typed(damaged) == {"read", "BAD_FRAME"}


def test_damaged_masks_of_other_formats(make_image, tmp_path):
    grey = np.random.default_rng(0).random((48, 64)).astype(np.float32)
    rng = random.Random(1)
    damaged = []
    for name in ("m.png", "m.tif", "m.jpg"):
        source = Path(make_image(name, dict.fromkeys("RGB", grey), type_name="uint8"))
        for number in range(40):
            target = tmp_path / f"{number}{source.suffix}"
            target.write_bytes(damage(source.read_bytes(), rng))
            damaged.append(target)
        target = tmp_path / f"cut{source.suffix}"
        target.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
        damaged.append(target)
    assert "BAD_FRAME" in assert_all_typed(damaged)


@pytest.mark.skipif(not os.environ.get("MATTEBRIDGE_CORPUS"), reason="MATTEBRIDGE_CORPUS names no folder")
def test_a_corpus_of_ones_own():
    files = sorted(path for path in Path(os.environ["MATTEBRIDGE_CORPUS"]).rglob("*") if path.is_file())
    for first in range(0, len(files), 100):
        assert_all_typed(files[first : first + 100])


def test_nothing_is_printed_about_a_bad_file(seed_files, tmp_path):
    bad = tmp_path / "bad.exr"
    bad.write_bytes(seed_files[0].read_bytes()[:2000])
    code = (
        "import sys\nfrom mattebridge.errors import InputError\nfrom mattebridge_server.media import read_plate\n"
        "for _ in range(3):\n    try:\n        read_plate(sys.argv[1], frame=1)\n    except InputError:\n        pass\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run([sys.executable, "-c", code, str(bad)], capture_output=True, text=True, env=environment)
    assert (child.returncode, child.stdout, child.stderr) == (0, "", "")


def test_no_file_stays_open_after_an_error(seed_files, tmp_path):
    bad = tmp_path / "bad.exr"
    bad.write_bytes(seed_files[0].read_bytes()[:2000])

    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_files()
    for _ in range(20):
        for read in (lambda: read_plate(str(bad), frame=1), lambda: read_attributes(str(tmp_path / "no.exr"))):
            with pytest.raises(InputError):
                read()
    assert open_files() == before
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > before
