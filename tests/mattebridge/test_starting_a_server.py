"""A server started by a client: outside its process tree, one however many ask, and its log where it dies early."""

import dataclasses
import os
import sys
import threading
from pathlib import Path

import pytest

from mattebridge import Client, launch, rendezvous
from mattebridge.errors import InputError, ServerError
from mattebridge.settings import Settings

pytest.importorskip("mattebridge_server.broker.main", reason="needs mattebridge[server]")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="looks at process groups")]


@pytest.fixture
def own_settings(settings):
    yield settings
    found = rendezvous.read_alive(settings.runtime_dir)
    if found is not None:
        with Client.connect("auto", settings=settings) as client:
            client.stop(now=True)
        _gone(found.pid)


def test_two_clients_that_start_a_server_at_once_get_the_same_one(own_settings):
    found, failed = [], []

    def start():
        try:
            with Client.connect("auto", settings=own_settings, start=True) as client:
                found.append(client.status().pid)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and len(found) == 2 and len(set(found)) == 1
    assert os.getsid(found[0]) not in (os.getsid(0), 0), "in a session of its own"
    parent = int(Path(f"/proc/{found[0]}/stat").read_text().rpartition(") ")[2].split()[1])
    assert parent != os.getpid(), "not below the process that asked for it"


def test_what_a_host_application_sets_for_itself_does_not_reach_the_server(own_settings, monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere/startup.py")
    found = launch.start_server(own_settings)
    environment = Path(f"/proc/{found.pid}/environ").read_bytes().split(b"\0")
    names = {entry.partition(b"=")[0].decode() for entry in environment}
    assert not names & set(launch.HOST_VARIABLES)
    assert launch.start_server(own_settings) == found, "a second start finds the first"


def test_a_server_that_dies_at_once_is_noticed_and_its_log_shown(own_settings):
    with pytest.raises(InputError, match=r"no-such-site\.toml"):  # not ServerError: trying again is of no use
        launch.start_server(own_settings, ["--site", "/nowhere/no-such-site.toml"])
    assert "no-such-site.toml" in launch.log_tail(own_settings.server_log)


def test_where_no_python_is_known_the_remedy_says_what_to_set(monkeypatch):
    settings = dataclasses.replace(Settings.from_environment({"HOME": "/"}), server_python="")
    monkeypatch.setattr(sys, "executable", "/opt/Nuke16.0/Nuke16.0")
    monkeypatch.setattr(launch.shutil, "which", lambda _: None)
    with pytest.raises(ServerError, match="MATTEBRIDGE_SERVER_PYTHON"):
        launch.server_command(settings)
    monkeypatch.setattr(launch.shutil, "which", lambda _: "/usr/bin/mattebridge")
    assert launch.server_command(settings) == ["/usr/bin/mattebridge"]
    chosen = dataclasses.replace(settings, server_python="/venv/bin/python")
    assert launch.server_command(chosen) == ["/venv/bin/python", "-m", "mattebridge"]


def _gone(pid):
    from small_server import wait_until

    wait_until(lambda: not rendezvous.process_alive(pid), 30, "the server's end")
