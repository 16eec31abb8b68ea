"""Whatever happens to the connection and the server, a followed job ends exactly as it would have undisturbed.

A model of the server with a FIFO channel either way; hypothesis cuts it, restarts the server with and without its
journal, repeats events and fills the queue. No socket, no clock.
"""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mattebridge import messages as m
from mattebridge.errors import ServerError
from mattebridge.session import Answer, ClientSession, Emit, Ended, Send, Times

KEY = "job"
FRAMES = 6
BEAT_S = 2.0


def story(run=0):
    """The job's events; a server that forgot the job and is given it again tells others than the first time."""
    frames = [m.FrameDone(KEY, 3 + i, 0.0, 1001 + i, digest=f"run {run}") for i in range(FRAMES)]
    return [m.Queued(KEY, 1, 0.0), m.Started(KEY, 2, 0.0), *frames, m.Done(KEY, 3 + FRAMES, 0.0, written=FRAMES)]


class JobUnderFire(RuleBasedStateMachine):
    @initialize(steps=st.integers(0, FRAMES))
    def begin(self, steps):
        """The job begins in peace: ``steps`` events are written, and most of them heard, before anything happens."""
        self.now = 100.0
        self.session = ClientSession(m.Hello(1, 0), Times(1e9, 1e9, 1e9, 1e9), self.now)
        self.up, self.down = deque(), deque()
        self.boots = 1
        self.greeted = self.subscribed = self.linked = False
        self.journal = None  # the job's events in the server, once it was accepted
        self.forgot = self.run = 0
        self.busy = 0
        self.lives = [[]]
        self.ended = []
        self.perform(self.session.follow(KEY, m.JobRequest("plate"), b"", self.now))
        self.link()
        for _ in range(steps):
            self.both_read(3)
            if self.journal is not None:
                self.engine_steps()

    # -- plumbing --------------------------------------------------------------------------------------------------

    def perform(self, instructions):
        for instruction in instructions:
            if isinstance(instruction, Send) and self.linked:
                self.up.append(instruction.message)
            elif isinstance(instruction, Emit) and not isinstance(instruction.event, m.Progress):
                if instruction.event.seq == 1 and self.lives[-1]:
                    assert len(self.lives) <= self.forgot, "events began again although nothing was forgotten"
                    self.lives.append([])
                self.lives[-1].append(instruction.event)
            elif isinstance(instruction, Ended):
                self.ended.append(instruction.error)

    def link(self):
        self.linked, self.greeted, self.subscribed = True, False, False
        self.perform(self.session.connected(self.now))

    def serve(self, message):
        if isinstance(message, m.Hello):
            self.greeted, self.subscribed = True, False
            self.down.append(m.Welcome(1, 0, f"boot-{self.boots}", limits=m.Limits(beat_s=BEAT_S)))
        elif not self.greeted:
            self.down.append(m.NeedHello(f"boot-{self.boots}"))
        elif isinstance(message, m.Ping):
            self.down.append(m.Pong(message.number))
        elif isinstance(message, m.Submit):
            self.serve_submit(message)
        elif isinstance(message, m.Resume):
            self.serve_resume(message)

    def serve_submit(self, message):
        if message.boot_id != f"boot-{self.boots}":
            self.down.append(m.NeedHello(f"boot-{self.boots}"))
        elif self.busy and self.journal is None:
            self.busy -= 1
            self.down.append(m.Busy(message.request, 0.5, 8, 8))
        else:
            existing = self.journal is not None
            if not existing:
                self.journal, self.run = 0, self.forgot
            self.subscribed = True
            self.down.append(m.Accepted(message.request, KEY, "queued", self.journal, existing))

    def serve_resume(self, message):
        if self.journal is None:
            error = m.ErrorInfo("BAD_INPUT", "unknown", details={"job_unknown": True})
            self.down.append(m.Rejected(message.request, error))
            return
        self.subscribed = True
        self.down.append(m.Accepted(message.request, KEY, "running", self.journal, True))
        self.down.extend(story(self.run)[message.after : self.journal])

    # -- what may happen -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.up and self.linked)
    @rule()
    def server_reads(self):
        self.serve(self.up.popleft())

    @precondition(lambda self: self.down)
    @rule()
    def client_reads(self):
        self.perform(self.session.received(self.down.popleft(), (), self.now))

    @precondition(lambda self: self.linked)
    @rule(messages=st.integers(1, 12))
    def both_read(self, messages):
        for _ in range(messages):
            if self.up:
                self.serve(self.up.popleft())
            if self.down:
                self.perform(self.session.received(self.down.popleft(), (), self.now))

    @precondition(lambda self: self.journal is not None and self.journal < len(story()))
    @rule()
    def engine_steps(self):
        self.journal += 1
        if self.subscribed and self.linked:
            self.down.append(story(self.run)[self.journal - 1])

    @precondition(lambda self: self.journal and self.subscribed and self.linked)
    @rule(back=st.integers(1, 4))
    def an_event_comes_twice(self, back):
        self.down.append(story(self.run)[max(0, self.journal - back)])

    @precondition(lambda self: self.linked)
    @rule()
    def cut(self):
        self.linked = False
        self.up.clear()
        self.down.clear()
        self.perform(self.session.disconnected(self.now))

    @precondition(lambda self: not self.linked)
    @rule()
    def reconnect(self):
        self.link()

    @precondition(lambda self: self.journal)
    @rule(unseen=st.booleans(), forgets=st.sampled_from([False, False, True]))
    def server_restarts(self, unseen, forgets):
        """``unseen``: ZeroMQ reconnects by itself and the client's queued messages reach the new server."""
        self.boots += 1
        self.greeted = self.subscribed = False
        self.down.clear()
        if forgets:
            self.journal = None
            self.forgot += 1
        if not unseen and self.linked:
            self.cut()

    @rule(times=st.integers(1, 2))
    def queue_fills(self, times):
        self.busy = times

    @rule(seconds=st.floats(0.1, 3.0))
    def time_passes(self, seconds):
        self.now += seconds
        for instruction in self.session.tick(self.now):
            self.perform([instruction])

    # -- what must hold --------------------------------------------------------------------------------------------

    @invariant()
    def events_are_consecutive(self):
        for life in getattr(self, "lives", ()):
            assert [event.seq for event in life] == list(range(1, len(life) + 1))

    @invariant()
    def nothing_follows_the_end(self):
        told = [event for life in getattr(self, "lives", ()) for event in life if isinstance(event, m.TERMINAL)]
        assert len(told) + len(getattr(self, "ended", ())) <= 1

    def teardown(self):
        """Left in peace, the job ends as if nothing had happened."""
        self.busy = 0
        for _ in range(200):
            if self.lives[-1] and isinstance(self.lives[-1][-1], m.Done):
                break
            if self.session.state == "offline" or not self.linked:
                self.link()
            while self.up or self.down:
                if self.up:
                    self.serve(self.up.popleft())
                else:
                    self.perform(self.session.received(self.down.popleft(), (), self.now))
            if self.journal is not None and self.journal < len(story()):
                self.engine_steps()
            self.time_passes(0.6)
        assert self.ended == []
        assert self.lives[-1] == story(self.run)
        assert self.session.state != "refused"


