"""Deliveries without shared storage: parts within the credit, whole results only, and nothing twice after a cut."""

import array
import dataclasses
import gc
import io
import os
import stat
import threading
import weakref

import numpy as np
import pytest
from small_server import SmallServer, Story, shot_events, wait_until

from mattebridge import Client, Planes, keys
from mattebridge import messages as m
from mattebridge.errors import (
    FrameError,
    InputError,
    MissingFrames,
    OutputExists,
    OutputFailed,
    ProtocolError,
    UsageError,
)
from mattebridge.upload import Picture, Uploader

FRAMES = [1001, 1002, 1003]


@pytest.fixture
def story():
    story = Story()
    story.events_for = lambda key, job: shot_events(key, FRAMES)
    return story


@pytest.fixture
def shot(tmp_path):
    """Three plates of 300 KiB, masks for two of them, and a single garbage picture."""
    for index, frame in enumerate(FRAMES):
        (tmp_path / f"plate.{frame}.exr").write_bytes(bytes([index]) * 300_000)
        if frame != 1002:
            (tmp_path / f"mask.{frame}.png").write_bytes(os.urandom(70_000))
    (tmp_path / "garbage.exr").write_bytes(b"garbage")
    return {
        "plate": tmp_path / "plate.####.exr",
        "mask": tmp_path / "mask.####.png",
        "garbage": tmp_path / "garbage.exr",
        "out": tmp_path / "out" / "alpha.####.exr",
        "frames": "1001-1003",
        "delivery": "exr",
    }


@pytest.fixture
def connected(settings, server_keys, story):
    own = keys.load_or_create(settings.client_key_file)
    settings = dataclasses.replace(settings, server_key=server_keys.public)
    with SmallServer(story, keys=server_keys, allowed=[own.public]) as server:
        server.credit_bytes = 100_000
        with Client.connect(server.endpoint, settings=settings) as client:
            yield client, server


def test_every_picture_goes_up_and_every_result_comes_back_whole(connected, shot, story, tmp_path):
    client, server = connected
    job = client.matte(**shot)
    events = list(job.events(timeout_s=20))
    uploads = story.uploads[job.key]
    assert set(uploads) == {*(f"plate/{frame}" for frame in FRAMES), "mask/1001", "mask/1003", "garbage/0"}
    assert uploads["plate/1002"] == b"\x01" * 300_000
    for frame in (1001, 1003):
        assert (tmp_path / "out" / f"alpha.{frame}.exr").read_bytes() == (tmp_path / f"mask.{frame}.png").read_bytes()
    assert isinstance(events[-1], m.Done)
    told = {event.frame: event.path for event in events if isinstance(event, m.FrameDone)}
    assert told[1001] == str(tmp_path / "out" / "alpha.1001.exr")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["alpha.1001.exr", "alpha.1003.exr"], (
        "no temporary file is left"
    )
    wait_until(lambda: story.results[job.key] == [], what="every result being taken")
    given = m.INITIAL_CREDIT_BYTES + 2 * 70_000
    wait_until(
        lambda: sum(each.add_bytes for each in list(server.seen) if isinstance(each, m.Credit)) == given,
        what="the credit of every part coming back",
    )


def test_no_more_is_under_way_than_the_server_granted(connected, shot, story):
    """The server swallows the parts and returns no credit: the client stops at what it was granted."""
    client, server = connected
    stores, server._on_put = server._on_put, lambda *_: None
    job = client.matte(**shot)

    def sizes():
        return sum(len(blob) for blob in server.blobs)

    wait_until(lambda: sizes() >= server.credit_bytes, what="the granted bytes")
    for _ in range(3):
        client.status()
    assert sizes() == server.credit_bytes == 100_000
    parts = [each for each in server.seen if isinstance(each, m.Put)]
    assert all(each.total_bytes == 300_000 and not each.sha256 for each in parts)
    server._on_put = stores
    job.cancel()


