"""The command against a real server on a real socket: what goes to which stream, and which status it ends with."""

import json
import os
import re
import signal
import socket
import subprocess
import sys

import pytest
from small_server import SmallServer, Story, shot_events, wait_until

from mattebridge import cli, keys, rendezvous
from mattebridge import messages as m
from mattebridge.cli.output import Teller, duration, size, summary
from mattebridge.errors import error_classes
from mattebridge.job_stream import LOST_STAGE
from mattebridge_server.models.edge import Edge

MATTE = ["matte", "--plate", "/p.####.exr", "--mask", "/m.####.exr", "--out", "/o.####.exr", "--frames", "1001-1003"]
COMMANDS = [
    "demo",
    "serve",
    "plan",
    "matte",
    "status",
    "jobs",
    "cancel",
    "models",
    "describe",
    "doctor",
    "eval",
    "stop",
]


@pytest.fixture
def story():
    return Story()


@pytest.fixture
def environment(settings, monkeypatch):
    """The command's environment: folders of this test, nothing of the developer's."""
    found = {
        "MATTEBRIDGE_RUNTIME": str(settings.runtime_dir),
        "MATTEBRIDGE_CONFIG": str(settings.config_dir),
        "MATTEBRIDGE_STATE": str(settings.state_dir),
        "MATTEBRIDGE_LOST_TIMEOUT": "10",
    }
    for name in ("OCIO", "MATTEBRIDGE_SERVER", "MATTEBRIDGE_SERVER_KEY", "MATTEBRIDGE_SITE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def server(environment, settings, server_keys, story):
    """A server that ``auto`` finds."""
    own = keys.load_or_create(settings.client_key_file)
    with SmallServer(story, keys=server_keys, allowed=[own.public]) as running:
        rendezvous.write(
            settings.runtime_dir,
            rendezvous.Rendezvous(
                running.endpoint, server_keys.public, os.getpid(), socket.gethostname(), "1.0", "boot-1", "0", 0.0
            ),
        )
        yield running


def run(capsys, *words):
    status = cli.main(list(words))
    told = capsys.readouterr()
    return status, told.out, told.err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main([command, "--help"])
    assert left.value.code == 0
    assert f"usage: mattebridge {command}" in capsys.readouterr().out


def test_help_lists_the_commands_and_teaches_with_examples(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    told = capsys.readouterr().out
    assert all(f"\n    {command} " in told for command in COMMANDS) and "examples:" in told


def test_the_examples_of_matte_name_parameters_that_edge_has(capsys):
    with pytest.raises(SystemExit):
        cli.main(["matte", "--help"])
    named = set(re.findall(r"--model edge --param (\w+)=", capsys.readouterr().out))
    assert named and named <= {param.name for param in Edge.card.params}


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["matte"],
        ["matte", "--plate", "p"],
        [*MATTE, "--frames", "9-1"],
        [*MATTE, "--param", "x"],
        [*MATTE, "--look", "nice"],
        [*MATTE, "--server", "gibberish"],
        [*MATTE, "--point", "1001:a,b"],
        [*MATTE, "--queue-timeout", "-1"],
        [*MATTE, "--run-timeout", "nan"],
        ["serve", "--metrics-port", "99999"],
        ["serve", "--idle-exit", "-1"],
        ["serve", "--queue-jobs", "-1"],
        ["serve", "--threads", "-3"],
        ["serve", "--device", "gpu9"],
        ["serve", "--bind", "tcp://127.0.0.1:99999"],
        ["serve", "--bind", "127.0.0.1:port"],
    ],
)
def test_usage_errors_end_with_2_and_a_remedy(words, environment, capsys):
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "") and err.startswith("mattebridge: ")


def test_names_that_a_shell_put_in_place_of_a_pattern_are_known_for_that(environment, capsys):
    plates = [f"plate.{number}.exr" for number in range(1001, 1101)]
    status, _, err = run(capsys, "matte", "--plate", *plates, "--mask", "m.####.exr", "--out", "o.####.exr")
    assert status == 2 and "--plate 'plate.####.exr'" in err and "and 96 more" in err
    assert "`mattebridge matte --help`" in err and len(err) < 400