JobUnderFire.TestCase.settings = settings(max_examples=100, stateful_step_count=50)
test_a_job_survives_whatever_happens = JobUnderFire.TestCase


def test_a_forgetful_server_is_given_the_job_once_per_start_and_no_more():
    session = ClientSession(m.Hello(1, 0), Times(), 0.0)
    session.follow(KEY, m.JobRequest("plate"), b"", 0.0)
    session.connected(0.0)
    (submit,) = session.received(m.Welcome(1, 0, "boot-1"), (), 0.0)
    session.received(m.Accepted(submit.message.request, KEY, "queued"), (), 0.0)
    session.disconnected(0.0)
    session.connected(0.0)
    (resume,) = session.received(m.Welcome(1, 0, "boot-2"), (), 0.0)
    unknown = m.ErrorInfo("BAD_INPUT", "unknown", details={"job_unknown": True})
    (again,) = session.received(m.Rejected(resume.message.request, unknown), (), 0.0)
    assert isinstance(again.message, m.Submit) and again.message.boot_id == "boot-2" and again.message.key == KEY
    _, resume = session.received(m.Accepted(again.message.request, KEY, "queued", existing=True), (), 0.0)
    (end,) = session.received(m.Rejected(resume.message.request, unknown), (), 0.0)
    assert isinstance(end, Ended)


def test_a_cut_that_lasts_fails_the_job_and_every_question_as_lost_not_as_unreachable():
    session = ClientSession(m.Hello(1, 0), Times(connect_timeout_s=5, lost_timeout_s=60), 0.0)
    session.connected(0.0)
    session.received(m.Welcome(1, 0, "boot-1"), (), 0.0)
    session.follow(KEY, m.JobRequest("plate"), b"", 0.0)
    session.ask(session.next_number(), m.Describe(0), 0.0)
    session.disconnected(1.0)
    assert not [each for each in session.tick(60.9) if isinstance(each, (Ended, Answer))]
    failed = [each for each in session.tick(61.1) if isinstance(each, (Ended, Answer))]
    errors = [each.error if isinstance(each, Ended) else each.outcome for each in failed]
    assert len(errors) == 2 and all(type(error) is ServerError for error in errors)
    assert all(error.details == {"reached": True} for error in errors)