def test_a_result_that_arrives_damaged_is_not_written(connected, shot, story, tmp_path):
    client, server = connected
    send = server.send

    def damaging(peer, message, blobs=()):
        if isinstance(message, m.Give) and message.frame == 1003:
            blobs = [b"\0" * len(blobs[0])]
        send(peer, message, blobs)

    server.send = damaging
    with pytest.raises(ProtocolError, match="damaged"):
        client.matte(**shot).wait(timeout_s=20)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["alpha.1001.exr"]


def test_a_result_with_a_part_missing_fails_its_job_and_is_not_waited_for(connected, shot, tmp_path):
    client, server = connected
    send = server.send

    def losing(peer, message, blobs=()):
        if not (isinstance(message, m.Give) and message.frame == 1003 and message.offset == 0):
            send(peer, message, blobs)

    server.send = losing
    with pytest.raises(ProtocolError, match="a part of alpha 1003 is missing"):
        client.matte(**shot).wait(timeout_s=20)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["alpha.1001.exr"]


def test_a_frame_is_told_when_its_pixels_are_there_however_late_they_come(connected, shot, tmp_path):
    client, server = connected
    send, late = server.send, []

    def frames_first(peer, message, blobs=()):
        if isinstance(message, m.Give):
            late.append((peer, message, blobs))
            return
        if isinstance(message, m.Done):
            for each in late:
                send(*each)
        send(peer, message, blobs)

    server.send = frames_first
    told = {}
    for event in client.matte(**shot).events(timeout_s=20):
        if isinstance(event, m.FrameDone):
            told[event.frame] = event.path and (tmp_path / "out" / f"alpha.{event.frame}.exr").read_bytes()
    assert told == {1002: "", **{frame: (tmp_path / f"mask.{frame}.png").read_bytes() for frame in (1001, 1003)}}


def test_who_only_looks_on_leaves_the_results_to_their_owner(connected, story):
    client, server = connected
    story.jobs["job"] = shot_events("job", [1001])
    story.bodies["job"] = m.JobRequest("plate", delivery="exr")
    story.results["job"] = [("alpha", 1001, "x", b"matte")]
    assert client.attach("job").wait(timeout_s=20).written == 1
    client.status()  # whatever was sent before has arrived
    assert server.count(m.Taken) == 0 and story.results["job"]


def test_results_are_readable_for_the_team_as_far_as_the_umask_allows(connected, shot, tmp_path):
    before = os.umask(0o027)
    try:
        connected[0].matte(**shot).wait(timeout_s=20)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out" / "alpha.1001.exr").stat().st_mode) == 0o640


def test_after_a_cut_only_what_is_not_stored_goes_up_again(settings, server_keys, story, shot):
    own = keys.load_or_create(settings.client_key_file)
    settings = dataclasses.replace(settings, server_key=server_keys.public)
    first = SmallServer(story, keys=server_keys, allowed=[own.public])
    endpoint = first.endpoint
    first.credit_bytes = 700_000
    first._on_putsdone = lambda *_: None
    with Client.connect(endpoint, settings=settings) as client:
        job = client.matte(**shot)
        wait_until(lambda: "plate/1002" in story.uploads.get(job.key, {}), what="the second plate being stored")
        first.close()
        stored = set(story.uploads[job.key])
        with SmallServer(story, endpoint, server_keys, [own.public], "boot-2") as second:
            second.credit_bytes = 700_000
            assert job.wait(timeout_s=20).written == 3
            again = {f"{each.role}/{each.frame}" for each in second.seen if isinstance(each, m.Put)}
    assert not again & stored and again | stored == set(story.uploads[job.key])


