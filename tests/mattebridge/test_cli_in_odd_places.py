"""The command as a process where little is as it should be: closed pipes, full disks, other encodings, no home."""

import json
import os
import subprocess
import sys

import pytest
from small_server import SmallServer, Story

from mattebridge import keys
from mattebridge import messages as m

MATTE = ["matte", "--plate", "/p.####.exr", "--mask", "/m.####.exr", "--out", "/o.####.exr", "--frames", "1001-1003"]
HOMELESS = ("-c", "import pwd, sys; pwd.getpwuid = {}.__getitem__; from mattebridge.cli import main; sys.exit(main())")
"""The command for a user whom the system does not know."""
posix = pytest.mark.skipif(sys.platform == "win32", reason="pipes, encodings and folders of POSIX")


@pytest.fixture
def environment(settings):
    """A clean environment: no home, no locale, no user; folders of this test."""
    folders = {"RUNTIME": settings.runtime_dir, "CONFIG": settings.config_dir, "STATE": settings.state_dir}
    return {"PATH": os.environ["PATH"], **{f"MATTEBRIDGE_{name}": str(folder) for name, folder in folders.items()}}


@pytest.fixture
def server(environment, settings, server_keys):
    """A server for ``matte``; its job fails with BAD_FRAME after two frames."""
    story = Story()
    story.events_for = lambda key, job: [
        m.Queued(key, 1, 0.0),
        m.Started(key, 2, 0.0, 3),
        m.Failed(key, 3, 0.0, m.ErrorInfo("BAD_FRAME", "truncated", "render it again", "/p.1003.exr", 1003)),
    ]
    own = keys.load_or_create(settings.client_key_file)
    with SmallServer(story, keys=server_keys, allowed=[own.public]) as running:
        environment["MATTEBRIDGE_SERVER"] = running.endpoint
        environment["MATTEBRIDGE_SERVER_KEY"] = server_keys.public
        yield running


def start(environment, *words, program=("-m", "mattebridge"), **streams):
    command = [sys.executable, *program, *words]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.Popen(command, env=environment, **streams)


def run(environment, *words, **streams):
    with start(environment, *words, **streams) as child:
        out, err = child.communicate(timeout=60)
    return child.returncode, (out or b"").decode(), (err or b"").decode()


@posix
@pytest.mark.parametrize("flags", [["--json"], []])
def test_a_reader_that_leaves_changes_neither_the_job_nor_the_exit_status(flags, server, environment):
    reading, writing = os.pipe()
    os.close(reading)
    broken = {"stdout" if flags else "stderr": writing}
    try:
        status, out, err = run(environment, *MATTE, *flags, **broken)
        refused = run(environment, *MATTE, *flags, "--model", "forbidden", **broken)
    finally:
        os.close(writing)
    assert status == 3, "as the job ended, not as the pipe did"
    assert refused[0] == 7
    assert "Traceback" not in out + err + refused[1] + refused[2]


@posix
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_output_that_is_closed_changes_neither_the_job_nor_the_exit_status(closed, server, environment):
    for words, status in (([*MATTE, "--json"], 3), (MATTE, 3), (["models"], 0)):
        command = ["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, "-m", "mattebridge", *words]
        ran = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
        assert ran.returncode == status, ran.stderr
        assert b"Traceback" not in ran.stdout + ran.stderr and b"unexpected" not in ran.stdout + ran.stderr


@posix
def test_a_reader_that_has_seen_enough_of_a_list_ends_the_command_quietly(server, environment):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        assert run(environment, "models", stdout=writing) == (0, "", "")
    finally:
        os.close(writing)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_a_full_disk_under_the_output_is_an_error_with_a_remedy(server, environment):
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        status, _, err = run(environment, "models", stdout=full)
    assert status == 3 and err.startswith("mattebridge: ") and "No space left" in err and "Traceback" not in err


@posix
def test_a_terminal_without_the_letters_of_a_name_gets_them_escaped(server, environment):
    environment |= {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "1"}
    status, out, err = run(environment, *MATTE, "--label", "Größe", "--model", "frei→gabe")
    assert status == 3 and "Traceback" not in out + err and "3 frames" in err


@posix
def test_a_name_that_is_not_utf8_is_refused_by_its_flag(server, environment):
    status, out, _ = run(environment, *MATTE, "--core", os.fsdecode(b"/shots/k\xf6rper.exr"), "--json")
    error = json.loads(out)
    assert status == error["exit_status"] == 2
    assert (
        error["message"].startswith("core is not UTF-8: '/shots/k\\udcf6rper.exr'") and "PYTHONUTF8" in error["remedy"]
    )


@posix
def test_folders_that_cannot_be_made_are_named_with_the_variable_to_set(environment, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    environment["MATTEBRIDGE_RUNTIME"] = str(tmp_path / "file" / "runtime")
    status, _, err = run(environment, "serve", "--detach")
    assert status == 7 and "file/runtime" in err and "MATTEBRIDGE_RUNTIME" in err and "Traceback" not in err


@posix
@pytest.mark.parametrize("words", [["status"], ["serve"], ["doctor"], ["models", "--server", "local"]])
def test_a_user_without_a_home_is_told_which_variables_to_set(environment, words):
    bare = {name: value for name, value in environment.items() if not name.startswith("MATTEBRIDGE")}
    status, _, err = run(bare, *words, program=HOMELESS)
    assert status == 2 and "no home folder" in err and "MATTEBRIDGE_STATE" in err


@posix
def test_a_user_without_a_home_who_named_the_folders_needs_none(environment):
    status, out, err = run(environment, "models", "--server", "local", program=HOMELESS)
    assert (status, err) == (0, "") and "edge" in out
    status, _, err = run(environment, "models", "pull", "lama", program=HOMELESS)
    assert status == 2 and "--models-dir" in err


@posix
def test_a_config_folder_that_cannot_be_made_ends_the_command_instead_of_hanging_it(environment, server_keys, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    environment["MATTEBRIDGE_CONFIG"] = str(tmp_path / "file" / "config")
    words = ["status", "--server", "tcp://127.0.0.1:1", "--server-key", server_keys.public]
    status, _, err = run(environment, *words)
    assert status == 7 and "MATTEBRIDGE_CONFIG" in err


def test_without_home_user_and_locale_a_job_runs_to_its_end(server, environment):
    status, out, err = run(environment, *MATTE)
    assert (status, out) == (3, "") and "3 frames" in err and "render it again" in err and "1003" in err
