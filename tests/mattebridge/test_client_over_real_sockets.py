"""`Client` against a real ROUTER with CURVE and ZAP: keys told apart, restarts survived, cancel from any thread."""

import ast
import dataclasses
import os
import select
import signal
import sys
import threading
import warnings
from pathlib import Path

import pytest
from small_server import SmallServer, Story, new_keys, shot_events, wait_until

import mattebridge
from mattebridge import Client, keys, rendezvous
from mattebridge import messages as m
from mattebridge.errors import (
    AuthRefused,
    Cancelled,
    InputError,
    JobConflict,
    LicenceRefused,
    ModelUnknown,
    ProtocolError,
    ServerError,
    UsageError,
)
from mattebridge.job_stream import LOST_STAGE
from mattebridge.session import Times

JOB = {"plate": "/p.####.exr", "out": "/o.####.exr", "frames": "1001-1003"}


def ragged(count):
    """A range that no run makes shorter."""
    return ",".join(str(n * 3 + n % 2) for n in range(count))


@pytest.fixture
def known(settings, server_keys):
    """Settings of a client that knows the server's key; and that client's own public key."""
    own = keys.load_or_create(settings.client_key_file)
    return dataclasses.replace(settings, server_key=server_keys.public), own.public


@pytest.fixture
def story():
    return Story()


@pytest.fixture
def server(known, server_keys, story):
    with SmallServer(story, keys=server_keys, allowed=[known[1]]) as running:
        yield running


@pytest.fixture
def client(server, known):
    with Client.connect(server.endpoint, settings=known[0]) as connected:
        yield connected


def test_questions_are_answered(client):
    assert client.status().boot_id == "boot-1"
    assert [model.name for model in client.models()] == ["edge", "identity"]
    assert client.describe("edge").name == "edge"
    assert client.check(**JOB).warnings == ("looked",)
    with pytest.raises(ModelUnknown):
        client.describe("nothing")


def test_a_job_is_iterated_and_waited_for(client, story):
    job = client.matte(**JOB)
    events = list(job.events(timeout_s=10))
    assert events == story.jobs[job.key]
    assert job.wait().written == 3 and job.done and sorted(job.frames) == [1001, 1002, 1003]
    assert list(job.events()) == events, "a second iteration sees the same"


def test_a_key_that_is_not_allowed_is_told_from_a_server_with_another_key(known, server_keys):
    settings, public = known
    with (
        SmallServer(keys=server_keys, allowed=[]) as server,
        pytest.raises(AuthRefused, match="client's key") as refused,
    ):
        Client.connect(server.endpoint, settings=settings)
    assert refused.value.details["whose"] == "client"
    with SmallServer(keys=new_keys(), allowed=[public]) as server, pytest.raises(AuthRefused) as refused:
        Client.connect(server.endpoint, settings=settings)
    assert refused.value.details["whose"] == "server"


def test_a_server_without_curve_is_no_server_for_a_client_with_keys(known):
    with SmallServer() as server, pytest.raises(ProtocolError, match="CURVE"):
        Client.connect(server.endpoint, settings=known[0])


def test_a_host_where_nothing_listens_is_unreachable(known):
    with pytest.raises(ServerError, match=r"no server answered .* at tcp://127\.0\.0\.1:9") as lost:
        Client.connect("tcp://127.0.0.1:9", settings=known[0], timeout_s=0.3)
    assert type(lost.value) is ServerError and lost.value.exit_status == 4


def test_a_server_of_another_protocol_is_refused_with_both_versions(known, server, story):
    server.major = 2
    with pytest.raises(ProtocolError, match=r"2\.0"):
        Client.connect(server.endpoint, settings=known[0])


def test_a_tcp_server_whose_key_nobody_told_is_not_talked_to(settings):
    with pytest.raises(AuthRefused, match="not known"):
        Client.connect("tcp://127.0.0.1:17890", settings=settings)


def test_known_servers_give_the_key(known, server, server_keys):
    settings = dataclasses.replace(known[0], server_key="")
    settings.known_servers_file.write_text(f"# comment\n{server.endpoint} {server_keys.public}\n")
    with Client.connect(server.endpoint, settings=settings) as client:
        assert client.status().boot_id == "boot-1"


def test_without_a_server_auto_says_how_to_start_one(settings):
    with pytest.raises(ServerError, match="mattebridge serve"):
        Client.connect("auto", settings=settings)