def test_a_result_that_a_cut_left_half_begins_anew(settings, server_keys, story, shot, tmp_path):
    own = keys.load_or_create(settings.client_key_file)
    settings = dataclasses.replace(settings, server_key=server_keys.public)
    first = SmallServer(story, keys=server_keys, allowed=[own.public])
    endpoint, halves = first.endpoint, []

    def half(peer, key):
        role, frame, name, content = story.results[key][0]
        halves.append(content[:1000])
        first.send(peer, m.Give(key, role, frame, name, 0, len(content)), halves[-1:])

    first._give = half
    with Client.connect(endpoint, settings=settings) as client:
        job = client.matte(**shot)
        wait_until(lambda: halves and first.count(m.Credit) > 1, what="the half being counted")
        first.close()
        with SmallServer(story, endpoint, server_keys, [own.public], "boot-2") as second:
            assert job.wait(timeout_s=20).written == 3
            assert second.count(m.PutsDone) == 0, "a job that runs waits for no picture"
    for frame in (1001, 1003):
        assert (tmp_path / "out" / f"alpha.{frame}.exr").read_bytes() == (tmp_path / f"mask.{frame}.png").read_bytes()


def test_missing_plates_are_named_before_anything_is_submitted(connected, shot, tmp_path):
    client, server = connected
    (tmp_path / "plate.1002.exr").unlink()
    with pytest.raises(MissingFrames, match="1002"):
        client.matte(**shot)
    assert server.count(m.Submit) == 0


def test_masks_that_are_all_missing_are_an_error(connected, shot):
    with pytest.raises(MissingFrames, match=r"mask.*Correct the folder"):
        connected[0].matte(**{**shot, "mask": "/nowhere/mask.####.png"})


def test_a_config_whose_tables_lie_outside_its_search_paths_is_refused_by_name(connected, shot, tmp_path):
    (tmp_path / "show").mkdir()
    (tmp_path / "grade.cube").write_text("LUT_1D_SIZE 2\n0 0 0\n1 1 1\n")
    config = tmp_path / "show/config.ocio"
    config.write_text("  from: !<FileTransform> {src: ../grade.cube}\n")
    with pytest.raises(InputError, match="outside its search paths") as caught:
        connected[0].matte(**shot, config=config)
    assert caught.value.file.endswith("grade.cube")


def test_a_plate_that_cannot_be_read_fails_the_job_with_its_name_and_cancels_it(connected, shot, tmp_path):
    client, server = connected
    (tmp_path / "plate.1002.exr").unlink()
    (tmp_path / "plate.1002.exr").mkdir()
    with pytest.raises(FrameError, match=r"plate\.1002\.exr") as failed:
        client.matte(**shot).wait(timeout_s=20)
    assert failed.value.frame == 1002
    wait_until(lambda: server.count(m.Cancel) == 1, what="the cancel")


@pytest.mark.parametrize("size", [100_000, 400_000])
def test_a_plate_that_changes_its_length_while_it_is_sent_ends_and_is_never_more_than_it_was(
    connected, shot, story, tmp_path, size
):
    client, server = connected
    stores = server._on_put

    def resized(peer, message, blobs):
        if message.frame == 1002 and message.offset == 0:  # it waits for credit now
            os.truncate(tmp_path / "plate.1002.exr", size)
            server.send(peer, m.Credit(message.key, 500_000))
        stores(peer, message, blobs)

    server._on_put = resized
    job = client.matte(**shot)
    if size < 300_000:
        with pytest.raises(FrameError, match="shrank while it was read") as failed:
            job.wait(timeout_s=20)
        assert failed.value.frame == 1002
    else:
        assert job.wait(timeout_s=20).written == 3
        assert story.uploads[job.key]["plate/1002"] == b"\x01" * 300_000


def test_what_was_read_for_a_lost_connection_costs_the_next_one_nothing():
    posted, whole = [], threading.Event()

    def post(message, blobs, epoch):
        posted.append((message, epoch))
        if isinstance(message, m.PutsDone):
            whole.set()

    class CutWhileRead(io.BytesIO):
        def read(self, size=-1):
            if not posted:
                uploader.begin(m.Accepted(1, "job", "uploading", 0, True, (), 8), 2)
            return super().read(size)

    uploader = Uploader("job", [Picture("plate", 1, "plate.1.exr", lambda: CutWhileRead(b"12345678"))], post, print)
    uploader.begin(m.Accepted(1, "job", "uploading", 0, False, (), 8), 1)
    assert whole.wait(10)
    assert [epoch for message, epoch in posted if isinstance(message, m.Put)] == [1, 2]
    uploader.close()


