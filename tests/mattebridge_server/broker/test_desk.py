"""Clients, engines and the clock as plain calls: what the desk and the floor decide, without a socket or a process."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mattebridge import codec
from mattebridge import messages as m
from mattebridge.errors import InputError
from mattebridge_server.broker import pixels
from mattebridge_server.broker.checks import Checks
from mattebridge_server.broker.decode import encode
from mattebridge_server.broker.desk import About, Desk
from mattebridge_server.broker.effects import Ask, Outbox, Peer, Replay, Send, SendLast, StorePart, Tell
from mattebridge_server.broker.floor import Floor
from mattebridge_server.broker.jobs import JobBook
from mattebridge_server.broker.pixels import Pixels
from mattebridge_server.broker.scheduler import Scheduler
from mattebridge_server.broker.scheduling import Policy
from mattebridge_server.broker.session import UPLOAD_CREDIT_BYTES, Sessions
from mattebridge_server.engine import wire
from mattebridge_server.paths import PathMap
from mattebridge_server.site import LicencePolicy, Site

MODELS = (m.ModelInfo("edge", licence="Apache-2.0"), m.ModelInfo("videomama", licence="CC-BY-NC-4.0"))


class Bench:
    """A desk and a floor with one engine, and everything they decided."""

    def __init__(self, site=None, **policy):
        self.out = Outbox()
        self.book = JobBook(self.out, lambda: 0.0)
        self.floor = Floor(Scheduler(Policy(**policy), ["gpu"]), self.book, self.out, site or Site(), "/spool")
        sessions = Sessions(m.Welcome(1, 0, "boot"), 2.0, 3)
        about = About("boot", "1", "host", 1, 0.0, lease_s=30.0)
        taker = Pixels(sessions, self.book, self.floor, self.out)
        self.desk = Desk(
            about, m.Limits(), sessions, self.book, self.floor, self.out, taker, Checks(self.floor, self.out)
        )
        self.floor.apply(self.floor.scheduler.tick(0.0))

    def engine(self, now, message):
        self.floor.received(now, "gpu", message)

    def ready(self):
        self.engine(0.0, wire.Ready(device="gpu", models=MODELS))
        return self

    def call(self, now, peer, message, admin=True):
        """Send one message; what was decided, in order."""
        self.desk.received(now, peer, encode(message), admin)
        return self.effects()

    def effects(self):
        return self.out.take()[1]


ANN = Peer("ipc", b"ann")
HELLO = m.Hello(1, 0, "c", "ann", "host", 7)


def answers(effects, peer=ANN):
    return [one.message for one in effects if isinstance(one, (Send, SendLast)) and one.peer == peer]


def submit(bench, now=0.0, key="job", peer=ANN, **fields):
    request = m.JobRequest("/p.####.exr", **fields)
    return bench.call(now, peer, m.Submit(1, key, request, "boot"))


@pytest.fixture
def bench():
    made = Bench().ready()
    made.call(0.0, ANN, HELLO)
    return made


def test_welcome_names_the_models_once_an_engine_has_told_them():
    bench = Bench()
    assert answers(bench.call(0.0, ANN, HELLO))[0].models == ()
    bench.ready()
    assert answers(bench.call(1.0, ANN, HELLO))[0].models == ("edge", "videomama")


def test_a_job_is_journaled_before_the_engine_is_told(bench):
    bench.desk.received(0.0, ANN, encode(m.Submit(1, "job", m.JobRequest("/p"), "boot")), True)
    changes, effects = bench.out.take()
    assert any("INSERT INTO jobs" in change.sql for change in changes)
    assert any("state" in change.sql and "running" in change.values for change in changes)
    kinds = [type(one.message).__name__ if isinstance(one, Send) else type(one).__name__ for one in effects]
    assert kinds == ["Accepted", "Queued", "Tell"]


def test_paths_are_mapped_for_the_engine_and_back_for_the_client():
    maps = (PathMap("/mnt/p", "", ("P:/",)),)
    bench = Bench(Site(path_map=maps)).ready()
    bench.call(0.0, ANN, HELLO)
    request = m.JobRequest("P:\\a\\p.####.exr", out="P:\\a\\out\\m.####.exr")
    effects = bench.call(0.0, ANN, m.Submit(1, "job", request, "boot"))
    (run,) = [one.message for one in effects if isinstance(one, Tell)]
    assert (run.request.plate, run.request.out) == ("/mnt/p/a/p.####.exr", "/mnt/p/a/out/m.####.exr")
    bench.engine(1.0, wire.JobFrame(key="job", frame=7, path="/mnt/p/a/out/m.0007.exr", digest="d"))
    assert answers(bench.effects())[0].path == "P:\\a\\out\\m.0007.exr"


def test_errors_and_warnings_name_files_as_the_client_does():
    bench = Bench(Site(path_map=(PathMap("/mnt/p", "", ("P:/",)),))).ready()
    bench.call(0.0, ANN, HELLO)
    request = m.JobRequest("P:\\a\\p.####.exr", mask="P:\\a\\%V\\m.####.exr", out="P:\\a\\out\\{version}\\m.####.exr")
    error = m.ErrorInfo("BAD_FRAME", "no RGB in /mnt/p/a/p.0007.exr", "", "/mnt/p/a/p.0007.exr", 7)

    effects = bench.call(0.0, ANN, m.Check(1, request))
    (ask,) = [one for one in effects if isinstance(one, Ask)]
    bench.desk.checks.answered(ask.number, (error,), ("empty: /mnt/p/a/left/m.0007.exr",))
    (checked,) = answers(bench.effects())
    assert checked.problems[0].file == "P:\\a\\p.0007.exr"
    assert checked.warnings == ("empty: P:\\a\\left/m.0007.exr",)

    bench.call(0.0, ANN, m.Submit(1, "job", request, "boot"))
    bench.engine(1.0, wire.JobFrame(key="job", frame=6, path="/mnt/p/a/out/v003/m.0006.exr", digest="d"))
    assert answers(bench.effects())[0].path == "P:\\a\\out\\v003/m.0006.exr"
    bench.engine(1.0, wire.JobEnded(key="job", outcome="failed", error=error))
    (failed,) = [one for one in answers(bench.effects()) if isinstance(one, m.Failed)]
    assert (failed.error.file, failed.error.message) == ("P:\\a\\p.0007.exr", "no RGB in P:\\a\\p.0007.exr")


def test_an_engine_is_told_what_an_earlier_attempt_wrote(bench):
    submit(bench)
    for frame, kept in ((6, True), (7, False)):
        bench.engine(1.0, wire.JobFrame(key="job", frame=frame, path="/m", digest=f"digest {frame}", kept=kept))
    bench.effects()
    bench.engine(1.0, wire.JobFrame(key="job", frame=7, path="/m", digest="at a smaller canvas", kept=False))
    assert not answers(bench.effects()), "a frame is told once"
    bench.engine(2.0, wire.JobEnded(key="job", outcome="preempted"))
    (run,) = [one.message for one in bench.effects() if isinstance(one, Tell)]
    assert (run.attempt, run.written) == (2, {7: "at a smaller canvas"})


def test_errors_of_uploaded_pictures_name_the_clients_files():
    bench = Bench().ready()
    bench.call(0.0, ANN, HELLO)
    submit(bench, mask="/shots/m.####.png", out="/results/x.####.exr", delivery="exr")
    bench.call(0.1, ANN, m.PutsDone("job"))
    error = m.ErrorInfo("BAD_FRAME", "truncated", "", "/spool/job/mask/m.0007.png", 7)
    bench.engine(1.0, wire.JobEnded(key="job", outcome="failed", error=error))
    (failed,) = [one for one in answers(bench.effects()) if isinstance(one, m.Failed)]
    assert failed.error.file == "/shots/m.0007.png"


def test_uploaded_pictures_are_read_from_the_spool_and_results_put_there(bench):
    request = m.JobRequest("C:\\a\\p.####.exr", mask="/b/m.####.png", out="D:\\o\\x.####.exr", delivery="exr")
    bench.call(0.0, ANN, m.Submit(1, "job", request, "boot"))
    effects = bench.call(1.0, ANN, m.PutsDone("job"))
    (run,) = [one.message for one in effects if isinstance(one, Tell)]
    assert run.spool == "/spool/job"
    assert run.request.plate == "/spool/job/plate/p.####.exr"
    assert run.request.mask == "/spool/job/mask/m.####.png"
    assert run.request.out == "/spool/job/alpha/x.####.exr"


def send_picture(bench, now, put):
    bench.desk.received(now, ANN, [*encode(put), b"12345678"], True)
    return bench.effects()


def test_a_job_meant_for_an_earlier_start_of_the_server_is_not_taken(bench):
    effects = bench.call(0.0, ANN, m.Submit(1, "job", m.JobRequest("/p.####.exr"), "earlier"))
    assert answers(effects) == [m.NeedHello("boot")]
    assert not bench.book.records


def test_a_job_starts_when_all_that_was_sent_is_on_the_disk(bench):
    submit(bench, delivery="exr")
    put = m.Put("job", "plate", 1001, "p.1001.exr", 0, 8)
    (store,) = send_picture(bench, 0.0, put)
    assert isinstance(store, StorePart)
    assert bench.call(1.0, ANN, m.PutsDone("job")) == []
    bench.desk.pixels.stored(2.0, ANN, put, 8, True, None)
    assert bench.desk.sessions.find(ANN).upload_credit["job"] == UPLOAD_CREDIT_BYTES
    assert [one.message.key for one in bench.effects() if isinstance(one, Tell)] == ["job"]


def test_parts_without_bytes_are_bounded_as_well(bench, monkeypatch):
    monkeypatch.setattr(pixels, "MOST_PARTS", 2)
    submit(bench, delivery="exr")
    put = m.Put("job", "plate", 1001, "p.1001.exr", 0, 8)
    for expected in (StorePart, StorePart, Send):
        (effect,) = send_picture(bench, 0.0, put)
        assert isinstance(effect, expected)
    assert "2 parts are under way" in effect.message.error.message
    bench.desk.pixels.stored(1.0, ANN, put, 8, False, None)
    bench.effects()
    assert isinstance(send_picture(bench, 1.0, put)[0], StorePart)


def test_a_picture_that_was_refused_and_sent_anew_is_held_against_nobody(bench):
    submit(bench, delivery="exr")
    put = m.Put("job", "plate", 1001, "p.1001.exr", 0, 8)
    for whole, fault in ((False, InputError("the picture's SHA-256 is not that of its bytes")), (True, None)):
        send_picture(bench, 0.0, put)
        bench.desk.pixels.stored(0.0, ANN, put, 8, whole, fault)
    bench.effects()
    assert [one.message.key for one in bench.call(1.0, ANN, m.PutsDone("job")) if isinstance(one, Tell)] == ["job"]


def test_a_picture_for_a_job_that_runs_is_refused_and_its_credit_comes_back(bench):
    submit(bench, delivery="exr")
    bench.call(0.0, ANN, m.PutsDone("job"))
    effects = send_picture(bench, 1.0, m.Put("job", "plate", 1001, "p.1001.exr", 0, 8))
    credit, refusal = answers(effects)
    assert credit == m.Credit("job", 8)
    assert "takes no pictures now" in refusal.error.message
    assert not any(isinstance(one, StorePart) for one in effects)


def test_a_licence_that_the_site_does_not_allow_is_refused_at_submit_and_check():
    bench = Bench(Site(licences=LicencePolicy(("apache-2.0",)))).ready()
    bench.call(0.0, ANN, HELLO)
    (refused,) = answers(submit(bench, model="videomama"))
    assert refused.error.code == "LICENCE_REFUSED"
    effects = bench.call(0.0, ANN, m.Check(1, m.JobRequest("/p", model="videomama")))
    (ask,) = [one for one in effects if isinstance(one, Ask)]
    bench.desk.checks.answered(ask.number, ())
    assert answers(bench.effects())[0].problems[0].code == "LICENCE_REFUSED"
    bench.desk.checks.unanswered(ask.number, "it came too late")
    assert answers(bench.effects()) == [], "a question has one answer"
    assert isinstance(answers(submit(bench, key="two"))[0], m.Accepted)
    streamed = m.Check(2, m.JobRequest("/p", model="videomama", delivery="exr"))
    (told,) = answers(bench.call(0.0, ANN, streamed))
    assert [problem.code for problem in told.problems] == ["LICENCE_REFUSED"]


def test_a_check_tells_what_the_broker_and_its_helper_know_together(bench):
    (ask,) = [one for one in bench.call(0.0, ANN, m.Check(5, m.JobRequest("/p.####.exr"))) if isinstance(one, Ask)]
    bench.desk.checks.answered(ask.number, (), (), 24, 7, {"space": "ACEScg", "queue_jobs": 9})
    (told,) = answers(bench.effects())
    assert (told.request, told.problems, told.frames_total, told.frames_fresh) == (5, (), 24, 7)
    assert (told.facts["space"], told.facts["queue_jobs"], told.facts["engine_busy_s"]) == ("ACEScg", 9, 0.0)


def test_a_disk_that_does_not_answer_a_check_is_named_by_the_plate_on_it(bench):
    plan = b'{"a": "plan"}'
    desk = bench.desk
    desk.received(0.0, ANN, encode(m.Check(6, m.JobRequest("/p.####.exr")), [plan]), True)
    (ask,) = [one for one in bench.effects() if isinstance(one, Ask)]
    assert ask.plan == plan
    desk.checks.unanswered(ask.number, "5 s are over")
    (problem,) = answers(bench.effects())[0].problems
    assert (problem.code, problem.file) == ("PATH_REFUSED", "/p.####.exr")


def test_a_clean_plate_without_its_filler_is_refused_at_submit_and_check():
    bench = Bench()
    bench.engine(0.0, wire.Ready(device="gpu", models=(*MODELS, m.ModelInfo("lama", installed=False))))
    bench.call(0.0, ANN, HELLO)
    for key, model in (("one", "edge"), ("two", "auto")):
        (refused,) = answers(submit(bench, key=key, model=model, cleanplate="/c.####.exr", fallback=True))
        assert refused.error.code == "MODEL_NOT_INSTALLED"
        assert "mattebridge models pull lama" in refused.error.remedy
    asked = m.JobRequest("/p", model="edge", cleanplate="/c.####.exr", kind="plan")
    assert isinstance(answers(bench.call(0.0, ANN, m.Submit(1, "plan", asked, "boot")))[0], m.Accepted)
    (ask,) = [
        one
        for one in bench.call(0.0, ANN, m.Check(1, m.JobRequest("/p", model="edge", cleanplate="/c.####.exr")))
        if isinstance(one, Ask)
    ]
    bench.desk.checks.answered(ask.number, ())
    assert answers(bench.effects())[0].problems[0].code == "MODEL_NOT_INSTALLED"


def test_a_helpers_licence_counts_as_the_models_own():
    bench = Bench(Site(licences=LicencePolicy(("apache-2.0",))))
    bench.engine(0.0, wire.Ready(device="gpu", models=(*MODELS, m.ModelInfo("sam2", licence="GPL-3.0"))))
    bench.call(0.0, ANN, HELLO)
    (refused,) = answers(submit(bench, model="edge", fill="sam2"))
    assert refused.error.code == "LICENCE_REFUSED"
    assert "sam2" in refused.error.message


def test_a_fault_of_the_servers_own_is_told_to_who_asked_and_stops_nobody_else(bench, monkeypatch):
    monkeypatch.setattr(bench.floor.scheduler, "positions", lambda: 1 / 0)
    (rejected,) = answers(bench.call(0.0, ANN, m.Status(5)))
    assert (rejected.request, rejected.error.code) == (5, "INTERNAL")
    assert "ZeroDivisionError" in rejected.error.message and rejected.error.remedy
    assert isinstance(answers(bench.call(0.0, ANN, m.Ping(1)))[0], m.Pong)


def test_questions_about_models_wait_until_an_engine_has_told_them():
    bench = Bench()
    bench.call(0.0, ANN, HELLO)
    assert answers(bench.call(0.0, ANN, m.Describe(5, "edge"))) == []
    bench.ready()
    bench.desk.tick(0.1)
    (described,) = answers(bench.effects())
    assert (described.request, described.models[0].name) == (5, "edge")


def test_a_persons_job_is_cancelled_when_its_lease_ends_and_not_before(bench):
    submit(bench)
    for now in (2.0, 4.0, 6.0):
        bench.desk.tick(now)
    bench.effects()
    bench.desk.tick(35.9)
    assert bench.effects() == []
    bench.desk.tick(36.1)
    (stop,) = [one.message for one in bench.effects() if isinstance(one, Tell)]
    assert (stop.key, stop.reason) == ("job", "cancel")


def test_a_batch_job_has_no_lease(bench):
    submit(bench, priority="batch")
    for now in (10.0, 1000.0, 100_000.0):
        bench.desk.tick(now)
    assert not [one for one in bench.effects() if isinstance(one, Tell)]


def test_a_batch_job_whose_pictures_never_come_does_not_keep_its_place_for_ever(bench):
    submit(bench, priority="batch", delivery="exr")
    bench.desk.gone(0.0, ANN)
    bench.desk.tick(3599.0)
    assert bench.book.records["job"].state == "uploading"
    bench.desk.tick(3600.0)
    assert bench.book.records["job"].state == "cancelled"


def test_a_report_of_many_jobs_fits_in_a_message_the_newest_first():
    bench = Bench(queue_jobs=2000, client_jobs=2000).ready()
    bench.call(0.0, ANN, HELLO)
    for number in range(1200):
        submit(bench, key=f"job{number}", out=f"/shows/{'x' * 300}.####.exr", priority="batch")
        bench.call(0.0, ANN, m.Cancel(1, f"job{number}"))
        bench.engine(0.0, wire.JobEnded(key=f"job{number}", outcome="cancelled"))
    submit(bench, key="lives")
    (report,) = answers(bench.call(1.0, ANN, m.Status(1, True, 1000)))
    codec.decode(encode(report))
    assert [job.key for job in report.jobs[:3]] == ["lives", "job1199", "job1198"]
    assert len(report.jobs) > 400


def test_a_report_has_no_more_ended_jobs_than_were_asked_for(bench):
    for number in range(3):
        submit(bench, key=f"job{number}")
        bench.engine(0.0, wire.JobEnded(key=f"job{number}", outcome="done"))
    submit(bench, key="lives")
    (report,) = answers(bench.call(1.0, ANN, m.Status(1, True, 2)))
    assert [job.key for job in report.jobs] == ["lives", "job2", "job1"]


def test_a_job_that_waits_is_told_its_place_when_it_changes_and_not_at_every_tick(bench):
    for key in ("runs", "next", "last"):
        submit(bench, key=key)
    bench.engine(0.0, wire.JobEnded(key="runs", outcome="done"))
    bench.effects()
    told = []
    for now in (1.0, 2.0, 3.0):
        bench.desk.tick(now)
        told += [(one.key, one.position) for one in answers(bench.effects()) if isinstance(one, m.Progress)]
    assert told == [("last", 1)]


def test_a_client_that_is_no_admin_any_more_may_not_stop_the_server(bench):
    (refusal,) = answers(bench.call(1.0, ANN, m.Stop(1), admin=False))
    assert refusal.error.code == "AUTH_REFUSED" and not bench.desk.stopping


def test_a_question_with_a_value_out_of_range_is_answered_under_its_number(bench):
    (refusal,) = answers(bench.call(0.0, ANN, m.Status(7, True, 20_000)))
    assert (refusal.request, refusal.error.code) == (7, "PROTOCOL")
    assert refusal.error.remedy == "Correct that value."


def test_resume_sends_the_tail_then_live_events(bench):
    submit(bench, priority="batch")
    bench.engine(1.0, wire.JobStarted(key="job", frames=2, fresh=0, model="edge"))
    bench.effects()
    bob = Peer("ipc", b"bob")
    bench.call(1.0, bob, HELLO)
    effects = bench.call(1.0, bob, m.Resume(2, "job", 1))
    assert [type(one) for one in effects] == [Send, Replay]
    assert (effects[1].after, effects[1].upto) == (1, 2)
    bench.engine(2.0, wire.JobFrame(key="job", frame=1, path="/o", digest="d"))
    assert answers(bench.effects(), bob)[0].seq == 3


class AnyConversation(RuleBasedStateMachine):
    """Three clients say anything in any order, the engine works and dies; what each is told stays consistent."""

    def __init__(self):
        super().__init__()
        self.bench = Bench(queue_jobs=5, attempts=2)
        self.now = 0.0
        self.peers = [Peer("ipc", name) for name in (b"a", b"b", b"c")]
        self.greeted = set()
        self.count = 0
        self.keys = ["never"]
        self.job = None
        self.up = False
        self.terminal = {}
        self.last = {}

    def take(self):
        changes, effects = self.bench.out.take()
        for change in changes:
            if "INSERT INTO events" in change.sql:
                key, seq, tag, *_ = change.values
                assert seq == self.last.get(key, 0) + 1, "a gap in the numbers"
                self.last[key] = seq
                assert key not in self.terminal, "an event after the end"
                if m.MESSAGES[tag] in m.TERMINAL:
                    self.terminal[key] = tag
        for one in effects:
            if isinstance(one, Tell) and isinstance(one.message, wire.RunJob):
                assert self.job is None
                self.job = one.message.key
            if isinstance(one, Send) and one.peer not in self.greeted:
                assert isinstance(one.message, (m.NeedHello, m.Welcome, m.Rejected)), "told before HELLO"

    def say(self, index, message):
        peer = self.peers[index]
        if isinstance(message, m.Hello):
            self.greeted.add(peer)
        self.bench.desk.received(self.now, peer, encode(message), admin=True)
        self.take()

    who = st.integers(0, 2)

    @rule(who=who)
    def hello(self, who):
        self.say(who, HELLO)

    @rule(who=who, batch=st.booleans(), again=st.booleans(), exr=st.booleans(), data=st.data())
    def submit(self, who, batch, again, exr, data):
        if again:
            key = data.draw(st.sampled_from(self.keys))
        else:
            self.count += 1
            key = f"k{self.count}"
            self.keys.append(key)
        request = m.JobRequest(
            "/p", priority="batch" if batch else "interactive", delivery="exr" if exr else "files", out="/o/x"
        )
        self.say(who, m.Submit(1, key, request, "boot"))

    @rule(who=who, data=st.data(), kind=st.sampled_from(["cancel", "resume", "done", "status", "taken", "credit"]))
    def ask(self, who, data, kind):
        key = data.draw(st.sampled_from(self.keys))
        message = {
            "cancel": m.Cancel(1, key),
            "resume": m.Resume(1, key, 0),
            "done": m.PutsDone(key),
            "status": m.Status(1, True),
            "taken": m.Taken(key, "alpha", 1),
            "credit": m.Credit(key, 100),
        }[kind]
        self.say(who, message)

    @rule(seconds=st.sampled_from([0.5, 3.0, 31.0]))
    def time(self, seconds):
        self.now += seconds
        if self.up:
            self.bench.floor.scheduler.engine_beat(self.now, "gpu")
        self.bench.desk.tick(self.now)
        self.bench.floor.apply(self.bench.floor.scheduler.tick(self.now))
        self.greeted = {peer for peer in self.peers if self.bench.desk.sessions.find(peer) is not None}
        self.take()

    @rule()
    def engine_ready(self):
        self.up = self.bench.floor.scheduler.engines["gpu"].state != "down"
        if self.up:
            self.bench.engine(self.now, wire.Ready(device="gpu", models=MODELS))
            self.take()

    @precondition(lambda self: self.job)
    @rule(frame=st.integers(1, 3))
    def engine_works(self, frame):
        self.bench.engine(self.now, wire.JobStep(key=self.job, window=frame, frames=(frame,)))
        self.bench.engine(self.now, wire.JobFrame(key=self.job, frame=frame, path="/o", digest="d"))
        self.take()

    @precondition(lambda self: self.job)
    @rule(outcome=st.sampled_from(["done", "failed", "cancelled", "preempted"]))
    def engine_ends(self, outcome):
        key, self.job = self.job, None
        self.bench.engine(self.now, wire.JobEnded(key=key, outcome=outcome))
        self.take()

    @rule()
    def engine_dies(self):
        if self.bench.floor.scheduler.engines["gpu"].state != "down":
            self.up, self.job = False, None
            self.bench.floor.died(self.now, "gpu", "SIGSEGV")
            self.take()

    @invariant()
    def the_book_and_the_scheduler_agree(self):
        live = {key for key, record in self.bench.book.records.items() if not record.ended}
        assert live == set(self.bench.floor.scheduler.jobs)
        for key, job in self.bench.floor.scheduler.jobs.items():
            assert self.bench.book.records[key].state == job.state

    @invariant()
    def every_end_was_told_once(self):
        ended = {key for key, record in self.bench.book.records.items() if record.ended}
        assert ended == set(self.terminal)


TestAnyConversation = AnyConversation.TestCase
TestAnyConversation.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