def test_matte_shows_progress_and_says_where_the_files_are(server, capsys):
    status, out, err = run(capsys, *MATTE)
    assert status == 0
    assert out.startswith("done: 3 frames") and "/o.####.exr" in out
    assert "3 frames with edge" in err


def test_json_is_one_event_a_line_and_nothing_else_on_stdout(server, story, capsys):
    status, out, _err = run(capsys, *MATTE, "--json")
    events = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert [event["event"] for event in events] == ["QUEUED", "STARTED", "FRAME", "FRAME", "FRAME", "DONE"]
    assert [event["seq"] for event in events] == [1, 2, 3, 4, 5, 6] and events[2]["path"] == "/srv/a.1001.exr"


def test_the_request_says_what_the_flags_say(server, story, tmp_path, capsys):
    prompts = tmp_path / "prompts.json"
    prompts.write_text('[{"frame": 1002, "points": [[0.1, 0.2], [0.3, 0.4, 0]], "layer": "hero"}]')
    words = "--view left --model identity --param radius=3 --param soft=true --param gain=.5 --param mode=x --preset hd"
    words += " --plate-space ACEScg --config ocio://cg-config-v2.1.0_aces-v1.3_ocio-v2.3 --context SHOT=sh010"
    words += (
        " --look srgb --plate-layer beauty --mask-channel R --mask-invert --mask-fit crop --core c.exr --fgr f.####.exr"
    )
    words += " --priority batch --overwrite --fallback --label hero --key my-job --point 1001:.5,.6 --box 1003:0,0,1,1"
    words += f" --queue-timeout 9 --show show --prompts {prompts}"
    status, _, _ = run(capsys, *MATTE, *words.split())
    body = story.bodies["my-job"]
    assert status == 0
    assert body.params == {"radius": 3, "soft": True, "gain": 0.5, "mode": "x"}
    assert body.core == os.path.abspath("c.exr")  # noqa: PTH100
    assert body.prompts == (
        m.PromptInfo(1002, "hero", (0.1, 0.2, 1.0, 0.3, 0.4, 0.0)),
        m.PromptInfo(1001, points=(0.5, 0.6, 1.0)),
        m.PromptInfo(1003, box=(0.0, 0.0, 1.0, 1.0)),
    )
    assert (body.view, body.model, body.preset, body.plate_space, body.show) == (
        "left",
        "identity",
        "hd",
        "ACEScg",
        "show",
    )
    assert (body.context, body.look, body.plate_layer) == ({"SHOT": "sh010"}, "srgb", "beauty")
    assert (body.mask_channel, body.mask_invert, body.mask_fit) == ("R", True, "crop")
    assert (body.priority, body.overwrite, body.fallback, body.label) == ("batch", True, True, "hero")
    assert body.queue_timeout_s == 9.0


@pytest.mark.parametrize("code", sorted(error_classes()))
def test_every_way_to_fail_has_its_exit_status(code, server, story, capsys):
    expected = error_classes()[code].exit_status
    story.events_for = lambda key, job: [m.Failed(key, 1, 0.0, m.ErrorInfo(code, "it went wrong", "mend it"))]
    status, out, err = run(capsys, *MATTE, "--json")
    assert status == expected
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["FAILED"]
    assert "it went wrong" in err and "mend it" in err


def test_an_error_before_any_event_is_an_event_too(server, capsys):
    status, out, _ = run(capsys, *MATTE, "--json", "--model", "forbidden")
    (line,) = out.splitlines()
    assert status == 7 and json.loads(line)["code"] == "LICENCE_REFUSED" and json.loads(line)["exit_status"] == 7


def test_an_unreachable_server_ends_with_4(environment, capsys):
    status, out, err = run(capsys, "status")
    assert (status, out) == (4, "") and "mattebridge serve" in err


def test_a_wrong_key_ends_with_7(environment, server_keys, capsys):
    with SmallServer(keys=server_keys, allowed=[]) as server:
        status, _, err = run(capsys, "status", "--server", server.endpoint, "--server-key", server_keys.public)
    assert status == 7 and "client.pub" in err


