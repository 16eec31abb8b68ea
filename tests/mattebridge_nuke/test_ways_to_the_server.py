"""No shared disk, a server that dies, a server that is not there: each has a defined end."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakenuke import FakeNuke
from fakenuke.artist import Artist, alpha_of, frames_in
from fakenuke.local_server import LocalServer, running_server
from fakenuke.shots import Shot

from mattebridge import Client
from mattebridge.errors import MissingFrames
from mattebridge.rendezvous import read_alive

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "nuke_plugin"


@pytest.fixture
def shot(tmp_path: Path) -> Shot:
    return Shot(tmp_path, 1001, 1006)


@pytest.fixture
def own_server() -> Iterator[LocalServer]:
    with running_server() as server:
        yield server


def result_folder(shot: Shot) -> Path:
    return shot.folder / "mattebridge" / "MatteBridge1" / "v001"


def test_pixels_through_the_connection_give_the_same_result(fake: FakeNuke, server: LocalServer, shot: Shot) -> None:
    artist = Artist(fake, shot.script(fake))
    artist.choose_model("gated")
    artist.press("matte_range")
    by_path = [alpha_of(artist.value("alpha_path"), frame) for frame in range(1001, 1007)]
    other = Artist(fake, fake.module.nodes.MatteBridge(inputs=[artist.node.input(0), artist.node.input(1)]))
    other.choose_model("gated")
    other.set(delivery="exr")
    run = other.press("matte_range")
    assert run.error is None, run.error
    assert other.value("node_label") == "v001  6 frames"
    for expected, frame in zip(by_path, range(1001, 1007)):
        np.testing.assert_array_equal(alpha_of(other.value("alpha_path"), frame), expected)


def test_through_the_connection_only_missing_frames_are_made_again(
    fake: FakeNuke, server: LocalServer, shot: Shot
) -> None:
    artist = Artist(fake, shot.script(fake, delivery="exr"))
    artist.choose_model("gated")
    artist.press("matte_range")
    kept = {path: path.stat().st_mtime_ns for path in result_folder(shot).glob("*.exr")}
    (result_folder(shot) / "MatteBridge1.1003.exr").unlink()
    run = artist.press("matte_range")
    assert run.error is None, run.error
    assert frames_in(result_folder(shot)) == list(range(1001, 1007))
    changed = [path.name for path, moment in kept.items() if path.stat().st_mtime_ns != moment]
    assert changed == ["MatteBridge1.1003.exr"]


def test_automatic_sends_pixels_where_the_server_may_not_see_the_files(
    fake: FakeNuke, shot: Shot, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "allowed"
    elsewhere.mkdir()
    site = tmp_path / "site.toml"
    site.write_text(f'roots = ["{elsewhere.as_posix()}"]\n[licences]\nallow = ["Apache-2.0"]\n')
    with running_server("--site", str(site)):
        artist = Artist(fake, shot.script(fake, model="identity"))
        run = artist.press("matte_range")
        assert run.error is None, run.error
        assert frames_in(result_folder(shot)) == list(range(1001, 1007))
        artist.set(delivery="files", one_mask=True, look="srgb")
        assert artist.press("matte_range").error.code == "PATH_REFUSED"
        assert "outside the allowed roots" in fake.session.messages[-1]
        artist.set(model="videomama")
        assert artist.press("matte_range").error is not None
        assert "is not one that this site allows" in fake.session.messages[-1]
        assert "Choose a model with an allowed licence" in artist.value("status")


def test_what_was_rendered_is_sent_where_the_server_does_not_see_it(
    fake: FakeNuke, server: LocalServer, shot: Shot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may write beside the script and has no file there: found out after the render, as it must be."""
    from mattebridge_nuke.bridge import Bridge, CheckResult

    check, submit, sent = Bridge.check, Bridge.submit, []

    def blind(self: Bridge, requests: Any) -> CheckResult:
        asked = list(requests)
        found = check(self, asked)
        unseen = [MissingFrames("not there", file=one["mask"]) for one in asked if one["delivery"] == "files"]
        return replace(found, problems=[*found.problems, *unseen])

    def remember(self: Bridge, request: Any, plan: Any = None) -> Any:
        sent.append(request["delivery"])
        return submit(self, request, plan)

    monkeypatch.setattr(Bridge, "check", blind)
    monkeypatch.setattr(Bridge, "submit", remember)
    artist = Artist(fake, shot.script(fake, model="identity", always_render=True))
    run = artist.press("matte_range")
    assert run.error is None, run.error
    assert sent == ["exr"]
    assert frames_in(result_folder(shot)) == list(range(1001, 1007))
    artist.set(delivery="files", look="srgb")
    assert artist.press("matte_range").error.code == "MISSING_FRAMES"
    assert sent == ["exr"], "nothing was queued"