def test_a_restarted_server_at_another_address_is_found_and_the_job_goes_on(known, server_keys, story):
    """auto: the rendezvous file names the new endpoint, the boot id is another, the journal is the same."""
    settings, public = known
    first = SmallServer(story, keys=server_keys, allowed=[public])
    first.hold = True
    _announce(settings, first, server_keys, "boot-1")
    with Client.connect("auto", settings=settings) as client:
        job = client.matte(**JOB)
        story.jobs[job.key] = shot_events(job.key, [1001, 1002, 1003])
        seen = job.events(timeout_s=20)
        first.do(lambda: first.tell(first.peer_of[job.key], job.key, 0, 3))
        assert [next(seen).seq for _ in range(3)] == [1, 2, 3]
        first.close()
        with SmallServer(story, keys=server_keys, allowed=[public], boot_id="boot-2") as second:
            _announce(settings, second, server_keys, "boot-2")
            lost, *rest = seen
            assert (type(lost), lost.stage) == (m.Progress, LOST_STAGE)
            assert [event.seq for event in rest] == [4, 5, 6]
            assert job.wait().written == 3
            assert second.count(m.Submit) == 0, "the job is resumed, not submitted again"
            assert [each.after for each in second.seen if isinstance(each, m.Resume)] == [3]


def test_a_server_that_lost_its_journal_is_given_the_job_again(known, server_keys, story):
    settings, public = known
    first = SmallServer(story, keys=server_keys, allowed=[public])
    first.hold = True
    _announce(settings, first, server_keys, "boot-1")
    with Client.connect("auto", settings=settings) as client:
        job = client.matte(**JOB)
        first.close()
        with SmallServer(Story(), keys=server_keys, allowed=[public], boot_id="boot-2") as second:
            _announce(settings, second, server_keys, "boot-2")
            assert job.wait(timeout_s=20).written == 3
            assert second.story.accepted == 1


def test_a_mute_server_is_left_and_the_job_resumed_on_a_new_connection(known, server_keys, story):
    """A blackhole: the connection stands and nothing comes. Only missing beats tell."""
    settings, public = known
    with SmallServer(story, keys=server_keys, allowed=[public], beat_s=0.1) as server:
        server.hold = True
        with Client.connect(server.endpoint, settings=settings) as client:
            job = client.matte(**JOB)
            greetings = server.count(m.Hello)
            server.mute = True
            wait_until(lambda: server.count(m.Hello) > greetings, what="a new greeting")
            server.mute = False
            assert job.wait(timeout_s=20).written == 3


def test_a_full_queue_is_waited_out_and_shown(client, story):
    story.busy_times = 2
    job = client.matte(**JOB)
    assert job.wait(timeout_s=10).written == 3
    assert story.busy_times == 0 and story.accepted == 1


def test_cancel_from_another_thread_ends_the_wait(client, server):
    server.hold = True
    job = client.matte(**JOB)
    threading.Timer(0.05, job.cancel).start()
    with pytest.raises(Cancelled):
        job.wait(timeout_s=10)
    assert isinstance(list(job.events())[-1], m.CancelledEvent)
    job.cancel()  # once more is harmless


def test_a_job_of_somebody_else_is_attached_to_by_its_key(client, server, known):
    server.hold = True
    key = client.matte(**JOB).key
    with Client.connect(server.endpoint, settings=known[0]) as other:
        assert other.attach(key).wait(timeout_s=10).written == 3
        with pytest.raises(InputError):
            other.attach("never-heard-of")
        with pytest.raises(InputError):
            other.cancel("never-heard-of")


def test_the_same_key_is_the_same_job_and_another_body_a_conflict(client, server, known, story):
    first = client.matte(key="shot-010", **JOB)
    first.wait(timeout_s=10)
    with Client.connect(server.endpoint, settings=known[0]) as other:
        assert other.matte(key="shot-010", **JOB).wait(timeout_s=10).written == 3
        assert story.accepted == 1
        with pytest.raises(JobConflict):
            other.matte(key="shot-010", **{**JOB, "frames": "1001"})