def test_a_key_that_begins_with_a_minus_is_no_flag(environment, capsys):
    key = "-" + "a" * 39
    assert run(capsys, "status", "--server", "ipc:///nowhere", "--server-key", key)[0] != 2
    assert cli._values_joined(["serve", "--allow-client", key, "--root", "/x"]) == [
        "serve",
        f"--allow-client={key}",
        "--root",
        "/x",
    ]


@pytest.mark.parametrize("frames", ["-7--5", "-5,2", "-10-10x5", "-3"])
def test_frames_before_0_are_no_flag(frames, server, story, capsys):
    words = ["matte", "--plate", "/p.####.exr", "--mask", "/m.####.exr", "--out", "/a.####.exr"]
    assert run(capsys, *words, "--shot", "-10-10", "--frames", frames)[0] == 0
    body = next(iter(story.bodies.values()))
    assert (body.frames, body.shot) == (frames, "-10-10")


def test_plan_is_written_as_the_server_made_it(server, story, tmp_path, capsys):
    story.events_for = lambda key, job: [m.Done(key, 1, 0.0)]
    server.tell = lambda peer, key, *_: server.send(peer, m.Done(key, 1, 0.0), [b'{"version": 1}'])
    words = ["plan", "--plate", "/p.####.exr", "--mask", "/m.####.exr", "--shot", "1001-1003"]
    status, out, _ = run(capsys, *words, "--out", str(tmp_path / "deep" / "shot.json"))
    assert (status, out) == (0, "")
    kept = json.loads((tmp_path / "deep" / "shot.json").read_text())
    assert kept["version"] == 1 and kept["request"]["plate"] == "/p.####.exr"
    status, out, _ = run(capsys, *words)
    assert status == 0 and json.loads(out)["version"] == 1
    body = next(iter(story.bodies.values()))
    assert body.kind == "plan" and body.frames == body.shot == "1001-1003"


def test_detach_prints_the_key_and_jobs_can_follow_it(server, story, capsys):
    status, out, _ = run(capsys, *MATTE, "--detach")
    key = out.strip()
    assert status == 0 and key in story.jobs
    assert story.bodies[key].priority == "batch"  # an interactive job ends soon after the client that leaves it
    status, out, _ = run(capsys, *MATTE, "--detach", "--json")
    assert status == 0 and json.loads(out)["event"] == "ACCEPTED" and json.loads(out)["key"] in story.jobs
    status, out, err = run(capsys, "jobs", "--follow", key[:6], "--json")
    assert status == 0 and json.loads(out.splitlines()[-1])["event"] == "DONE"
    status, _, err = run(capsys, "jobs", "--follow", "zzz")
    assert status == 2 and "no job" in err


def test_status_models_describe_and_cancel_answer(server, story, capsys):
    story.jobs["0123456789"] = [m.Queued("0123456789", 1, 0.0)]
    assert "\n1 job, 0 of them waiting\n" in run(capsys, "status")[1]
    assert "01234567" in run(capsys, "jobs")[1]
    assert json.loads(run(capsys, "status", "--json")[1])["boot_id"] == "boot-1"
    assert run(capsys, "models")[1].startswith("edge")
    assert json.loads(run(capsys, "models", "--json")[1])[1]["name"] == "identity"
    assert "identity" in run(capsys, "describe", "identity")[1]
    assert run(capsys, "describe", "nothing")[0] == run(capsys, "models", "list", "edge", "nothing")[0] == 3
    assert run(capsys, "cancel", "0123")[1].split() == ["01234567", "cancelling"]


def test_doctor_finds_the_server_and_says_what_is_missing(server, capsys):
    status, out, _ = run(capsys, "doctor", "--json")
    found = {each["step"]: each["state"] for each in json.loads(out)}
    assert status == 0 and found["server"] == found["keys"] == found["rendezvous"] == found["protocol"] == "OK"


