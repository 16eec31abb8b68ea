"""Promise 7. A job that waits or runs beyond its limit fails with TIMEOUT and says which limit it was."""

from fault_bench import ran

from mattebridge import messages as m


def test_the_queue_limit(broker, steps):
    broker.start()
    client = broker.client()
    client.submit("long", frames="1001", params={"steps": str(steps)})
    client.submit("waits", frames="1", queue_timeout_s=0.2, params={"steps": str(steps)})
    failed = client.end_of("waits")
    assert isinstance(failed, m.Failed)
    assert failed.error.code == "TIMEOUT"
    assert "waited longer than its limit of 0.2 s" in failed.error.message
    assert all(key == "long" for key, _ in ran(steps))


def test_the_run_limit_stops_the_engine_at_its_next_step(broker, steps):
    broker.start()
    client = broker.client()
    client.submit("job", frames="1001-1009", run_timeout_s=0.3, params={"steps": str(steps)})
    failed = client.end_of("job")
    assert failed.error.code == "TIMEOUT"
    assert "ran longer than its limit of 0.3 s" in failed.error.message
    client.submit("next", frames="1")
    assert isinstance(client.end_of("next"), m.Done)
