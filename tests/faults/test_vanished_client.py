"""Promise 10. A person's job ends with the person's client; a batch job goes on and is taken up by its key."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

from fault_bench import until

from mattebridge import keys
from mattebridge import messages as m

BEAT_S = 0.5
CLIENT = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from fault_bench import Broker
    broker = Broker(Path(sys.argv[2]))
    client = broker.client(sys.argv[3])
    client.submit("job", frames="1001-1003", out=sys.argv[2] + "/o/####", priority=sys.argv[4],
                  params={"steps": sys.argv[2] + "/steps"})
    print("submitted", flush=True)
    while True:
        client.receive(1.0)
    """
)


def submit_and_die(broker, steps, priority):
    """A client of its own submits, and is killed while the first frame is computed."""
    broker.client().models_up()  # or the lease could end before an engine is there
    here = str(Path(__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT, here, str(broker.folder), broker.endpoints[0], priority],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "submitted\n"
        until(lambda: (steps / "at-1001").exists())
    finally:
        process.kill()
        process.communicate()


def test_a_persons_job_is_cancelled_when_the_lease_ends(broker, steps):
    broker.start(limits={"beat_s": BEAT_S}, config={"lease_s": 1.0})
    submit_and_die(broker, steps, "interactive")
    client = broker.client()
    until(lambda: client.state("job") == "cancelled")


def test_a_persons_job_lives_while_somebody_follows_it(broker, steps, folder):
    broker.start(limits={"beat_s": BEAT_S}, config={"lease_s": 1.0})
    submit_and_die(broker, steps, "interactive")
    watcher = broker.client()
    watcher.ask(m.Resume, key="job")
    end = time.monotonic() + 3 * BEAT_S + 2.0
    while time.monotonic() < end:
        watcher.receive(0.1)
    assert watcher.state("job") == "running"
    (steps / "go-all").touch()
    assert isinstance(watcher.end_of("job"), m.Done)


def test_a_batch_job_goes_on_and_is_taken_up_by_key(broker, steps, folder):
    broker.start(limits={"beat_s": BEAT_S}, config={"lease_s": 0.5})
    submit_and_die(broker, steps, "batch")
    client = broker.client()
    end = time.monotonic() + 3 * BEAT_S + 1.5
    while time.monotonic() < end:
        client.receive(0.1)
    assert client.state("job") == "running"
    (steps / "go-all").touch()
    accepted = client.ask(m.Resume, key="job")
    assert accepted.existing
    done = client.end_of("job")
    assert done.written == 3
    assert [one.seq for one in [*client.events(), done]] == list(range(1, done.seq + 1))


def test_another_clients_key_may_not_touch_the_job(broker, steps, folder):
    pairs = [keys.load_or_create(folder / f"k{index}" / "client.key") for index in range(2)]
    allowed = folder / "allowed"
    allowed.write_text("".join(f"{pair.public} farm{index}\n" for index, pair in enumerate(pairs)))
    broker.start(bind=["tcp://127.0.0.1:*"], allow_client=[str(allowed)])
    owner, other = (broker.client(broker.endpoints[1], pair=pair) for pair in pairs)
    owner.submit("job", frames="1", params={"steps": str(steps)})
    for message in (m.Cancel, m.Resume):
        answer = other.ask(message, key="job")
        assert answer.error.code == "REFUSED"
        assert "another client" in answer.error.message
    other.send(m.Credit("job", 5))
    assert other.expect(m.Rejected).error.code == "REFUSED"
    assert owner.state("job") in ("running", "queued")
    assert broker.client().ask(m.Cancel, key="job").state in ("cancelling", "cancelled"), "the local user may"
