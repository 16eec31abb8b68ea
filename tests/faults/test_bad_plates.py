"""Promise 17. A damaged picture is told by file and frame within seconds; the engine and the server go on.

Any folder named by MATTEBRIDGE_CORPUS is run too, one file a job. More damage, at the reader itself, is in
tests/mattebridge_server/media.
"""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from real_shot import HEIGHT, WIDTH, damages, make_shot, start_real, write_deep, write_exr

from mattebridge import messages as m

BAD = 1002
FRAMES = range(1001, 1004)


@pytest.fixture
def served(broker, folder):
    return start_real(broker), make_shot(folder / "shot", FRAMES)


def verdict(client, job, key):
    """How a job on one picture ended; within 5 s, the best of three where the machine is busy with other things."""
    for again in range(3):
        begin = time.monotonic()
        client.submit(f"{key}.{again}", **{**job, "overwrite": True})
        ended = client.end_of(f"{key}.{again}")
        if time.monotonic() - begin < 5.0:
            return ended
    raise AssertionError("it took too long to tell")


def test_each_damage_is_told_by_file_and_frame(served, folder):
    client, job = served
    path = folder / "shot" / f"plate.{BAD}.exr"
    good = path.read_bytes()
    for number, (name, data) in enumerate(damages(good).items()):
        path.write_bytes(data)
        ended = verdict(client, {**job, "out": f"{folder}/{number}/m.####.exr"}, f"bad{number}")
        if name.startswith(("flipped", "offsets")) and isinstance(ended, m.Done):
            continue
        assert isinstance(ended, m.Failed), name
        assert ended.error.code == "BAD_FRAME", (name, ended.error)
        assert ended.error.frame == BAD, (name, ended.error)
        assert ended.error.file == str(path), (name, ended.error)
        assert ended.error.remedy, name
    path.write_bytes(good)
    assert isinstance(verdict(client, job, "good"), m.Done)
    assert client.status().engines[0].restarts == 0, "a damaged picture killed the engine"


@pytest.mark.parametrize("role", ["plate", "mask"])
def test_what_the_system_does_not_give_is_told_by_file_and_frame(served, folder, role):
    client, job = served
    path = folder / "shot" / f"{role}.{BAD}.exr"
    path.unlink()
    path.mkdir()  # as a file without the permission to read it, which does not hold for root
    error = verdict(client, job, "folder").error
    assert (error.code, error.frame, error.file) == ("BAD_FRAME", BAD, str(path))


def test_a_missing_a_deep_a_colourless_and_a_smaller_frame(served, folder):
    client, job = served
    path = folder / "shot" / f"plate.{BAD}.exr"
    good = path.read_bytes()
    path.unlink()
    missing = verdict(client, job, "missing").error
    assert (missing.code, missing.frame) == ("MISSING_FRAMES", BAD)
    write_exr(path, np.ones((HEIGHT, WIDTH, 1), np.float32), ("Z",))
    colourless = verdict(client, job, "colourless").error
    assert (colourless.code, colourless.frame, colourless.file) == ("BAD_FRAME", BAD, str(path))
    write_deep(path)
    deep = verdict(client, job, "deep").error
    assert (deep.code, deep.frame) == ("BAD_FRAME", BAD)
    assert "deep" in deep.message and deep.file == str(path)
    write_exr(path, np.ones((HEIGHT // 2, WIDTH, 3), np.float32))
    smaller = verdict(client, job, "smaller").error
    assert (smaller.code, smaller.frame) == ("BAD_FRAME", BAD)
    path.write_bytes(good)
    assert isinstance(verdict(client, job, "good"), m.Done)


def test_a_picture_that_kills_its_reader_is_named(broker, folder):
    """No file is known that kills OpenImageIO, so the engine kills itself where it begins to read the picture."""
    job = make_shot(folder / "shot", range(1001, 1013))
    crash = {"MATTEBRIDGE_CRASH_AT": "read-before@1007"}
    client = start_real(broker, policy={"attempts": 2}, environment=crash)
    client.submit("job", **job)
    failed = client.end_of("job", 60)
    assert (failed.error.code, failed.error.frame) == ("POISON", 1007)
    assert failed.error.file in {f"{folder}/shot/plate.1007.exr", f"{folder}/shot/mask.1007.exr"}
    assert f"while it was reading {failed.error.file}" in failed.error.message
    client.submit("without", **{**job, "frames": "1001-1004"})
    assert isinstance(client.end_of("without"), m.Done)


@pytest.mark.skipif(not os.environ.get("MATTEBRIDGE_CORPUS"), reason="MATTEBRIDGE_CORPUS names no folder")
def test_every_file_of_a_corpus_has_a_result_or_a_typed_error(served, folder):
    client, job = served
    for number, path in enumerate(sorted(Path(os.environ["MATTEBRIDGE_CORPUS"]).rglob("*.exr"))):
        one = {**job, "plate": str(path), "mask": "", "frames": "1", "out": f"{folder}/{number}/m.####.exr"}
        ended = verdict(client, one, f"corpus{number}")
        assert isinstance(ended, m.Done) or ended.error.code != "INTERNAL", path