def test_doctor_fails_where_a_server_refuses_us(environment, server_keys, capsys):
    with SmallServer(keys=server_keys, allowed=[]) as server:
        status, out, _ = run(capsys, "doctor", "--server", server.endpoint, "--server-key", server_keys.public)
    assert status == 4 and "FAIL  auth" in out and "→" in out


def test_a_command_whose_packages_are_missing_says_what_to_install(environment, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mattebridge_server.demo.run", None)
    status, _, err = run(capsys, "demo")
    assert status == 2 and "pip install -c constraints.txt '.[server]'" in err
    monkeypatch.setitem(sys.modules, "mattebridge_server.engine.local", None)
    status, _, err = run(capsys, *MATTE)
    assert status == 2 and "pip install -c constraints.txt '.[server]'" in err and "--server tcp://HOST:PORT" in err


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_ctrl_c_or_sigterm_cancels_and_waits_and_the_second_leaves(server, story, environment, number):
    server.hold = True
    for presses in (1, 2):
        story.jobs.clear()
        server._on_cancel = SmallServer._on_cancel.__get__(server) if presses == 1 else lambda *_: None
        command = [sys.executable, "-m", "mattebridge", *MATTE]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            wait_until(lambda: len(story.jobs) == 1, 30, "the submit")
            key = next(iter(story.jobs))
            wait_until(lambda key=key: key in server.peer_of, what="its acceptance")
            server.do(lambda key=key: server.tell(server.peer_of[key], key, 0, 2))
            assert "queued" in child.stderr.readline()
            cancels = server.count(m.Cancel)
            child.send_signal(number)
            wait_until(lambda before=cancels: server.count(m.Cancel) > before, what="the cancel")
            if presses == 2:
                child.send_signal(number)
            _, err = child.communicate(timeout=20)
        finally:
            child.kill()
            child.communicate()
        assert child.returncode == 6, err
        assert "press Ctrl-C again" in err


class Terminal:
    def __init__(self):
        self.written = ""

    def write(self, text):
        self.written += text

    def flush(self):
        pass


def teller(terminal, seconds=0.0):
    clock = [seconds]
    stream = Terminal()
    return Teller(stream, terminal, columns=60, clock=lambda: clock[0]), stream, clock


def test_a_terminal_gets_one_line_that_is_redrawn():
    shown, stream, clock = teller(True)
    for event in shot_events("k", range(1001, 1101)):
        clock[0] += 0.5
        shown.event(event)
        shown.event(m.Progress("k", "matte", min(100, event.seq), 100, 1000 + event.seq, 2.0, 50.0))
    assert stream.written.count("\n") == 2, "queued and started stay, the rest is redrawn"
    assert "frame 7 of 100" in stream.written and "2.0 fps" in stream.written and "0:50 left" in stream.written
    assert all(len(line) < 60 for line in stream.written.replace("\n", "\r").split("\r"))


def test_frames_that_were_kept_are_not_counted_among_those_to_make():
    shown, stream, clock = teller(True)
    shown.event(m.Started("k", 1, 0.0, frames=2, fresh=3, model="edge"))
    for number, kept in ((1001, True), (1002, True), (1003, True), (1004, False)):
        clock[0] += 1.0
        shown.event(m.FrameDone("k", number - 999, 0.0, number, kept=kept))
    assert "frame 1 of 2" in stream.written and "frame 2 of 2" not in stream.written


def test_a_warning_leaves_the_progress_line_standing():
    shown, stream, _ = teller(True)
    shown.event(m.Progress("k", "solve", 1, 100, 1002, 0.4, 250.0))
    shown.event(m.Warning_("k", 2, 0.0, "MASK", "the mask is empty", 1007))
    assert stream.written.endswith("[MASK]\n\rframe 1 of 100  solve 1002  2.5 s a frame  4:10 left")


def test_a_note_does_not_take_the_progress_line_away():
    shown, stream, clock = teller(True)
    shown.event(m.Progress("k", "load edge"))
    shown.event(m.Progress("k", "plan", 0, 100))  # too soon after the other to be drawn on its own
    clock[0] += 1
    shown.event(m.Warning_("k", 2, 0.0, "MASK", "the mask is empty", 1007))
    assert stream.written.endswith("[MASK]\n\rframe 0 of 100  plan")
    shown.event(m.Done("k", 3, 0.0, 100))
    assert stream.written.endswith("\r") and not stream.written.splitlines()[-1].strip()


def test_a_job_that_begins_again_shows_neither_old_counts_nor_a_time_that_is_left():
    shown, stream, clock = teller(True)

    def drawn(event):
        clock[0] += 1.0
        shown.event(event)
        return stream.written.replace("\n", "\r").split("\r")[-1].rstrip()

    drawn(m.Started("k", 1, 0.0, frames=12, model="edge"))
    assert drawn(m.Progress("k", "steady", 3, 12, 1003, 0.5, 18.0)).endswith("0:18 left")
    assert drawn(m.Progress("k", LOST_STAGE)) == f"frame 3 of 12  {LOST_STAGE}"
    drawn(m.Warning_("k", 5, 0.0, "SERVER_RESTARTED", "the server was started again; the job goes on"))
    assert not drawn(m.Queued("k", 6, 0.0)), "the line of the lost server is gone"
    assert drawn(m.Progress("k", "load edge")) == "load edge"
    assert drawn(m.Progress("k", "masks", 0, 9, 1008)) == "frame 0 of 9  masks 1008"


def test_a_log_says_at_once_that_the_connection_was_lost():
    shown, stream, clock = teller(False)
    shown.event(m.Progress("k", "steady", 3, 12, 1003, 0.5, 18.0))
    clock[0] += 1.0
    shown.event(m.Progress("k", LOST_STAGE))
    assert stream.written.splitlines()[-1] == f"frame 3 of 12  {LOST_STAGE}"


def test_a_log_gets_a_line_every_few_seconds():
    shown, stream, clock = teller(False)
    for number in range(1, 101):
        clock[0] += 0.5
        shown.event(m.Progress("k", "matte", number, 100, 1000 + number, 2.0, (100 - number) / 2))
    assert 8 <= stream.written.count("\n") <= 11 and "\r" not in stream.written


def test_a_waiting_job_shows_its_place_and_warnings_stay():
    shown, stream, _ = teller(True)
    shown.event(m.Progress("k", "waiting for a place in the queue", position=3))
    shown.event(m.Queued("k", 1, 0.0, 2, "ben: sh020"))
    shown.event(m.Warning_("k", 2, 0.0, "MASK", "the mask is empty", 1007))
    assert "3 ahead" in stream.written and "queued, 2 ahead (running: ben: sh020)" in stream.written
    assert "warning: frame 1007: the mask is empty [MASK]\n" in stream.written and shown.warnings == 1


def test_figures_are_written_for_people():
    assert [duration(s) for s in (0.2, 65, 3723)] == ["0:00", "1:05", "1:02:03"]
    assert [size(b) for b in (12, 2048, 5 * 1024**3)] == ["12 B", "2.0 KiB", "5.0 GiB"]
    done = m.Done("k", 9, 0.0, written=90, kept=10, facts={"licence": "Apache-2.0"})
    told = summary(done, m.JobRequest("p", out="/a.####.exr", fgr="/f.####.exr"), 30.0, 1)
    assert "100 frames (90 written, 10 kept from before) in 0:30, 3.00 fps" in told
    assert "/f.####.exr" in told and "1 warning," in told and "Apache-2.0" in told


def test_a_fault_of_ours_is_one_line_and_a_status_that_scripts_know(monkeypatch, capsys):
    from mattebridge.cli import jobs

    def broken(_args):
        raise ZeroDivisionError("by accident")

    monkeypatch.setattr(jobs, "run", broken)
    assert cli.main(["status", "--json"]) == 4
    told = capsys.readouterr()
    assert json.loads(told.out)["code"] == "INTERNAL" and "Traceback" not in told.err
    assert "an unexpected failure: ZeroDivisionError: by accident. Run it again with MATTEBRIDGE_DEBUG=1" in told.err