def test_a_refusal_is_raised_at_once_with_its_own_class(client):
    with pytest.raises(LicenceRefused, match="ask"):
        client.matte(**JOB, model="forbidden")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"plate": ""}, "no plate"),
        ({"out": ""}, "no output"),
        ({"look": "nice"}, "look"),
        ({"delivery": "carrier pigeon"}, "delivery"),
        ({"frames": "1-2000000"}, "beyond"),
        ({"key": "../../etc"}, "job key"),
        ({"params": {"a": [1]}}, "parameter a"),
        ({"plate_space": 3}, "plate_space is 3. Give a str"),
        ({"overwrite": "yes"}, "overwrite is 'yes'. Give a bool"),
        ({"queue_timeout_s": "5"}, "queue_timeout_s is '5'. Give a float"),
        ({"colour": "red"}, "unknown: colour"),
        ({"frames": ragged(60_000)}, "header of"),
        ({"plan": b"x" * (5 * 1024 * 1024)}, "in one part"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_server_would_take_is_refused_before_anything_is_sent(client, server, wrong, said):
    with pytest.raises(UsageError, match=said):
        client.matte(**{**JOB, **wrong})
    assert server.count(m.Submit) == 0


def test_closing_the_client_wakes_whoever_waits(client, server):
    server.hold = True
    job = client.matte(**JOB)
    threading.Timer(0.05, client.close).start()
    with pytest.raises(ServerError, match="closed"):
        job.wait(timeout_s=10)
    with pytest.raises(ServerError, match="closed"):
        client.status()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("use", [lambda client, _: client.status(), lambda _, job: job.wait()], ids=["status", "wait"])
def test_a_forked_child_is_told_to_connect_for_itself(client, server, use):
    server.hold = True
    job = client.matte(**JOB)
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later warn of a fork beside threads
        child = os.fork()
    if not child:
        try:
            use(client, job)
        except UsageError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    try:
        assert select.select([reader], [], [], 10.0)[0], "the child hangs"
        assert b"before the process forked" in os.read(reader, 4096)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
    assert client.status().jobs is not None, "the parent goes on"


def test_nothing_is_left_behind(known, server):
    before = threading.active_count()
    for _ in range(5):
        with Client.connect(server.endpoint, settings=known[0]) as client:
            client.matte(**JOB).wait(timeout_s=10)
    wait_until(lambda: threading.active_count() <= before, what="every thread of a client ending")


def test_the_last_word_of_a_server_that_ends_at_once_is_heard(settings, tmp_path):
    """STOPPING, then the connection is gone: it was received, so it counts."""
    for number in range(25):
        server = SmallServer(endpoint=f"ipc://{tmp_path}/{number}")

        def stop(peer, message, _, server=server):
            server.send(peer, m.Stopping(message.request))
            server._stopping.set()

        server._on_stop = stop
        server.socket.linger = 1000
        with Client.connect(server.endpoint, settings=settings) as client:
            client.stop()
        server.close()


def test_what_was_sent_into_a_cut_has_no_effect_on_the_next_server(settings, tmp_path, story):
    """A DEALER delivers what it kept to a restarted server; nothing of it may count before HELLO."""
    endpoint = f"ipc://{tmp_path}/socket"
    first = SmallServer(story, endpoint)
    first.hold = True
    with Client.connect(endpoint, settings=settings) as client:
        job = client.matte(**JOB)
        first.close()
        client._post(m.PutsDone(job.key), (), client._session.epoch)
        with SmallServer(story, endpoint, boot_id="boot-2") as second:
            assert job.wait(timeout_s=20).written == 3
            assert story.accepted == 1 and second.count(m.Submit) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="modes of POSIX")
def test_a_key_file_that_others_can_read_is_told_to_the_first_and_to_every_later_caller(known):
    """The connection cannot even be opened: nobody may wait for an answer, however late the question comes."""
    known[0].client_key_file.chmod(0o644)
    client = Client(known[0], "tcp://127.0.0.1:9", Times())
    client._transport.start()
    try:
        for _ in range(2):
            with pytest.raises(AuthRefused, match="chmod 600"):
                client.status()
        with pytest.raises(AuthRefused, match="chmod 600"):
            client.submit(m.JobRequest("/p.####.exr", out="/o.####.exr"))
    finally:
        client.close()


def test_where_pyzmq_is_missing_the_caller_hears_of_it(known, server, monkeypatch):
    monkeypatch.setitem(sys.modules, "zmq", None)
    with pytest.raises(ImportError, match="zmq"):
        Client.connect(server.endpoint, settings=known[0])


def test_public_names_are_where_they_are_said_to_be():
    for name in mattebridge.__all__:
        assert getattr(mattebridge, name) is not None
    assert set(mattebridge._HOMES) == set(mattebridge.__all__) - {"__version__"}
    with pytest.raises(AttributeError):
        mattebridge.nothing  # noqa: B018


def test_the_version_is_that_of_the_package():
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")
    assert f'\nversion = "{mattebridge.__version__}"\n' in project


def test_what_a_type_checker_sees_is_what_the_package_gives():
    tree = ast.parse(Path(mattebridge.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 1]
    seen = {alias.asname: node.module for node in imports for alias in node.names}
    assert seen == mattebridge._HOMES


def _announce(settings, server, server_keys, boot_id):
    import os
    import socket

    rendezvous.write(
        settings.runtime_dir,
        rendezvous.Rendezvous(
            server.endpoint, server_keys.public, os.getpid(), socket.gethostname(), "1.0", boot_id, "0", 0.0
        ),
    )
