"""The bundle on OpenCue: the job that pyoutline makes, run by a real RQD for a small stand-in for Cuebot."""

from __future__ import annotations

import queue
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from farm_shot import FarmShot

pytest.importorskip("outline", reason="pyoutline (the [farm] extra) is not installed")

ShotOf = Callable[..., FarmShot]


def specification(shot: FarmShot, bundle: Path) -> ElementTree.Element:
    words = ("--opencue", "--show", "testing", "--shot", "s010", "--user", "artist", "--retries", "3")
    words += ("--server", "auto", "--print")
    printed = shot.mattebridge("farm", "submit", str(bundle), *words)
    assert printed.returncode == 0, printed.stderr
    return ElementTree.fromstring(printed.stdout[printed.stdout.index("<spec>") :])


def text(element: ElementTree.Element, path: str) -> str:
    found = element.find(path)
    assert found is not None and found.text
    return found.text


def test_the_job_has_the_bundles_chunks_and_needs(shot_of: ShotOf) -> None:
    shot = shot_of(5)
    spec = specification(shot, shot.bundle("identity", 3))
    assert (text(spec, "show"), text(spec, "user"), text(spec, "job/maxretries")) == ("testing", "artist", "3")
    matte, verify = spec.findall("job/layers/layer")
    assert (text(matte, "range"), text(matte, "chunk"), text(matte, "cores")) == ("1001-1005", "3", "2.0")
    assert text(matte, "memory").endswith("m")
    assert "--first=#IFRAME# --memory-status=33 --server=auto" in text(matte, "cmd")
    assert (text(verify, "range"), text(spec, "depends/depend/deplayer")) == ("1001", "verify")
    assert text(spec, "depends/depend/onlayer") == "matte"


def test_a_comp_that_opencue_does_not_get_is_told(shot_of: ShotOf) -> None:
    shot = shot_of(2)
    bundle = shot.bundle("identity", 2, "--nuke-script", str(shot.folder / "shot.nk"), "--nuke-write", "Write7")
    printed = shot.here("farm", "submit", str(bundle), "--opencue", "--show", "testing", "--shot", "s010", "--print")
    assert printed.returncode == 0
    assert "no layer for the comp: render Write7 once verify is done" in printed.stderr


def test_a_show_is_asked_for(shot_of: ShotOf) -> None:
    shot = shot_of(2)
    refused = shot.here("farm", "submit", str(shot.bundle("identity", 2)), "--opencue")
    assert refused.returncode == 2
    assert "--show NAME" in refused.stderr


def test_a_cuebot_that_does_not_answer_is_named(shot_of: ShotOf) -> None:
    shot = shot_of(2)
    shot.environment["CUEBOT_HOSTS"] = f"127.0.0.1:{free_port()}"
    bundle = shot.bundle("identity", 2)
    failed = shot.mattebridge("farm", "submit", str(bundle), "--opencue", "--show", "testing", "--shot", "s010")
    assert failed.returncode == 4
    assert f"configured cuebot hosts: {shot.environment['CUEBOT_HOSTS']}" in failed.stderr


