"""The client session's rules one by one, with a virtual clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mattebridge import messages as m
from mattebridge.errors import AuthRefused, Cancelled, JobConflict, ProtocolError, ServerBusy, ServerError, UsageError
from mattebridge.job_stream import LOST_STAGE, WAITING_STAGE
from mattebridge.session import Answer, ClientSession, Emit, Ended, Reopen, Send, Times, Transfer

BEAT_S = 2.0


def ready(times=None, boot="boot-1", now=0.0):
    session = ClientSession(m.Hello(1, 0), times or Times(), now)
    session.connected(now)
    session.received(m.Welcome(1, 0, boot, limits=m.Limits(beat_s=BEAT_S, beats_lost=3)), (), now)
    assert session.state == "ready"
    return session


def sent(instructions):
    return [each.message for each in instructions if isinstance(each, Send)]


def follow(session, key="job", now=0.0):
    (submit,) = sent(session.follow(key, m.JobRequest("plate"), b"", now))
    return submit


def test_hello_comes_first_and_questions_wait_for_welcome():
    session = ClientSession(m.Hello(1, 0, "me"), Times(), 0.0)
    assert session.ask(session.next_number(), m.Describe(0), 0.0) == []
    assert sent(session.connected(0.0)) == [m.Hello(1, 0, "me")]
    assert sent(session.received(m.Welcome(1, 0, "b"), (), 0.0)) == [m.Describe(1)]
    assert session.received(m.Described(1), (), 0.0) == [Answer(1, m.Described(1))]


@pytest.mark.parametrize("major", [0, 2, 3])
def test_another_major_version_is_refused_readably_and_for_good(major):
    session = ClientSession(m.Hello(1, 0), Times(), 0.0)
    session.ask(session.next_number(), m.Describe(0), 0.0)
    session.connected(0.0)
    (answer,) = session.received(m.Incompatible(major, 4, "bring it up to date"), (), 0.0)
    assert isinstance(answer.outcome, ProtocolError)
    assert f"{major}.4" in str(answer.outcome) and "bring it up to date" in str(answer.outcome)
    assert isinstance(session.ask(9, m.Describe(0), 1.0)[0].outcome, ProtocolError)
    assert session.connected(2.0) == []


@pytest.mark.parametrize("minor", [0, 1, 40])
def test_every_minor_version_of_ours_is_welcome(minor):
    session = ClientSession(m.Hello(1, 0), Times(), 0.0)
    session.connected(0.0)
    session.received(m.Welcome(1, minor, "b"), (), 0.0)
    assert session.state == "ready"


def test_need_hello_greets_again_and_asks_again():
    session = ready()
    session.ask(session.next_number(), m.Status(0), 0.0)
    assert sent(session.received(m.NeedHello("boot-1"), (), 0.1)) == [m.Hello(1, 0)]
    assert session.received(m.NeedHello("boot-1"), (), 0.1) == [], "one greeting at a time"
    assert sent(session.received(m.Welcome(1, 0, "boot-1"), (), 0.2)) == [m.Status(1)]


def test_stop_is_never_sent_to_a_server_that_came_after():
    session = ready()
    session.ask(session.next_number(), m.Stop(0), 0.0)
    (answer,) = session.disconnected(0.5)
    assert isinstance(answer.outcome, ServerError) and "may have stopped" in str(answer.outcome)
    session.connected(1.0)
    assert sent(session.received(m.Welcome(1, 0, "boot-2"), (), 1.0)) == []


def test_stop_is_sent_again_when_the_same_server_only_forgot_who_we_are():
    session = ready()
    session.ask(session.next_number(), m.Stop(0), 0.0)
    session.received(m.NeedHello("boot-1"), (), 0.1)
    assert sent(session.received(m.Welcome(1, 0, "boot-1"), (), 0.2)) == [m.Stop(1)]


def test_a_stop_that_another_server_answers_with_need_hello_is_given_up():
    session = ready()
    session.ask(session.next_number(), m.Stop(0), 0.0)
    answer, hello = session.received(m.NeedHello("boot-2"), (), 0.1)
    assert isinstance(answer.outcome, ServerError) and hello == Send(m.Hello(1, 0))
    assert sent(session.received(m.Welcome(1, 0, "boot-2"), (), 0.2)) == []


def test_what_still_comes_from_before_hello_is_not_acted_on():
    session = ready()
    session.received(m.Accepted(follow(session).request, "job", "queued"), (), 0.0)
    session.received(m.NeedHello("boot-1"), (), 0.1)
    assert session.received(m.FrameDone("job", 9, 0.0, 1002), (), 0.1) == [], "no RESUME before WELCOME"


def test_a_question_that_is_asked_again_has_its_whole_time_again():
    session = ready(Times(answer_timeout_s=30, lost_timeout_s=1000))
    session.ask(session.next_number(), m.Status(0), 0.0)
    session.disconnected(1.0)
    session.connected(100.0)
    session.received(m.Welcome(1, 0, "boot-1"), (), 100.0)
    session.received(m.Pong(1), (), 129.0)
    assert not [each for each in session.tick(129.0) if isinstance(each, Answer)]


def test_silence_is_broken_with_a_ping_and_a_silent_server_is_left():
    session = ready()
    assert session.tick(1.9) == []
    assert sent(session.tick(2.0)) == [m.Ping(1)]
    assert session.received(m.Pong(1, 31.0), (), 2.1) == [], "a long step is not a dead server"
    session.tick(4.1)
    assert Reopen(force=True) not in session.tick(8.0)
    assert Reopen(force=True) in session.tick(8.2)
    assert session.state == "offline"


def test_hello_is_repeated_until_it_is_answered_and_the_second_welcome_does_no_harm():
    session = ClientSession(m.Hello(1, 0), Times(connect_timeout_s=60), 0.0)
    session.ask(session.next_number(), m.Status(0), 0.0)
    session.connected(0.0)
    assert session.received(m.NeedHello("boot-1"), (), 1.0) == []
    assert sent(session.tick(2.0)) == [m.Hello(1, 0)]
    welcome = m.Welcome(1, 0, "boot-1")
    assert sent(session.received(welcome, (), 2.1)) == [m.Status(1)]
    assert session.received(welcome, (), 2.1) == []


def test_a_ping_of_the_server_is_answered():
    assert sent(ready().received(m.Ping(7), (), 0.1)) == [m.Pong(7)]


def test_a_server_that_was_never_reached_is_told_from_one_that_was_lost():
    session = ClientSession(m.Hello(1, 0), Times(connect_timeout_s=5), 0.0)
    session.ask(session.next_number(), m.Status(0), 0.0)
    assert not [each for each in session.tick(4.9) if isinstance(each, Answer)]
    (answer,) = [each for each in session.tick(5.0) if isinstance(each, Answer)]
    assert answer.outcome.details == {"reached": False}


def test_a_server_that_accepts_the_connection_and_never_answers_hello_counts_as_unreachable():
    session = ClientSession(m.Hello(1, 0), Times(connect_timeout_s=5), 0.0)
    session.ask(session.next_number(), m.Status(0), 0.0)
    session.connected(0.1)
    answers = [each for at in (2.0, 4.0, 5.1) for each in session.tick(at) if isinstance(each, Answer)]
    assert len(answers) == 1 and isinstance(answers[0].outcome, ServerError)


def test_a_cut_that_was_mended_in_time_is_forgotten():
    session = ready(Times(lost_timeout_s=60))
    submit = follow(session)
    session.received(m.Accepted(submit.request, "job", "queued"), (), 0.0)
    session.disconnected(1.0)
    session.connected(2.0)
    session.received(m.Welcome(1, 0, "boot-1", limits=m.Limits(beat_s=BEAT_S, beats_lost=3)), (), 2.0)
    session.received(m.Accepted(submit.request + 1, "job", "queued"), (), 2.1)
    session.received(m.Pong(1), (), 99.0)
    assert not [each for each in session.tick(100.0) if isinstance(each, Ended)]


@pytest.mark.parametrize("limits", [m.Limits(beat_s=0.0), m.Limits(beat_s=float("nan")), m.Limits(beats_lost=0)])
def test_a_server_whose_beat_nobody_could_keep_is_not_thrown_away_for_it(limits):
    session = ClientSession(m.Hello(1, 0), Times(), 0.0)
    session.connected(0.0)
    session.received(m.Welcome(1, 0, "boot-1", limits=limits), (), 0.0)
    assert session.tick(0.1) == [] and session.state == "ready"


def test_who_waits_is_told_of_a_lost_connection_at_once_and_of_the_way_back_at_the_end():
    session = ready(Times(lost_timeout_s=60))
    submit = follow(session)
    session.received(m.Accepted(submit.request, "job", "queued"), (), 0.0)
    told = [each for each in session.disconnected(1.0) if isinstance(each, Emit)]
    assert told == [Emit("job", m.Progress("job", LOST_STAGE))]
    assert not [each for each in session.disconnected(2.0) if isinstance(each, Emit)], "it is told once"
    (end,) = [each for each in session.tick(61.5) if isinstance(each, Ended)]
    assert "jobs --follow job" in end.error.remedy


def test_an_idle_client_does_not_mind_a_cut():
    session = ready(Times(lost_timeout_s=1))
    session.disconnected(1.0)
    assert all(isinstance(each, Reopen) for at in (2.5, 10.0, 100.0) for each in session.tick(at))


def test_an_answer_that_never_comes_is_given_up():
    session = ready(Times(answer_timeout_s=30))
    session.ask(session.next_number(), m.Check(0, m.JobRequest("p")), 0.0)
    found = []
    for at in range(1, 40):
        found += [each for each in session.tick(float(at)) if isinstance(each, Answer)]
        session.received(m.Pong(1), (), float(at))
    assert len(found) == 1 and "CHECK" in str(found[0].outcome)


def test_a_full_queue_is_tried_again_and_told():
    session = ready()
    submit = follow(session)
    (waiting,) = session.received(m.Busy(submit.request, 1.5, 8, 8), (), 0.0)
    assert waiting == Emit("job", m.Progress("job", WAITING_STAGE, position=8))
    assert sent(session.tick(1.4)) == []
    (again,) = sent(session.tick(1.5))
    assert isinstance(again, m.Submit) and again.key == "job"
    (accepted,) = session.received(m.Accepted(again.request, "job", "queued"), (), 1.6)
    assert isinstance(accepted, Transfer)


def test_a_queue_that_stays_full_fails_with_the_time_to_come_back():
    session = ready(Times(busy_timeout_s=10, answer_timeout_s=1e9))
    submit, now = follow(session), 0.0
    for _ in range(100):
        steps = session.received(m.Busy(submit.request, 4.0, 8, 8), (), now)
        if isinstance(steps[0], Ended):
            break
        found = []
        while not found:
            now += 0.5
            found = [each for each in sent(session.tick(now)) if isinstance(each, m.Submit)]
            session.received(m.Pong(1), (), now)
        submit = found[0]
    error = steps[0].error
    assert isinstance(error, ServerBusy) and error.details["retry_after_s"] == 4.0 and 10 <= now <= 12


def test_a_conflict_and_a_refusal_end_the_job_with_their_own_errors():
    session = ready()
    (end,) = session.received(m.Conflict(follow(session).request, "job", "other body"), (), 0.0)
    assert isinstance(end.error, JobConflict)
    info = m.ErrorInfo("AUTH_REFUSED", "no", "ask")
    (end,) = session.received(m.Rejected(follow(session, "other").request, info), (), 0.0)
    assert isinstance(end.error, AuthRefused) and end.error.remedy == "ask"


def test_cancel_before_the_server_took_the_job_ends_it_here():
    session = ready()
    submit = follow(session)
    session.received(m.Busy(submit.request, 60.0, 8, 8), (), 0.0)
    (end,) = session.cancel("job", 1.0)
    assert isinstance(end.error, Cancelled)
    offline = ClientSession(m.Hello(1, 0), Times(), 0.0)
    offline.follow("job", m.JobRequest("p"), b"", 0.0)
    (end,) = offline.cancel("job", 0.0)
    assert isinstance(end.error, Cancelled)


def welcomed_again(session, boot, now):
    session.disconnected(now)
    session.connected(now)
    return sent(session.received(m.Welcome(1, 0, boot), (), now))


def test_a_cancel_that_a_cut_swallowed_is_sent_again_for_a_job_that_runs():
    session = ready()
    submit = follow(session)
    session.received(m.Accepted(submit.request, "job", "running"), (), 0.0)
    session.cancel("job", 1.0)
    assert [type(each) for each in welcomed_again(session, "boot-1", 2.0)] == [m.Resume, m.Cancel]


def test_a_place_in_the_queue_ends_the_wait_and_a_later_full_queue_has_its_whole_time():
    session = ready(Times(busy_timeout_s=10))
    submit = follow(session)
    session.received(m.Busy(submit.request, 0.0, 8, 8), (), 0.0)
    assert sent(session.tick(0.05)) == [], "a server that names no time is not asked without a pause"
    (submit,) = sent(session.tick(0.1))
    session.received(m.Accepted(submit.request, "job", "queued"), (), 0.2)
    (resume,) = welcomed_again(session, "boot-2", 100.0)
    unknown = m.ErrorInfo("BAD_INPUT", "unknown", details={"job_unknown": True})
    (submit,) = sent(session.received(m.Rejected(resume.request, unknown), (), 100.0))
    (waiting,) = session.received(m.Busy(submit.request, 60.0, 8, 8), (), 100.0)
    session.received(m.Pong(1), (), 110.0)
    assert isinstance(waiting, Emit) and isinstance(sent(session.tick(110.0))[0], m.Submit)


def test_what_went_wrong_is_remembered_until_a_connection_is_made():
    session = ready(Times(lost_timeout_s=60))
    session.ask(session.next_number(), m.Describe(0), 0.0)
    session.disconnected(1.0, "it hangs up")
    session.disconnected(2.0)
    (answer,) = [each for each in session.tick(61.0) if isinstance(each, Answer)]
    assert "it hangs up" in str(answer.outcome)
    session.connected(62.0)
    session.received(m.Welcome(1, 0, "boot-1"), (), 62.0)
    session.disconnected(63.0)
    session.ask(session.next_number(), m.Describe(0), 63.0)
    (answer,) = [each for each in session.tick(123.0) if isinstance(each, Answer)]
    assert "it hangs up" not in str(answer.outcome)


def test_cancel_during_a_cut_is_sent_when_the_server_is_back_although_the_submit_was_never_answered():
    session = ready()
    follow(session)
    session.disconnected(1.0)
    assert session.cancel("job", 1.0) == []
    session.connected(2.0)
    (cancel,) = sent(session.received(m.Welcome(1, 0, "boot-1"), (), 2.0))
    assert isinstance(cancel, m.Cancel)
    (resume,) = sent(session.received(m.Cancelling(cancel.request, "job", "cancelling"), (), 2.0))
    assert resume.after == 0
    unknown = m.ErrorInfo("BAD_INPUT", "unknown", details={"job_unknown": True})
    (end,) = session.received(m.Rejected(resume.request, unknown), (), 2.0)
    assert isinstance(end.error, Cancelled), "a cancelled job is not submitted again"


def test_a_refused_cancel_does_not_end_the_job():
    session = ready()
    submit = follow(session)
    session.received(m.Accepted(submit.request, "job", "queued"), (), 0.0)
    (cancel,) = sent(session.cancel("job", 0.1))
    refusal = m.Rejected(cancel.request, m.ErrorInfo("REFUSED", "it is another user's"))
    assert session.received(refusal, (), 0.2) == []
    event = m.Queued("job", 1, 0.0)
    assert session.received(event, (), 0.3) == [Emit("job", event)]


def test_a_gap_in_the_numbers_is_asked_for_once():
    session = ready()
    session.received(m.Accepted(follow(session).request, "job", "queued"), (), 0.0)
    assert session.received(m.Queued("job", 1, 0.0), (), 0.0) == [Emit("job", m.Queued("job", 1, 0.0))]
    (resume,) = sent(session.received(m.FrameDone("job", 4, 0.0, 1002), (), 0.0))
    assert resume.after == 1
    assert session.received(m.FrameDone("job", 5, 0.0, 1003), (), 0.0) == []


def test_pixels_of_an_old_connection_are_not_sent_on_a_new_one():
    session = ready()
    session.received(m.Accepted(follow(session).request, "job", "uploading"), (), 0.0)
    old = session.epoch
    assert sent(session.post(m.PutsDone("job"), (), old, 0.0)) == [m.PutsDone("job")]
    session.disconnected(1.0)
    session.connected(1.0)
    session.received(m.Welcome(1, 0, "boot-1"), (), 1.0)
    assert session.post(m.PutsDone("job"), (), old, 1.0) == []
    assert sent(session.post(m.PutsDone("job"), (), session.epoch, 1.0)) == [m.PutsDone("job")]


def test_a_request_beyond_the_servers_limits_is_rejected_here_like_there():
    session = ready()
    submit = follow(session)
    info = m.ErrorInfo(**UsageError("too large").to_wire())
    (end,) = session.received(m.Rejected(submit.request, info), (), 0.0)
    assert isinstance(end.error, UsageError)


@given(st.lists(st.sampled_from(list(m.MESSAGES.values())), max_size=8), st.booleans())
def test_no_order_of_messages_breaks_the_session(kinds, in_job):
    """Whatever a server says, in any order, the session answers with instructions and never with an exception."""
    session = ready()
    submit = follow(session) if in_job else None
    for kind in kinds:
        message = _some(kind, submit.request if submit else 1)
        for each in session.received(message, (), 0.0):
            assert isinstance(each, (Answer, Emit, Ended, Reopen, Send, Transfer))
    session.tick(1.0)


def _some(kind, request):
    known = {
        "request": request,
        "key": "job",
        "seq": 1,
        "error": m.ErrorInfo("BAD_INPUT", "no"),
        "job": m.JobRequest("p"),
        "boot_id": "boot-9",
    }
    made = {}
    for name, field in kind.__dataclass_fields__.items():
        if name in known:
            made[name] = known[name]
        elif "int" in str(field.type) or "float" in str(field.type):
            made[name] = 1
        elif str(field.type) == "str":
            made[name] = "x"
    return kind(**made)
