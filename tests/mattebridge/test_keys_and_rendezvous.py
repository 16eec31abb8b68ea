"""Keys only their owner can read, a rendezvous that is never half written, and servers that are gone taken for gone."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import threading

import pytest

from mattebridge import keys, rendezvous
from mattebridge.errors import AuthRefused, Refused, UsageError
from mattebridge.settings import Settings, private_folder

LISTENER = socket.create_server(("127.0.0.1", 0))
ENDPOINT = f"tcp://127.0.0.1:{LISTENER.getsockname()[1]}"
HERE = rendezvous.Rendezvous(ENDPOINT, "k" * 40, os.getpid(), socket.gethostname(), "1.0", "b", "0.1", 1.5)


def test_a_pair_is_made_once_and_only_its_owner_can_read_it(tmp_path):
    path = tmp_path / "config" / "client.key"
    pair = keys.load_or_create(path)
    assert keys.load_or_create(path) == pair and keys.is_key(pair.public) and keys.is_key(pair.secret)
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert path.with_suffix(".pub").read_text().strip() == pair.public
    assert pair.secret not in repr(pair)
    assert sorted(each.name for each in path.parent.iterdir()) == ["client.key", "client.pub"]


def test_two_who_come_at_once_get_the_same_pair(tmp_path):
    path, found = tmp_path / "server.key", []
    threads = [threading.Thread(target=lambda: found.append(keys.load_or_create(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({pair.secret for pair in found}) == 1 and len(found) == 8


def test_a_key_file_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "client.key"
    keys.load_or_create(path)
    path.chmod(0o640)
    with pytest.raises(AuthRefused, match="chmod 600"):
        keys.load_or_create(path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"public": 1, "secret": 2}', '{"public": "short", "secret": "x"}'])
def test_what_is_no_key_file_is_refused(tmp_path, text):
    path = tmp_path / "client.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(AuthRefused):
        keys.load_or_create(path)


def test_an_allow_list_has_one_client_a_line(tmp_path):
    one, two = (keys.load_or_create(tmp_path / name).public for name in ("a.key", "b.key"))
    path = tmp_path / "allowed"
    path.write_text(f"# the night shift\n\n{one}  anna admin anew\n{two} ben admin\n#\n")
    assert keys.read_allowed(str(path)) == (keys.AllowedKey(one, "anna admin anew"), keys.AllowedKey(two, "ben", True))
    assert keys.read_allowed(one) == (keys.AllowedKey(one),)
    assert keys.read_allowed(str(tmp_path / "a.key")) == (keys.AllowedKey(one),)
    assert keys.read_public(str(tmp_path / "a.pub")) == one
    path.write_text("not a key\n")
    with pytest.raises(UsageError, match="line 1"):
        keys.read_allowed(str(path))
    with pytest.raises(UsageError):
        keys.read_allowed(str(tmp_path / "nothing"))


def test_a_key_that_begins_with_a_hash_is_no_comment(tmp_path):
    key = "#" + "a" * 39
    (tmp_path / "allowed").write_text(f"{key} hash\n")
    assert keys.read_allowed(str(tmp_path / "allowed")) == (keys.AllowedKey(key, "hash"),)


def test_the_rendezvous_is_written_whole_and_read_back(tmp_path):
    folder = tmp_path / "runtime"
    path = rendezvous.write(folder, HERE)
    assert rendezvous.read(folder) == HERE == rendezvous.read_alive(folder)
    assert path.stat().st_mode & 0o777 == 0o600 and list(folder.iterdir()) == [path]
    rendezvous.remove(folder, "another boot")
    assert rendezvous.read(folder) == HERE
    rendezvous.remove(folder, "b")
    assert rendezvous.read(folder) is None


def test_a_server_that_was_killed_is_gone(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    rendezvous.write(tmp_path, dataclasses.replace(HERE, pid=child.pid))
    assert rendezvous.read_alive(tmp_path) is not None
    child.kill()
    assert _ended(child.pid), "a zombie is no server"
    assert rendezvous.read_alive(tmp_path) is None
    child.communicate()
    assert rendezvous.read_alive(tmp_path) is None


@pytest.mark.parametrize("scheme", ["tcp", "ipc"])
def test_another_program_with_the_killed_servers_process_id_is_no_server(tmp_path, scheme):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        nobody = f"tcp://127.0.0.1:{gone.getsockname()[1]}" if scheme == "tcp" else f"ipc://{tmp_path}/server.sock"
    rendezvous.write(tmp_path, dataclasses.replace(HERE, endpoint=nobody))
    assert rendezvous.read_alive(tmp_path) is None


def test_about_another_host_nothing_can_be_known(tmp_path):
    assert not rendezvous.is_stale(dataclasses.replace(HERE, host="elsewhere", pid=999_999_999))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', json.dumps({**dataclasses.asdict(HERE), "pid": "7"})])
def test_a_file_that_is_not_ours_is_no_server(tmp_path, text):
    rendezvous.path_of(tmp_path).write_text(text)
    assert rendezvous.read(tmp_path) is None


def test_settings_come_from_the_environment_once(tmp_path):
    found = Settings.from_environment({"XDG_RUNTIME_DIR": "/run/user/7", "HOME": "/home/anna", "USER": "anna"})
    assert (str(found.runtime_dir), str(found.config_dir)) == (
        "/run/user/7/mattebridge",
        "/home/anna/.config/mattebridge",
    )
    assert (found.user, found.server) == ("anna", "auto")
    assert str(Settings.from_environment({"MATTEBRIDGE_RUNTIME": "/x"}).runtime_dir) == "/x"
    assert str(os.getuid()) in str(Settings.from_environment({"HOME": "/"}).runtime_dir), "a folder for this user alone"
    with pytest.raises(UsageError, match="MATTEBRIDGE_LOST_TIMEOUT"):
        Settings.from_environment({"MATTEBRIDGE_LOST_TIMEOUT": "soon"})


def test_a_folder_that_others_can_enter_is_closed_and_one_of_others_refused(tmp_path, monkeypatch):
    folder = tmp_path / "runtime"
    folder.mkdir(mode=0o755)
    private_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(Refused, match="another user"):
        private_folder(folder)


def _ended(pid):
    from small_server import wait_until

    wait_until(lambda: not rendezvous.process_alive(pid), what="the child's end")
    return True
