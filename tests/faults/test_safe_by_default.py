"""Promise 19. Nobody gets in by default: tcp is always CURVE with an allow-list; other hosts need more than that."""

import os
import stat
import subprocess
import time

import pytest
import zmq
from fault_bench import until
from zmq.utils.monitor import recv_monitor_message

from mattebridge import codec, keys
from mattebridge import messages as m
from mattebridge.errors import Refused
from mattebridge.launch import serve_detached
from mattebridge_server.broker import auth
from mattebridge_server.broker.lock import broker_lock

TCP = "tcp://127.0.0.1:*"


def start_fails(broker, **args):
    """Exit status and text of a server that refuses to start."""
    broker.start(wait=False, **args)
    _, text = broker.process.communicate(timeout=20)
    return broker.process.returncode, text


def test_by_default_only_this_user_on_this_host_can_connect(broker, folder):
    broker.start()
    assert broker.endpoints == [f"ipc://{folder}/r/server.sock"]
    assert stat.S_IMODE((folder / "r").stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "c" / "server.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "c" / "client.key").stat().st_mode) == 0o600


def test_a_path_too_long_for_ipc_falls_back_to_loopback_with_curve(broker, folder):
    long = folder / ("x" * 110)
    broker.environment["MATTEBRIDGE_RUNTIME"] = str(long)
    broker.start()
    assert broker.endpoints[0].startswith("tcp://127.0.0.1:")
    broker.client().status()


@pytest.mark.parametrize("bind", ["tcp://0.0.0.0:17890", "0.0.0.0:17890", "tcp://*:17890", "tcp://[::]:17890"])
def test_other_hosts_need_roots_and_an_allow_list(broker, folder, bind):
    status, text = start_fails(broker, bind=[bind])
    assert status == 2
    assert "--root" in text
    status, text = start_fails(broker, bind=[bind], root=[str(folder)])
    assert status == 2
    assert "--allow-client" in text


def test_with_roots_and_an_allow_list_other_hosts_are_served(broker, folder):
    pair = keys.load_or_create(folder / "k" / "client.key")
    broker.start(bind=["tcp://0.0.0.0:*"], root=[str(folder)], allow_client=[str(folder / "k" / "client.pub")])
    port = broker.endpoints[1].rpartition(":")[2]
    broker.client(f"tcp://127.0.0.1:{port}", pair=pair).status()


def test_a_key_file_that_others_can_read_is_refused(broker, folder):
    (folder / "c").mkdir()
    keys.load_or_create(folder / "c" / "server.key")
    (folder / "c" / "server.key").chmod(0o644)
    status, text = start_fails(broker)
    assert status == 7
    assert "chmod 600" in text


@pytest.mark.parametrize("name", ["RUNTIME", "CONFIG", "STATE"])
def test_a_folder_that_cannot_be_used_is_named_with_the_way_out(broker, folder, name):
    (folder / "in the way").write_text("a file")
    broker.environment[f"MATTEBRIDGE_{name}"] = str(folder / "in the way" / "x")
    status, text = start_fails(broker)
    assert status == 7
    assert "REFUSED" in text and f"{folder}/in the way/x" in text and "MATTEBRIDGE_" in text
    assert "Traceback" not in text


def test_a_full_disk_under_the_runtime_folder_is_told_though_no_log_can_tell_it(broker, folder):
    (folder / "r").mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k,mode=700", "none", str(folder / "r")]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        (folder / "r" / "fills").write_bytes(bytes(4096))
        status, text = start_fails(broker)
        assert status == 7 and "No space left" in text and str(broker_lock(folder / "r").path) in text
        with pytest.raises(Refused, match="the disk of its log is full"):
            serve_detached(broker.settings, [])
    finally:
        subprocess.run(["umount", str(folder / "r")], check=True)


def why_refused(broker, pair, server_key, wanted):
    """What the socket's monitor says about a handshake until the wanted word, and whether the server answered HELLO."""
    context = zmq.Context.instance()
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    if pair is not None:
        socket.curve_publickey, socket.curve_secretkey = pair.public.encode(), pair.secret.encode()
        socket.curve_serverkey = server_key.encode()
    monitor = socket.get_monitor_socket(
        zmq.EVENT_HANDSHAKE_FAILED_AUTH
        | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
        | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        | zmq.EVENT_HANDSHAKE_SUCCEEDED
    )
    socket.connect(broker.endpoints[1])
    socket.send_multipart(codec.encode(m.Hello(1, 0)))
    events = set()
    end = time.monotonic() + 8.0
    while wanted not in events and time.monotonic() < end:
        if monitor.poll(50):
            events.add(recv_monitor_message(monitor)["event"])
    answered = bool(socket.poll(300))
    socket.disable_monitor()
    monitor.close()
    socket.close()
    return events, answered


def test_no_key_a_wrong_key_and_a_wrong_server_key_are_refused_and_told_apart(broker, folder):
    broker.start(bind=[TCP])
    stranger = keys.load_or_create(folder / "k" / "client.key")
    own = keys.load_or_create(folder / "c" / "client.key")
    server = keys.load_or_create(folder / "c" / "server.key")
    none, wrong, stale = (
        zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
        zmq.EVENT_HANDSHAKE_FAILED_AUTH,
        zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    )
    fine = zmq.EVENT_HANDSHAKE_SUCCEEDED
    events, answered = why_refused(broker, None, "", none)
    assert none in events and not answered and wrong not in events
    assert why_refused(broker, stranger, server.public, wrong) == ({wrong}, False)
    assert why_refused(broker, own, stranger.public, stale) == ({stale}, False)
    assert why_refused(broker, own, server.public, fine) == ({fine}, True)
    assert "its key is not allowed" in broker.log()


def test_while_nobody_answers_for_keys_nobody_gets_in(folder):
    """The moment between listening and answering ZAP: libzmq by itself would let every key in."""
    import asyncio

    from mattebridge_server.broker.sockets import Sockets

    server, client = (keys.load_or_create(folder / name / "x.key") for name in ("a", "b"))
    came = []

    async def listen():
        context = zmq.Context()
        sockets = Sockets(context, lambda peer, parts: came.append(peer), lambda peer: None)
        endpoint = sockets.bind(TCP, server)
        sockets.listen()
        socket = context.socket(zmq.DEALER)
        socket.curve_publickey, socket.curve_secretkey = client.public.encode(), client.secret.encode()
        socket.curve_serverkey = server.public.encode()
        socket.connect(endpoint)
        socket.send_multipart([b"HELLO", b"\x80"])
        await asyncio.sleep(0.5)
        await sockets.close()
        context.destroy(linger=0)

    asyncio.run(listen())
    assert came == []


def refusal(client):
    """The code with which a connected client is turned away; empty while it is not."""
    client.send(m.Ping(1))
    received = client.receive(0.5)
    return received[0].error.code if received and isinstance(received[0], m.Rejected) else ""


def test_a_revoked_key_loses_its_connection_and_a_new_key_is_let_in(broker, folder):
    first, second = (keys.load_or_create(folder / name / "client.key") for name in ("k1", "k2"))
    allowed = folder / "allowed"
    allowed.write_text(f"{first.public} ann\n")
    broker.start(bind=[TCP], allow_client=[str(allowed)])
    client = broker.client(broker.endpoints[1], pair=first)
    client.status()
    allowed.write_text(f"{second.public} bob the second\n")

    assert until(lambda: refusal(client)) == "AUTH_REFUSED"
    broker.client(broker.endpoints[1], pair=second).status()


def test_only_the_local_user_and_admin_keys_may_stop_the_server(broker, folder):
    pairs = [keys.load_or_create(folder / f"k{index}" / "client.key") for index in range(2)]
    allowed = folder / "allowed"
    allowed.write_text(f"{pairs[0].public} artist\n{pairs[1].public} wrangler admin\n")
    broker.start(bind=[TCP], allow_client=[str(allowed)])
    artist, wrangler = (broker.client(broker.endpoints[1], pair=pair) for pair in pairs)
    assert artist.ask(m.Stop).error.code == "AUTH_REFUSED"
    assert isinstance(wrangler.ask(m.Stop), m.Stopping)
    assert broker.wait() == 0


def test_a_list_that_cannot_be_read_any_more_allows_this_user_alone_until_it_is_mended(broker, folder):
    pair = keys.load_or_create(folder / "k" / "client.key")
    allowed = folder / "allowed"
    allowed.write_text(f"{pair.public} ann\n")
    broker.start(bind=[TCP], allow_client=[str(allowed)])
    ann, own = broker.client(broker.endpoints[1], pair=pair), broker.client(broker.endpoints[1])
    allowed.write_text(f"{pair.public} ann\nnot a key\n")
    assert until(lambda: refusal(ann)) == "AUTH_REFUSED"
    own.status()
    assert "only this user's key is allowed now" in broker.log()
    allowed.write_text(f"{pair.public} ann again\n")
    until(lambda: not refusal(ann))
    broker.client(broker.endpoints[1], pair=pair).status()


def test_a_list_of_the_same_size_and_time_of_modification_is_read_again(broker, folder):
    """As of a tool that sets every file it installs to one time."""
    first, second = (keys.load_or_create(folder / name / "client.key") for name in ("k1", "k2"))
    allowed, new = folder / "allowed", folder / "new"
    for path, pair in ((allowed, first), (new, second)):
        path.write_text(f"{pair.public} ann\n")
        os.utime(path, (1, 1))
    broker.start(bind=[TCP], allow_client=[str(allowed)])
    client = broker.client(broker.endpoints[1], pair=first)
    client.status()
    new.replace(allowed)
    assert until(lambda: refusal(client)) == "AUTH_REFUSED"
    broker.client(broker.endpoints[1], pair=second).status()


def test_a_list_that_changes_while_it_is_read_is_read_again(folder, monkeypatch):
    first, second = (keys.load_or_create(folder / name / "client.key").public for name in ("k1", "k2"))
    allowed = folder / "allowed"
    allowed.write_text(f"{first} ann\n")

    def read_and_changed(source):
        found = keys.read_allowed(source)
        allowed.write_text(f"{second} bob the second\n")
        return found

    listed = auth.AllowList("", [str(allowed)])
    with monkeypatch.context() as patched:
        patched.setattr(auth, "read_allowed", read_and_changed)
        listed.load()
    listed.refresh()
    assert listed.allows(second) and not listed.allows(first)


def test_this_user_stays_an_admin_where_a_list_names_the_same_key_without(broker, folder):
    own = keys.load_or_create(broker.settings.client_key_file)
    (folder / "allowed").write_text(f"{own.public} ann\n")
    broker.start(bind=[TCP], allow_client=[str(folder / "allowed")])
    assert isinstance(broker.client(broker.endpoints[1], pair=own).ask(m.Stop), m.Stopping)
    assert broker.wait() == 0


def test_a_second_server_says_who_runs_where_and_leaves_the_first_alone(broker, folder):
    broker.start()
    client, first, orders = broker.client(), broker.process, broker.orders
    status, text = start_fails(broker)
    broker.process, broker.orders = first, orders
    assert status == 7
    assert f"process {broker.pid}" in text
    assert broker.endpoints[0] in text
    client.status()


def test_servers_with_runtime_folders_of_their_own_do_not_share_a_journal(broker, folder):
    broker.start()
    client, first, orders = broker.client(), broker.process, broker.orders
    broker.environment["MATTEBRIDGE_RUNTIME"] = str(folder / "r2")
    status, text = start_fails(broker)
    broker.process, broker.orders = first, orders
    assert status == 7
    assert f"process {broker.pid}" in text and "journal.sqlite3" in text and "--state-dir" in text
    client.status()


def test_nothing_in_the_server_unpickles():
    import ast
    from pathlib import Path

    import mattebridge_server

    loaders = ("load", "loads", "Unpickler")
    unsafe = {f"{module}.{loader}" for module in ("pickle", "marshal", "shelve", "dill") for loader in loaders}
    for path in Path(mattebridge_server.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "") not in ("pickle", "marshal", "shelve", "dill"), path
            elif isinstance(node, ast.Call):
                text = ast.unparse(node)
                assert ast.unparse(node.func) not in unsafe, path
                assert "allow_pickle=True" not in text, path
                if ast.unparse(node.func) == "torch.load":
                    assert "weights_only=True" in text, path
