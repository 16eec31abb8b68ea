"""Promise 5. A person goes before batch at the next frame; a class is first come, first served; nobody starves.

The bound on waiting is proven on a virtual clock in tests/mattebridge_server/broker/test_scheduler.py.
"""

from fault_bench import ran, until

from mattebridge import messages as m


def order_of(steps):
    order = []
    for key, _ in ran(steps):
        if key not in order:
            order.append(key)
    return order


def test_an_interactive_job_starts_at_most_one_batch_frame_later(broker, steps, folder):
    broker.start()
    client = broker.client()
    params = {"steps": str(steps)}
    client.submit("batch", frames="1001-1008", out=f"{folder}/b/####", params=params)
    until(lambda: (steps / "at-1001").exists())
    client.submit("person", frames="1-2", out=f"{folder}/p/####", params=params, priority="interactive")
    (steps / "go-all").touch()
    client.end_of("person")
    assert isinstance(client.end_of("batch"), m.Done)
    keys = [key for key, _ in ran(steps)]
    assert keys[keys.index("person") - 1] == "batch"
    assert keys.index("person") <= 2, "more than one batch frame was begun before the person's"
    assert sorted(frame for key, frame in ran(steps) if key == "person") == [1, 2]
    frames = [frame for key, frame in ran(steps) if key == "batch"]
    assert set(frames) == set(range(1001, 1009))
    assert len(frames) <= 9, "more than the interrupted frame was computed twice"


def test_a_displaced_job_goes_on_before_later_jobs_of_its_class(broker, steps, folder):
    broker.start()
    client = broker.client()
    params = {"steps": str(steps)}
    client.submit("one", frames="1001-1004", out=f"{folder}/1/####", params=params)
    client.submit("two", frames="2001-2002", out=f"{folder}/2/####", params=params)
    until(lambda: (steps / "at-1001").exists())
    client.submit("person", frames="1", out=f"{folder}/p/####", params=params, priority="interactive")
    (steps / "go-all").touch()
    client.end_of("two")
    assert order_of(steps) == ["one", "person", "two"]
    last_of_one = max(index for index, (key, _) in enumerate(ran(steps)) if key == "one")
    assert last_of_one < [key for key, _ in ran(steps)].index("two")
    events = [type(message).__name__ for message in client.events() if message.key == "one"]
    assert events.count("Queued") == 2
    assert events.count("FrameDone") == 4


def test_a_class_is_first_come_first_served(broker, steps, folder):
    broker.start()
    client = broker.client()
    keys = [f"job{index}" for index in range(8)]
    for key in keys:
        client.submit(key, frames="1", out=f"{folder}/{key}/####", params={"steps": str(steps)})
    (steps / "go-all").touch()
    client.end_of(keys[-1])
    assert order_of(steps) == keys


def test_waiting_clients_are_told_their_place_and_who_is_ahead(broker, steps):
    broker.start()
    client = broker.client()
    for key in ("a", "b", "c"):
        client.submit(key, frames="1", params={"steps": str(steps)}, label=f"shot {key}")
        until(lambda: (steps / "at-1").exists())
    queued = [client.expect(m.Queued, lambda one, key=key: one.key == key) for key in ("a", "b", "c")]
    assert [one.position for one in queued] == [0, 1, 2]
    assert queued[2].ahead == "ann: shot a"
    client.ask(m.Cancel, key="b")
    moved = client.expect(m.Progress, lambda one: one.key == "c" and one.stage == "queued")
    assert moved.position == 1