@dataclass
class Cuebot:
    """What RQD needs of a Cuebot: somebody to report to. Cuts ranges and fills in tokens as Cuebot does."""

    rqd: Any
    finished: queue.Queue[Any]
    shot: FarmShot

    def run(self, layer: ElementTree.Element) -> list[int]:
        """Run a layer's chunks one after the other; their exit statuses."""
        from mattebridge.frames import FrameSet

        chunks = FrameSet.parse(text(layer, "range")).chunks(int(text(layer, "chunk")))
        return [self._frame(layer, chunk.first) for chunk in chunks]

    def _frame(self, layer: ElementTree.Element, first: int) -> int:
        from opencue_proto import rqd_pb2

        name = f"{first:04d}-{layer.get('name')}"
        frame = rqd_pb2.RunFrame(
            job_id="job", job_name="matte", frame_id=name, frame_name=name, layer_id=str(layer.get("name")),
            resource_id=name, command=text(layer, "cmd").replace("#IFRAME#", str(first)), user_name="artist",
            uid=1000, gid=1000, show="testing", shot="s010", num_cores=100, ignore_nimby=True,
            log_dir=str(self.shot.folder / "logs"), environment=self.shot.whole_environment(),
        )  # fmt: skip
        self.rqd.LaunchFrame(rqd_pb2.RqdStaticLaunchFrameRequest(run_frame=frame), timeout=20)
        report = self.finished.get(timeout=60)
        assert report.frame.frame_name == name
        return int(report.exit_status)

    def log(self) -> str:
        return "".join(file.read_text() for file in (self.shot.folder / "logs").glob("*.rqlog"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def cuebot(shot_of: ShotOf, tmp_path: Path) -> Iterator[Cuebot]:
    pytest.importorskip("rqd", reason="opencue_rqd is not installed")
    if not Path("/usr/bin/time").exists() or shutil.which("taskset") is None:
        pytest.skip("RQD needs /usr/bin/time, which this machine lacks")
    import grpc
    from opencue_proto import report_pb2, report_pb2_grpc, rqd_pb2_grpc

    started, finished = queue.Queue[Any](), queue.Queue[Any]()

    class Reports(report_pb2_grpc.RqdReportInterfaceServicer):
        def ReportRqdStartup(self, request: Any, context: Any) -> Any:
            started.put(request)
            return report_pb2.RqdReportRqdStartupResponse()

        def ReportRunningFrameCompletion(self, request: Any, context: Any) -> Any:
            finished.put(request.frame_complete_report)
            return report_pb2.RqdReportRunningFrameCompletionResponse()

        def ReportStatus(self, request: Any, context: Any) -> Any:
            return report_pb2.RqdReportStatusResponse()

    listener = grpc.server(ThreadPoolExecutor(4))
    report_pb2_grpc.add_RqdReportInterfaceServicer_to_server(Reports(), listener)
    ours, theirs = listener.add_insecure_port("127.0.0.1:0"), free_port()
    listener.start()
    config = tmp_path / "rqd.conf"
    config.write_text(
        f"[Override]\nRQD_GRPC_PORT = {theirs}\nCUEBOT_GRPC_PORT = {ours}\nOVERRIDE_CUEBOT = 127.0.0.1\n"
        "OVERRIDE_NIMBY = False\nRQD_BECOME_JOB_USER = False\nOVERRIDE_CORES = 2\n"
    )
    output = (tmp_path / "rqd.log").open("w")
    rqd = subprocess.Popen([sys.executable, "-m", "rqd", "-c", str(config), "--nimbyoff"], stdout=output, stderr=output)
    try:
        try:
            started.get(timeout=40)
        except queue.Empty:
            pytest.fail(f"RQD did not report:\n{(tmp_path / 'rqd.log').read_text()[-2000:]}")
        with grpc.insecure_channel(f"127.0.0.1:{theirs}") as channel:
            grpc.channel_ready_future(channel).result(timeout=20)
            yield Cuebot(rqd_pb2_grpc.RqdInterfaceStub(channel), finished, shot_of(5))
    finally:
        rqd.kill()
        rqd.wait()
        output.close()
        listener.stop(None).wait()


def test_a_real_rqd_runs_the_chunks_and_the_verification(cuebot: Cuebot) -> None:
    shot = cuebot.shot
    matte, verify = specification(shot, shot.bundle("identity", 3)).findall("job/layers/layer")
    assert cuebot.run(matte) == [0, 0]
    assert all(shot.result(frame).exists() for frame in shot.frames)
    assert cuebot.run(verify) == [0]
    shot.path("plate", 1005).write_bytes(b"")
    shot.result(1005).unlink()
    assert cuebot.run(matte) == [0, 3]
    assert "frame 1005 is empty" in cuebot.log()
    assert cuebot.run(verify) == [3]
