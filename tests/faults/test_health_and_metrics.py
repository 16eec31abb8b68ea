"""Promise 20. Seen from outside: whether the server lives and takes jobs, what it did; every typed error is counted."""

import json
import resource
import socket
from pathlib import Path

import psutil
import pytest
from fault_bench import free_port, until
from real_shot import REAL

from mattebridge import messages as m
from mattebridge.errors import error_classes


def test_live_and_ready(broker):
    broker.start(metrics_port=free_port())
    assert broker.page("/live") == (200, "live\n")
    until(lambda: broker.page("/ready") == (200, "ready\n"))
    assert broker.page("/nothing")[0] == 404


def test_a_server_without_an_engine_lives_and_is_not_ready(broker):
    broker.start(metrics_port=free_port(), setup={"folders": ["start-dies"]})
    assert broker.page("/live")[0] == 200
    assert broker.page("/ready") == (503, "starting\n")


def test_figures_follow_what_happens(broker, steps, folder):
    broker.start(metrics_port=free_port())
    client = broker.client()
    (steps / "go-all").touch()
    client.submit("good", frames="1-5", out=f"{folder}/o/####", params={"steps": str(steps)})
    client.end_of("good")
    client.submit("bad", frames="1-5", params={"steps": str(steps), "fail_at": 3})
    client.end_of("bad")
    client.submit("crash", frames="1-5", params={"steps": str(steps), "crash_at": 2, "crash_times": 99})
    client.end_of("crash")
    (steps / "go-all").unlink()
    client.submit("gone", frames="9", params={"steps": str(steps)})
    until(lambda: (steps / "at-9").exists())
    figures = broker.metrics()
    assert figures['mattebridge_jobs{state="running"}'] == 1
    client.ask(m.Cancel, key="gone")
    client.end_of("gone")
    client.socket.send_multipart([b"NONSENSE", b"\x80"])
    client.expect(m.Rejected)
    figures = broker.metrics()
    assert figures['mattebridge_jobs_ended_total{outcome="done"}'] == 1
    assert figures['mattebridge_jobs_ended_total{outcome="failed"}'] == 2
    assert figures['mattebridge_jobs_ended_total{outcome="cancelled"}'] == 1
    assert figures['mattebridge_jobs_failed_total{code="BAD_FRAME"}'] == 1
    assert figures['mattebridge_jobs_failed_total{code="POISON"}'] == 1
    assert figures["mattebridge_engine_deaths_total"] == 3
    assert figures['mattebridge_refused_total{reason="tag"}'] == 1
    assert figures["mattebridge_frames_total"] >= 5
    assert figures['mattebridge_model_loaded{model="edge"}'] == 1
    assert figures["mattebridge_clients"] == 1


def test_every_typed_error_has_its_counter(broker):
    broker.start(metrics_port=free_port())
    figures = broker.metrics()
    for code in error_classes():
        assert figures[f'mattebridge_jobs_failed_total{{code="{code}"}}'] == 0


def test_a_slow_or_rude_scraper_stops_nobody(broker):
    import socket

    port = free_port()
    broker.start(metrics_port=port)
    client = broker.client()
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    for number, one in enumerate(held):
        one.sendall(b"GET /met" if number % 2 else b"\x00" * 5000)
    client.status()
    assert broker.page("/live")[0] == 200
    for one in held:
        one.close()


def test_the_log_is_one_json_object_a_line_with_the_job(broker, steps):
    broker.start()
    client = broker.client()
    (steps / "go-all").touch()
    client.submit("bad", frames="1-5", params={"steps": str(steps), "fail_at": 3})
    client.end_of("bad")
    lines = until(lambda: [json.loads(line) for line in broker.log().splitlines() if '"bad"' in line])
    failed = next(line for line in lines if line.get("code") == "BAD_FRAME")
    assert (failed["job"], failed["frame"], failed["level"]) == ("bad", 3, "error")


@pytest.mark.parametrize("taken", [Path.unlink, lambda path: path.rename(path.with_name("moved"))])
def test_a_log_that_somebody_took_away_is_begun_anew(broker, folder, taken):
    broker.start()
    client = broker.client()
    until(lambda: client.status().state == "ready")
    taken(folder / "r" / "server.jsonl")
    broker.engine().kill()
    until(lambda: "engine for cpu:0 ended" in broker.log())


def test_what_an_engine_writes_is_in_the_log_as_json_too(broker):
    """A device that is not there: the engine ends with a traceback."""
    broker.start(config=REAL, device=["cuda:99"])
    until(lambda: "Traceback" in broker.log())
    lines = [json.loads(line) for line in broker.log().splitlines()]
    assert {line["device"] for line in lines if "Traceback" in line["message"]} == {"engine cuda:99"}


def test_what_breaks_in_the_loop_is_in_the_log_as_json_too(broker):
    """No file is left for a scraper's connection, which asyncio tells under its own name."""
    broker.start(metrics_port=free_port())
    until(lambda: broker.page("/ready")[0] == 200)
    usual = resource.prlimit(broker.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, (psutil.Process(broker.pid).num_fds(), usual[1]))
    place = ("127.0.0.1", broker.orders["args"]["metrics_port"])
    scrapers = [socket.create_connection(place) for _ in range(10)]
    until(lambda: "Too many open files" in broker.log())
    resource.prlimit(broker.pid, resource.RLIMIT_NOFILE, usual)
    for scraper in scrapers:
        scraper.close()
    lines = [json.loads(line) for line in broker.log().splitlines()]
    assert {line["logger"] for line in lines if "Too many open files" in line.get("exception", "")} == {"asyncio"}
    until(lambda: broker.page("/ready")[0] == 200)


def test_a_hung_disk_costs_the_helper_and_not_the_server(broker):
    broker.start(metrics_port=free_port(), config={"check_timeout_s": 0.7})
    client = broker.client()
    client.send(m.Check(70, m.JobRequest("/hang/plate.####.exr")))
    client.status()
    problem = client.expect(m.Checked, lambda one: one.request == 70).problems[0]
    assert problem.code == "PATH_REFUSED"
    assert "does not answer" in problem.message
    assert problem.file == "/hang/plate.####.exr"
    assert broker.metrics()["mattebridge_helper_kills_total"] == 1
    assert client.ask(m.Check, job=m.JobRequest("/fine.####.exr")).frames_total == 12
    died = client.ask(m.Check, job=m.JobRequest("/die.####.exr"))
    assert "died" in died.problems[0].message
    assert client.ask(m.Check, job=m.JobRequest("/missing.####.exr")).problems[0].code == "MISSING_FRAMES"