def test_another_file_in_the_way_is_kept_unless_overwrite_is_asked_for(connected, shot, tmp_path):
    client, _ = connected
    (tmp_path / "out").mkdir()
    in_the_way = tmp_path / "out" / "alpha.1001.exr"
    in_the_way.write_bytes(b"precious")
    with pytest.raises(OutputExists):
        client.matte(**shot).wait(timeout_s=20)
    assert in_the_way.read_bytes() == b"precious"
    client.matte(**shot, overwrite=True).wait(timeout_s=20)
    assert in_the_way.read_bytes() == (tmp_path / "mask.1001.png").read_bytes()
    client.matte(**shot).wait(timeout_s=20)  # the same content once more is no conflict


def test_a_version_is_chosen_where_the_results_will_lie(connected, shot, tmp_path):
    client, _ = connected
    shot["out"] = tmp_path / "{version}" / "alpha.####.exr"
    for version in ("v001", "v002"):
        job = client.matte(**shot)
        job.wait()
        assert job.request.out == str(tmp_path / version / "alpha.####.exr")
        assert (tmp_path / version / "alpha.1001.exr").is_file()


def test_what_is_sent_is_never_written_over(connected, shot, tmp_path):
    client, _ = connected
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    for out in (shot["plate"], tmp_path / "link" / "plate.####.exr"):
        with pytest.raises(UsageError, match="out would be written over the plate"):
            client.matte(**{**shot, "out": out, "overwrite": True})


def test_a_disk_that_refuses_is_a_typed_error(connected, shot, tmp_path):
    (tmp_path / "out").write_bytes(b"a file where the folder should be")
    with pytest.raises(OutputFailed) as failed:
        connected[0].matte(**shot).wait(timeout_s=20)
    assert failed.value.exit_status == 3


def test_a_name_that_is_taken_by_a_folder_is_a_typed_error_and_leaves_no_temporary_file(connected, shot, tmp_path):
    (tmp_path / "out" / "alpha.1001.exr").mkdir(parents=True)
    with pytest.raises(OutputFailed, match="directory"):
        connected[0].matte(**shot, overwrite=True).wait(timeout_s=20)
    assert not list((tmp_path / "out").glob(".*"))


def test_arrays_go_up_and_come_back_as_planes(connected, story):
    client, _ = connected
    story.events_for = lambda key, job: shot_events(key, [1, 2])
    plate = {frame: Planes(bytes([frame]) * 24, 2, 2, 3) for frame in (1, 2)}
    mask = {frame: Planes(bytes([0, frame]) * 4, 2, 2, 1) for frame in (1, 2)}
    job = client.matte(planes={"plate": plate, "mask": mask})
    assert job.wait(timeout_s=20).written == 2
    assert job.results["alpha", 2].shape == (2, 2, 1)
    assert bytes(job.results["alpha", 2].data) == bytes(mask[2].data)
    taken = []
    job = client.matte(planes={"plate": plate, "mask": mask}, on_result=lambda *result: taken.append(result[:2]))
    job.wait(timeout_s=20)
    assert taken == [("alpha", 1), ("alpha", 2)] and job.results == {}


def test_a_result_that_is_given_again_is_handed_on_once(connected, story):
    client, server = connected
    story.events_for = lambda key, job: shot_events(key, [1, 2])
    planes = {"plate": {f: Planes(bytes(24), 2, 2, 3) for f in (1, 2)}, "mask": {1: Planes(bytes(8), 2, 2, 1)}}
    send = server.send

    def twice(peer, message, blobs=()):
        send(peer, message, blobs)
        if isinstance(message, m.Give) and message.sha256:
            whole = story.results[message.key][0][3]
            send(peer, dataclasses.replace(message, offset=0), [whole])

    server.send, taken = twice, []
    client.matte(planes=planes, on_result=lambda *result: taken.append(result[:2])).wait(timeout_s=20)
    assert taken == [("alpha", 1)]


