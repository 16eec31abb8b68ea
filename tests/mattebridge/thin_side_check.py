"""The thin side under one interpreter, from an installed wheel: run as a script, needs nothing but pyzmq and msgpack.

Prints one line per check; ends with a traceback and status 1 at the first that fails.
"""

import dataclasses
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import typing
from pathlib import Path

from every_message import all_messages
from make_v1_fixtures import BLOBS, FOLDER, unpack
from small_server import SmallServer, Story, new_keys, shot_events

import mattebridge
from mattebridge import codec, keys
from mattebridge import messages as m
from mattebridge.errors import AuthRefused, Cancelled, ProtocolError, UsageError, error_classes, error_from_wire
from mattebridge.settings import Settings


def check_every_module_imports_and_its_annotations_can_be_evaluated(folder):
    names = [found.name for found in pkgutil.walk_packages(mattebridge.__path__, "mattebridge.")]
    assert len(names) > 20, names
    for name in names:
        if name.endswith("__main__"):
            continue
        module = importlib.import_module(name)
        assert Path(module.__file__).parts[: len(Path(os.environ["WHEEL"]).parts)] == Path(os.environ["WHEEL"]).parts
        for value in vars(module).values():
            if dataclasses.is_dataclass(value) and isinstance(value, type):
                typing.get_type_hints(value)


def check_public_names(folder):
    for name in mattebridge.__all__:
        assert getattr(mattebridge, name) is not None


def check_every_message_round_trips_and_frozen_bytes_are_understood(folder):
    for name, message in all_messages().items():
        assert codec.decode(codec.encode(message)) == (message, ())
        frozen, blobs = codec.decode(unpack((FOLDER / f"{name}.bin").read_bytes()))
        assert type(frozen) is type(message) and list(blobs) == BLOBS
    for hostile in (b"\x91" * 100_000, b"\xdf\xff\xff\xff\xff", b"\x81\xa3key\xa2\xff\xfe", b"\xd4\x05\x00", b""):
        try:
            codec.decode([b"PUTS_DONE", hostile])
        except ProtocolError:
            continue
        raise AssertionError(hostile[:8])


def check_errors_survive_the_wire(folder):
    for cls in error_classes().values():
        error = cls("it went wrong", remedy="mend it", file="/a", frame=7, details={"n": 1})
        assert str(error_from_wire(error.to_wire())) == str(error)


def check_frames_and_sequences(folder):
    frames = mattebridge.FrameSet.parse("1001-1010x3,1005")
    assert mattebridge.FrameSet.parse(str(frames)) == frames and list(frames) == [1001, 1004, 1005, 1007, 1010]
    (folder / "p.1001.exr").touch()
    assert list(mattebridge.Sequence.parse(f"{folder}/p.####.exr").missing([1001, 1002])) == [1002]


def settings_in(folder, **changes):
    environment = {f"MATTEBRIDGE_{name}": str(folder / name.lower()) for name in ("RUNTIME", "CONFIG", "STATE")}
    return dataclasses.replace(Settings.from_environment(environment), **changes)


def check_a_client_over_curve(folder):
    server_keys = new_keys()
    settings = settings_in(folder, server_key=server_keys.public)
    own = keys.load_or_create(settings.client_key_file)
    with SmallServer(keys=server_keys, allowed=[own.public]) as server:  # noqa: SIM117
        with mattebridge.Client.connect(server.endpoint, settings=settings) as client:
            assert client.describe("edge").name == "edge"
            job = client.matte(plate="/p.####.exr", out="/o.####.exr", frames="1001-1003")
            assert [event.seq for event in job.events(timeout_s=20)] == [1, 2, 3, 4, 5, 6]
            assert job.wait().written == 3
            server.hold = True
            held = client.matte(plate="/p.####.exr", out="/o.####.exr", frames="1001-1003")
            held.cancel()
            try:
                held.wait(timeout_s=20)
            except Cancelled:
                pass
            else:
                raise AssertionError("the cancel was lost")
    for keys_of_server, allowed in ((server_keys, []), (new_keys(), [own.public])):
        with SmallServer(keys=keys_of_server, allowed=allowed) as server:
            try:
                mattebridge.Client.connect(server.endpoint, settings=settings)
            except AuthRefused:
                continue
            raise AssertionError("a wrong key was let in")


def check_pixels_through_the_socket(folder):
    story = Story()
    story.events_for = lambda key, job: shot_events(key, [1, 2])
    settings = settings_in(folder)
    for frame in (1, 2):
        (folder / f"plate.{frame:04d}.exr").write_bytes(bytes([frame]) * 500_000)
        (folder / f"mask.{frame:04d}.exr").write_bytes(bytes([frame]) * 90_000)
    with SmallServer(story, f"ipc://{folder}/socket") as server:  # noqa: SIM117
        with mattebridge.Client.connect(server.endpoint, settings=settings) as client:
            given = {"plate": f"{folder}/plate.####.exr", "mask": f"{folder}/mask.####.exr", "frames": "1-2"}
            client.matte(**given, out=folder / "out" / "a.####.exr", delivery="exr").wait(timeout_s=20)
            assert (folder / "out" / "a.0002.exr").read_bytes() == b"\x02" * 90_000
            planes = {frame: mattebridge.Planes(bytes([frame]) * 8, 2, 2, 1) for frame in (1, 2)}
            job = client.matte(planes={"plate": planes, "mask": planes})
            job.wait(timeout_s=20)
            assert bytes(job.results["alpha", 2].data) == b"\x02" * 8


def check_the_command(folder):
    def run(*words):
        command = [sys.executable, "-W", "error", "-m", "mattebridge", *words]
        return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **folders}, check=False)

    settings = settings_in(folder)
    folders = {
        "MATTEBRIDGE_RUNTIME": str(settings.runtime_dir),
        "MATTEBRIDGE_CONFIG": str(settings.config_dir),
        "MATTEBRIDGE_STATE": str(settings.state_dir),
    }
    assert "examples:" in run("--help").stdout
    assert run("status").returncode == 4
    with SmallServer(endpoint=f"ipc://{folder}/socket") as server:
        words = ("matte", "--plate", "/p.####.exr", "--out", "/o.####.exr", "--frames", "1-3", "--json")
        done = run(*words, "--server", server.endpoint)
        assert done.returncode == 0, done.stderr
        assert [json.loads(line)["event"] for line in done.stdout.splitlines()][-1] == "DONE"
    missing = run("serve")
    assert missing.returncode == 2 and ".[server]" in missing.stderr, missing.stderr


def check_what_no_server_would_take(folder):
    for wrong in ({"plate": ""}, {"plate": "p", "out": "o", "frames": "9-1"}, {"plate": "p", "out": "o", "look": "x"}):
        try:
            from mattebridge.requests import make_request

            make_request(**wrong)
        except UsageError:
            continue
        raise AssertionError(wrong)
    assert m.PROTOCOL_MAJOR == 1


if __name__ == "__main__":
    wanted = sys.argv[1:]
    for name, check in list(globals().items()):
        if name.startswith("check_") and (not wanted or any(word in name for word in wanted)):
            with tempfile.TemporaryDirectory() as place:
                check(Path(place))
            print("ok", name)