def test_a_server_killed_half_way_and_started_again_finishes_the_job(
    fake: FakeNuke, own_server: LocalServer, shot: Shot, gate: Path
) -> None:
    artist = Artist(fake, shot.script(fake))
    artist.choose_model("gated", gate=gate.as_posix())
    for frame in (1001, 1002):
        (gate / str(frame)).touch()
    run = artist.begin("matte_range")
    artist.until(lambda: len(run._confirmed) == 2)
    own_server.kill()
    (gate / "open").touch()
    own_server.start()
    artist.until(run.finished.is_set, 60)
    assert run.error is None, run.error
    assert frames_in(result_folder(shot)) == list(range(1001, 1007))
    assert artist.value("node_label") == "v001  6 frames"


def test_a_server_that_stays_away_ends_the_run_and_keeps_its_frames(
    fake: FakeNuke, own_server: LocalServer, shot: Shot, gate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATTEBRIDGE_LOST_TIMEOUT", "1.5")
    (gate / "1001").touch()
    artist = Artist(fake, shot.script(fake))
    artist.choose_model("gated", gate=gate.as_posix())
    run = artist.begin("matte_range")
    artist.until(lambda: len(run._confirmed) == 1)
    own_server.kill()
    artist.until(run.finished.is_set, 30)
    assert run.error.code == "SERVER_LOST"
    assert frames_in(result_folder(shot)) == [1001]
    assert "did not come back" in fake.session.messages[-1]
    own_server.start()
    (gate / "open").touch()
    assert artist.press("matte_range").error is None
    assert frames_in(result_folder(shot)) == list(range(1001, 1007))


def test_cancel_does_not_wait_for_a_server_that_is_away(
    fake: FakeNuke, own_server: LocalServer, shot: Shot, gate: Path
) -> None:
    """The artist's patience is shorter than the minute that a server has to come back."""
    artist = Artist(fake, shot.script(fake))
    artist.choose_model("gated", gate=gate.as_posix())
    run = artist.begin("matte_range")
    artist.until(lambda: "of 6" in artist.value("status"))
    own_server.kill()
    artist.until(lambda: "connection lost" in artist.value("status"))
    fake.press(artist.node, "cancel")
    artist.until(run.finished.is_set, 10)
    assert run.error.code == "CANCELLED"
    assert artist.value("status").startswith("cancelled while the server was away")
    assert fake.session.messages == []


TWO_NUKES = """
import json, os, sys
sys.path[:0] = {paths}
from fakenuke import FakeNuke
from fakenuke.artist import Artist
from pathlib import Path
os.environ.update(PYTHONHOME="/nuke/python", PYTHONPATH="/nuke/plugins", LD_LIBRARY_PATH="/nuke/lib")
with FakeNuke(gui=True, plugin_folders=[Path({gizmos!r})]) as fake:
    fake.module.scriptOpen(sys.argv[1])
    artist = Artist(fake, fake.module.toNode("MatteBridge1"))
    print("ready", flush=True)
    sys.stdin.readline()
    run = artist.press("matte_range", 100)
    print(json.dumps([str(run.error), artist.value("status")]))
"""


def test_two_nukes_that_start_at_once_share_one_clean_server(fake: FakeNuke, tmp_path: Path) -> None:
    shots = [Shot(tmp_path / name, 1001, 1003) for name in ("one", "two")]
    for shot in shots:
        shot.script(fake, model="identity")
        fake.module.scriptSaveAs(f"{shot.folder.as_posix()}/comp.nk")
        fake.session.root._children.clear()
    folder = Path(tempfile.mkdtemp(prefix="mbn"))  # short: a socket's path has a limit
    server = LocalServer(folder)
    script = TWO_NUKES.format(paths=[str(ROOT / "tests" / "fake_nuke"), str(PLUGIN)], gizmos=str(PLUGIN / "gizmos"))
    environment = {**os.environ, **server.environment}
    nukes = [
        subprocess.Popen(
            [sys.executable, "-c", script, f"{shot.folder.as_posix()}/comp.nk"],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for shot in shots
    ]  # fmt: skip
    try:
        assert [nuke.stdout.readline() for nuke in nukes if nuke.stdout] == ["ready\n"] * 2
        said = [json.loads(out.splitlines()[-1]) for out, _ in both(nukes)]
        assert [error for error, _ in said] == ["None", "None"]
        assert all(status.startswith("v001: 3 frames made") for _, status in said)
        found = read_alive(server.settings.runtime_dir)
        assert found is not None
        names = {entry.partition(b"=")[0] for entry in Path(f"/proc/{found.pid}/environ").read_bytes().split(b"\0")}
        assert not names & {b"PYTHONHOME", b"PYTHONPATH", b"LD_LIBRARY_PATH"}
        assert os.getsid(found.pid) not in {nuke.pid for nuke in nukes}
        with Client.connect("auto", settings=server.settings) as client:
            report = client.status(finished=True)
        assert (report.pid, len(report.jobs)) == (found.pid, 2), "it outlives both, and did the work of both"
    finally:
        for nuke in nukes:
            nuke.kill()
        with Client.connect("auto", settings=server.settings) as client:
            client.stop(now=True)
        shutil.rmtree(folder, ignore_errors=True)


def both(nukes: list[subprocess.Popen[str]]) -> list[tuple[str, str]]:
    """Let go of both in the same moment, then wait for each."""
    for nuke in nukes:
        assert nuke.stdin is not None
        nuke.stdin.write("go\n")
        nuke.stdin.flush()
    return [nuke.communicate(timeout=100) for nuke in nukes]


def test_an_address_where_nobody_answers_is_said_in_one_dialog(
    fake: FakeNuke, server: LocalServer, shot: Shot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATTEBRIDGE_CONNECT_TIMEOUT", "0.5")
    artist = Artist(fake, shot.script(fake, always_render=True, server="ipc:///nowhere/at/all.sock"))
    run = artist.press("matte_range")
    assert run.error.code == "SERVER_LOST"
    assert len(fake.session.messages) == 1
    assert fake.session.executed == [], "nothing was rendered"


def test_a_cancel_while_the_server_is_looked_for_is_a_cancel_at_once(
    fake: FakeNuke, server: LocalServer, shot: Shot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATTEBRIDGE_CONNECT_TIMEOUT", "20")
    artist = Artist(fake, shot.script(fake, server="ipc:///nowhere/at/all.sock"))
    run = artist.begin("matte_range")
    fake.press(artist.node, "cancel")
    artist.until(run.finished.is_set, 5)
    assert run.error.code == "CANCELLED"
    assert artist.value("status").startswith("cancelled before the job was sent")
    assert fake.session.messages == []


def test_a_cancel_does_not_wait_for_a_check_that_hangs(
    fake: FakeNuke, own_server: LocalServer, shot: Shot, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mattebridge_nuke.bridge import Bridge, CheckResult

    check, asked = Bridge.check, []

    def frozen(self: Bridge, requests: Any) -> CheckResult:
        assert own_server.process is not None
        own_server.process.send_signal(signal.SIGSTOP)
        asked.append(True)
        return check(self, requests)

    monkeypatch.setattr(Bridge, "check", frozen)
    artist = Artist(fake, shot.script(fake, model="identity"))
    run = artist.begin("matte_range")
    artist.until(lambda: bool(asked))
    try:
        fake.press(artist.node, "cancel")
        artist.until(run.finished.is_set, 3)
    finally:
        assert own_server.process is not None
        own_server.process.send_signal(signal.SIGCONT)
    assert run.error.code == "CANCELLED"
    assert fake.session.messages == []


def test_missing_libraries_are_one_clear_line(fake: FakeNuke, shot: Shot, monkeypatch: pytest.MonkeyPatch) -> None:
    artist = Artist(fake, shot.script(fake))
    monkeypatch.setitem(__import__("sys").modules, "zmq", None)
    run = artist.press("matte_range")
    assert "mattebridge nuke install" in str(run.error)
    assert importlib.import_module("mattebridge_nuke.background").RUNS == []