def test_a_job_that_ended_is_let_go_with_its_pixels(connected, story):
    client, _ = connected
    story.events_for = lambda key, job: shot_events(key, [1])
    planes = {"plate": {1: Planes(bytes(24), 2, 2, 3)}, "mask": {1: Planes(bytes(8), 2, 2, 1)}}
    job = client.matte(planes=planes, key="job")
    job.wait(timeout_s=20)
    assert job.results
    ended = weakref.ref(job)
    del job
    wait_until(lambda: gc.collect() is not None and ended() is None, what="the memory of the job being given back")


def test_a_key_that_is_followed_is_one_job_with_one_thread(connected, shot, story):
    client, server = connected
    server._on_put = lambda *_: None
    job = client.matte(**shot, key="job")
    before = threading.active_count()
    assert client.matte(**shot, key="job") is job
    wait_until(lambda: threading.active_count() == before, what="the second thread ending")
    job.cancel()


def test_numpys_frame_numbers_go_up_and_the_client_lives_on(connected, story):
    client, _ = connected
    story.events_for = lambda key, job: shot_events(key, [1])
    plate, mask = {np.int64(1): Planes(bytes(24), 2, 2, 3)}, {np.int64(1): Planes(bytes(8), 2, 2, 1)}
    job = client.matte(planes={"plate": plate, "mask": mask})
    assert job.wait(timeout_s=20).written == 1
    assert client.status().boot_id


class NotThere(dict):
    def __getitem__(self, frame):
        raise KeyError(f"no frame {frame} in the cache")


@pytest.mark.parametrize("fault", ["mapping", "callback"])
def test_a_fault_of_the_callers_own_function_ends_the_job(connected, story, fault):
    client, _ = connected
    story.events_for = lambda key, job: shot_events(key, [1])
    plate, mask = {1: Planes(bytes(24), 2, 2, 3)}, {1: Planes(bytes(8), 2, 2, 1)}

    def refuse(role, frame, planes):
        raise ValueError("no room in the cache")

    given = NotThere(plate) if fault == "mapping" else plate
    with pytest.raises(FrameError if fault == "mapping" else OutputFailed, match="in the cache"):
        client.matte(planes={"plate": given, "mask": mask}, on_result=refuse).wait(10)


def test_planes_are_checked():
    with pytest.raises(UsageError, match="bytes"):
        Planes(b"123", 1, 1, 1)
    with pytest.raises(UsageError):
        Planes(b"", 0, 1, 1)
    with pytest.raises(UsageError, match="float16"):
        Planes.of(array.array("f", [1.0]))
    whole = Planes(b"\0\x3c" * 6, 1, 2, 3).pack()
    assert bytes(Planes.unpack(whole).data) == b"\0\x3c" * 6
    for damaged in (b"", whole[:31], b"XXXX" + whole[4:], whole[:-1], whole + b"\0"):
        with pytest.raises(InputError):
            Planes.unpack(damaged)


def test_planes_are_the_container_that_the_server_reads(tmp_path):
    numpy = pytest.importorskip("numpy")
    pytest.importorskip("OpenImageIO")
    from mattebridge_server.media.planes import PlanesFile, write_planes

    pixels = numpy.arange(24, dtype=numpy.float16).reshape(2, 4, 3)
    (tmp_path / "a.planes").write_bytes(Planes.of(pixels).pack())
    with PlanesFile(str(tmp_path / "a.planes"), 1) as stored:
        assert numpy.array_equal(stored.read(stored.channels), pixels)
    write_planes(str(tmp_path / "b.planes"), pixels, frame=1)
    back = Planes.unpack((tmp_path / "b.planes").read_bytes())
    assert numpy.array_equal(numpy.frombuffer(back.data, "<f2").reshape(back.shape), pixels)
