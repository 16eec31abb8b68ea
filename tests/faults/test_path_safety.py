"""Promise 18. With roots given, no path, however it is dressed up, reads or writes outside them.

The tricks one by one are in tests/mattebridge_server/test_paths.py and test_confine.py; here they meet the server.
"""

import os
import threading

import pytest
from real_shot import make_shot, start_real

from mattebridge import messages as m

FRAMES = range(1001, 1003)


@pytest.fixture
def served(broker, folder):
    job = make_shot(folder / "allowed", FRAMES)
    make_shot(folder / "outside", FRAMES)
    return start_real(broker, root=[str(folder / "allowed")]), job


def test_under_the_roots_a_job_runs(served, folder):
    client, job = served
    client.submit("job", **job)
    ended = client.end_of("job")
    assert isinstance(ended, m.Done), ended
    assert (folder / "allowed" / "out" / "matte.1001.exr").exists()


def tricks(folder):
    (folder / "allowed" / "link").symlink_to(folder / "outside")
    for frame in FRAMES:
        (folder / "allowed" / f"leak.{frame}.exr").symlink_to(folder / "outside" / f"plate.{frame}.exr")
    return {
        "outside": {"plate": f"{folder}/outside/plate.####.exr"},
        "dots": {"plate": f"{folder}/allowed/../outside/plate.####.exr"},
        "link": {"plate": f"{folder}/allowed/link/plate.####.exr"},
        "nul": {"plate": f"{folder}/allowed/plate.####.exr\0.exr"},
        "unc": {"plate": "\\\\filer\\share\\plate.####.exr"},
        "double slash": {"plate": f"//localhost{folder}/outside/plate.####.exr"},
        "descriptor": {"plate": "/proc/self/fd/0"},
        "proc root": {"plate": f"/proc/self/root{folder}/outside/plate.####.exr"},
        "linked files": {"plate": f"{folder}/allowed/leak.####.exr"},
        "mask": {"mask": f"{folder}/outside/mask.####.exr"},
        "out": {"out": f"{folder}/outside/new/matte.####.exr"},
        "out by link": {"out": f"{folder}/allowed/link/new/matte.####.exr"},
        "device": {"out": "/dev/shm/matte.####.exr"},
    }


def test_every_trick_fails_with_a_typed_error_and_writes_nothing(served, folder):
    client, job = served
    for name, change in tricks(folder).items():
        answer = client.submit(name.replace(" ", "-"), **{**job, **change})
        if isinstance(answer, m.Rejected):
            assert answer.error.code == "PATH_REFUSED", name
            continue
        ended = client.end_of(answer.key)
        assert isinstance(ended, m.Failed), name
        assert ended.error.code in ("PATH_REFUSED", "BAD_FRAME", "MISSING_FRAMES", "OUTPUT_FAILED"), (name, ended)
    assert not (folder / "outside" / "new").exists()
    assert not list(folder.glob("outside/out"))
    client.submit("after", **job)
    assert isinstance(client.end_of("after"), m.Done)


def test_check_refuses_what_submit_refuses(served, folder):
    client, job = served
    problems = client.ask(m.Check, job=m.JobRequest(**{**job, "plate": f"{folder}/outside/plate.####.exr"})).problems
    assert problems[0].code == "PATH_REFUSED"
    assert client.ask(m.Check, job=m.JobRequest(**job)).problems == ()


def test_a_folder_swapped_for_a_link_while_jobs_run_never_leads_outside(served, folder):
    client, job = served
    real, swapped, outside = folder / "allowed" / "real", folder / "allowed" / "swap", folder / "outside" / "drop"
    real.mkdir()
    outside.mkdir()
    swapped.symlink_to(real)
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            for target in (outside, real):
                fresh = folder / "allowed" / "fresh"
                fresh.symlink_to(target)
                os.replace(fresh, swapped)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for index in range(6):
            client.submit(f"job{index}", **{**job, "out": f"{swapped}/matte{index}.####.exr"})
            client.end_of(f"job{index}")
    finally:
        stop.set()
        thread.join()
    assert list(outside.iterdir()) == [], "something was written outside the roots"
