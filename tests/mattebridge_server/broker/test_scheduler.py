"""Order, admission, preemption, deadlines and the deaths of engines, on a virtual clock."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mattebridge.errors import EngineFailed, JobTimeout, PoisonFrame
from mattebridge_server.broker.scheduler import Scheduler
from mattebridge_server.broker.scheduling import (
    End,
    Interrupt,
    KillEngine,
    Picture,
    Policy,
    Refusal,
    Requeue,
    Run,
    StartEngine,
)


def ready(policy=None, engines=("gpu",)):
    scheduler = Scheduler(policy or Policy(), engines)
    assert [type(one) for one in scheduler.tick(0.0)] == [StartEngine] * len(engines)
    for name in engines:
        scheduler.engine_ready(0.0, name)
    return scheduler


def submit(scheduler, now, key, **fields):
    assert scheduler.admit(fields.get("client", "")) is None
    return scheduler.submit(now, key, **fields)


def test_a_class_is_first_in_first_out():
    scheduler = ready()
    assert submit(scheduler, 0, "a") == [Run("gpu", "a", 1)]
    for key in "bcd":
        assert submit(scheduler, 1, key) == []
    assert scheduler.positions() == {"b": 1, "c": 2, "d": 3}
    assert [scheduler.position(key) for key in "abcd"] == [0, 1, 2, 3]
    order = []
    for key in "abcd":
        done = scheduler.engine_ended(2, "gpu", key, "done")
        order += [one.key for one in done if isinstance(one, Run)]
    assert order == ["b", "c", "d"]


def test_interactive_goes_before_waiting_batch():
    scheduler = ready()
    submit(scheduler, 0, "first")
    submit(scheduler, 1, "batch", batch=True)
    submit(scheduler, 2, "person")
    assert scheduler.engine_ended(3, "gpu", "first", "done") == [End("first", "done"), Run("gpu", "person", 1)]


def test_interactive_displaces_running_batch_which_then_goes_first_in_its_class():
    scheduler = ready()
    submit(scheduler, 0, "long", batch=True)
    submit(scheduler, 1, "later", batch=True)
    assert submit(scheduler, 2, "person") == [Interrupt("gpu", "long", "preempt")]
    assert submit(scheduler, 3, "person2") == []
    assert scheduler.engine_ended(4, "gpu", "long", "preempted") == [Requeue("long"), Run("gpu", "person", 1)]
    scheduler.engine_ended(5, "gpu", "person", "done")
    assert scheduler.engine_ended(6, "gpu", "person2", "done")[1] == Run("gpu", "long", 2)


def test_a_batch_job_that_waited_its_time_is_not_overtaken_any_more():
    scheduler = ready(Policy(ageing_s=100))
    submit(scheduler, 0, "running")
    submit(scheduler, 1, "batch", batch=True)
    submit(scheduler, 100, "before")
    submit(scheduler, 102, "after")
    order = []
    for key in ("running", "before", "batch"):
        order += [one.key for one in scheduler.engine_ended(200, "gpu", key, "done") if isinstance(one, Run)]
    assert order == ["before", "batch", "after"]


def test_a_batch_job_keeps_its_age_over_a_restart_of_the_server():
    scheduler = ready(Policy(ageing_s=100))
    submit(scheduler, 0, "running")
    submit(scheduler, 0, "person")
    submit(scheduler, 0, "batch", batch=True, age_s=101)
    assert scheduler.positions() == {"batch": 1, "person": 2}


def test_a_job_that_ran_before_a_restart_of_the_server_has_no_first_wait_any_more():
    scheduler = ready()
    submit(scheduler, 0, "running")
    submit(scheduler, 0, "ran", queue_timeout_s=10, age_s=100, ran=True)
    assert scheduler.tick(1) == []
    assert scheduler.engine_ended(1, "gpu", "running", "done")[1] == Run("gpu", "ran", 2)


def test_an_aged_batch_job_is_not_displaced():
    scheduler = ready(Policy(ageing_s=100))
    submit(scheduler, 0, "batch", batch=True)
    assert submit(scheduler, 101, "person") == []


def test_a_free_engine_spares_the_batch_job():
    scheduler = ready(engines=("one", "two"))
    submit(scheduler, 0, "batch", batch=True)
    assert submit(scheduler, 1, "person") == [Run("two", "person", 1)]
    assert submit(scheduler, 2, "person2") == [Interrupt("one", "batch", "preempt")]


def test_no_more_batch_jobs_are_displaced_than_people_wait():
    scheduler = ready(engines=("one", "two"))
    submit(scheduler, 0, "batch1", batch=True)
    submit(scheduler, 0, "batch2", batch=True)
    assert submit(scheduler, 1, "person") == [Interrupt("two", "batch2", "preempt")]
    assert submit(scheduler, 1, "batch3", batch=True) == []
    assert submit(scheduler, 2, "person2") == [Interrupt("one", "batch1", "preempt")]
    assert submit(scheduler, 3, "person3") == []


def test_admission_is_exact_in_all_and_for_each_client():
    scheduler = ready(Policy(queue_jobs=4, client_jobs=3))
    for number in range(3):
        submit(scheduler, 0, f"a{number}", client="a")
    refusal = scheduler.admit("a")
    assert isinstance(refusal, Refusal)
    assert (refusal.depth, refusal.limit) == (3, 3)
    assert refusal.retry_after_s > 0
    submit(scheduler, 0, "b0", client="b")
    refusal = scheduler.admit("c")
    assert (refusal.depth, refusal.limit) == (4, 4)
    scheduler.cancel(1, "a2")
    assert scheduler.admit("c") is None


def test_clients_refused_together_do_not_come_back_together():
    scheduler = ready(Policy(queue_jobs=1))
    submit(scheduler, 0, "one")
    times = [scheduler.admit("another").retry_after_s for _ in range(64)]
    assert max(times) < 2 * min(times)
    assert max(Counter(times).values()) <= 64 // 16


def test_the_time_to_come_back_follows_how_long_jobs_take():
    scheduler = ready(Policy(queue_jobs=1))
    submit(scheduler, 0, "job")
    before = scheduler.admit("ann")
    for now in range(0, 1000, 100):
        scheduler.engine_ended(now + 100, "gpu", "job", "done")
        submit(scheduler, now + 100, "job")
    assert scheduler.admit("ann").retry_after_s > 10 * before.retry_after_s


def test_cancel_ends_a_waiting_job_at_once_and_a_running_one_when_it_stopped():
    scheduler = ready()
    submit(scheduler, 0, "runs")
    submit(scheduler, 0, "waits")
    assert scheduler.cancel(1, "waits") == [End("waits", "cancelled")]
    assert scheduler.cancel(1, "runs") == [Interrupt("gpu", "runs", "cancel")]
    assert scheduler.cancel(1, "runs") == []
    assert scheduler.engine_ended(2, "gpu", "runs", "cancelled") == [End("runs", "cancelled")]
    assert scheduler.cancel(3, "runs") == []


def test_a_job_that_finished_before_it_heard_cancel_is_done():
    scheduler = ready()
    submit(scheduler, 0, "runs")
    scheduler.cancel(1, "runs")
    assert scheduler.engine_ended(1, "gpu", "runs", "done") == [End("runs", "done")]


def test_an_engine_that_ignores_cancel_is_killed_and_nobody_is_blamed():
    scheduler = ready(Policy(cancel_grace_s=5))
    submit(scheduler, 0, "deaf")
    submit(scheduler, 0, "next")
    scheduler.cancel(1, "deaf")
    assert scheduler.next_due() == 6
    assert scheduler.tick(5.9) == []
    assert [type(one) for one in scheduler.tick(6)] == [KillEngine]
    assert scheduler.engine_died(6, "gpu", "SIGKILL") == [End("deaf", "cancelled")]
    assert scheduler.tick(6) == [StartEngine("gpu")]
    assert scheduler.engine_ready(7, "gpu") == [Run("gpu", "next", 1)]


def test_deadlines_are_typed():
    scheduler = ready()
    submit(scheduler, 0, "runs", run_timeout_s=10)
    submit(scheduler, 0, "waits", queue_timeout_s=4)
    assert scheduler.next_due() == 4
    (end,) = scheduler.tick(4)
    assert (end.key, end.outcome, type(end.error)) == ("waits", "failed", JobTimeout)
    assert "waited longer" in end.error.message
    assert scheduler.tick(10) == [Interrupt("gpu", "runs", "cancel")]
    (end,) = scheduler.engine_ended(10.5, "gpu", "runs", "cancelled")
    assert (end.outcome, type(end.error)) == ("failed", JobTimeout)
    assert "ran longer" in end.error.message


def test_the_run_limit_counts_all_runs_and_the_queue_limit_only_the_first_wait():
    scheduler = ready()
    submit(scheduler, 0, "long", batch=True, run_timeout_s=10, queue_timeout_s=5)
    submit(scheduler, 6, "person")
    scheduler.engine_ended(6, "gpu", "long", "preempted")
    scheduler.engine_beat(50, "gpu")
    assert scheduler.tick(50) == []
    scheduler.engine_ended(50, "gpu", "person", "done")
    assert scheduler.next_due() == 54


def test_a_window_that_kills_the_engine_three_times_is_poison_and_others_are_not_blamed():
    scheduler = ready(Policy(attempts=3, backoff_s=1))
    submit(scheduler, 0, "job")
    now = 0.0
    for window, ends in ((0, False), (5, False), (5, False), (5, True)):
        scheduler.engine_step(now, "gpu", "job", window, (1013, 1014))
        done = scheduler.engine_died(now, "gpu", "SIGSEGV")
        if ends:
            (end,) = done
            assert isinstance(end.error, PoisonFrame)
            assert end.error.frame == 1013
            assert "3 times" in end.error.message
        else:
            assert done == [Requeue("job", window)]
            now = scheduler.next_due()
            assert scheduler.tick(now) == [StartEngine("gpu")]
            assert scheduler.engine_ready(now, "gpu")[0].key == "job"


def test_a_picture_that_was_read_at_every_death_is_named_whatever_window_was_run():
    scheduler = ready(Policy(attempts=3, start_attempts=99))
    submit(scheduler, 0, "job")
    killer, innocent = Picture("/p.1007.exr", 1007), Picture("/p.1005.exr", 1005)
    for now, window in ((0, 4), (100, 5), (200, 6)):
        scheduler.engine_step(now, "gpu", "job", window, (1001 + window,))
        done = scheduler.engine_died(now, "gpu", "SIGSEGV", [killer, innocent] if window == 4 else [killer])
        if window < 6:
            scheduler.tick(now + 50)
            scheduler.engine_ready(now + 50, "gpu")
    (end,) = done
    assert isinstance(end.error, PoisonFrame)
    assert (end.error.file, end.error.frame) == ("/p.1007.exr", 1007)
    assert end.error.message == "the engine died 3 times while it was reading /p.1007.exr: SIGSEGV"


def test_a_picture_that_two_threads_were_reading_counts_one_death():
    scheduler = ready(Policy(attempts=2, start_attempts=99))
    submit(scheduler, 0, "job")
    scheduler.engine_step(0, "gpu", "job", 4)
    assert scheduler.engine_died(0, "gpu", "SIGSEGV", [Picture("/p.1007.exr", 1007)] * 2) == [Requeue("job", 4)]


def test_the_pause_before_a_restart_grows_and_is_forgotten_by_a_stable_engine():
    scheduler = Scheduler(Policy(backoff_s=1, backoff_longest_s=8, stable_s=10, start_attempts=99), ["gpu"])
    now, pauses = 0.0, []
    for _ in range(6):
        scheduler.tick(now)
        scheduler.engine_died(now, "gpu", "no driver")
        pauses.append(scheduler.next_due() - now)
        now = scheduler.next_due()
    assert pauses == [1, 2, 4, 8, 8, 8]
    scheduler.tick(now)
    scheduler.engine_ready(now, "gpu")
    scheduler.engine_beat(now + 9, "gpu")
    scheduler.engine_died(now + 9, "gpu", "SIGSEGV")
    now += 9 + 8
    assert scheduler.next_due() == now
    scheduler.tick(now)
    scheduler.engine_ready(now, "gpu")
    scheduler.engine_beat(now + 11, "gpu")
    scheduler.engine_died(now + 11, "gpu", "SIGSEGV")
    assert scheduler.next_due() == now + 12


def test_when_no_engine_comes_up_jobs_fail_with_the_reason():
    scheduler = Scheduler(Policy(start_attempts=2), ["gpu"])
    scheduler.submit(0, "job")
    for _ in range(2):
        now = scheduler.next_due()
        scheduler.tick(now)
        done = scheduler.engine_died(now, "gpu", "no driver")
    (end,) = done
    assert isinstance(end.error, EngineFailed)
    assert "no driver" in end.error.message


def test_jobs_wait_for_the_engine_that_works_where_another_does_not_start():
    scheduler = Scheduler(Policy(start_attempts=1), ["good", "bad"])
    scheduler.tick(0)
    scheduler.engine_ready(0, "good")
    submit(scheduler, 0, "running")
    submit(scheduler, 0, "waits")
    assert scheduler.engine_died(0, "bad", "no driver") == []
    assert scheduler.engine_ended(1, "good", "running", "done") == [End("running", "done"), Run("good", "waits", 1)]


def test_a_start_that_never_ends_counts_as_one_that_failed():
    scheduler = Scheduler(Policy(start_attempts=2, engine_start_s=300, backoff_s=1), ["gpu"])
    scheduler.submit(0, "job")
    now = 0.0
    for _ in range(2):
        assert [type(one) for one in scheduler.tick(now)] == [StartEngine]
        now += 300
        assert [type(one) for one in scheduler.tick(now)] == [KillEngine]
        done = scheduler.engine_died(now, "gpu", "not ready after 300 s")
        now = scheduler.next_due()
    (end,) = done
    assert "not ready after 300 s" in end.error.message


def test_only_starts_that_fail_in_a_row_mean_that_no_engine_comes_up():
    """An engine that came up and died at its work is not one that does not start, however often that was."""
    scheduler = Scheduler(Policy(start_attempts=2, attempts=99, backoff_s=1), ["gpu"])
    scheduler.submit(0, "job")
    now = 0.0
    for _ in range(4):
        scheduler.tick(now)
        assert [type(one) for one in scheduler.engine_ready(now, "gpu")] == [Run]
        assert [type(one) for one in scheduler.engine_died(now, "gpu", "SIGSEGV")] == [Requeue]
        now = scheduler.next_due()
        scheduler.tick(now)
        assert scheduler.engine_died(now, "gpu", "no driver") == []
        now = scheduler.next_due()
    assert "job" in scheduler.jobs


def test_silence_is_a_hang_and_a_long_step_with_beats_is_not():
    scheduler = ready(Policy(engine_lost_s=30))
    submit(scheduler, 0, "job")
    for now in range(0, 300, 10):
        scheduler.engine_beat(now, "gpu")
        assert scheduler.tick(now) == []
    assert scheduler.next_due() == 320
    assert [type(one) for one in scheduler.tick(320)] == [KillEngine]


def test_while_the_server_itself_was_stopped_no_engine_was_silent():
    scheduler = ready()
    submit(scheduler, 0, "job")
    scheduler.engine_beat(10, "gpu")
    scheduler.away(110, 95)
    assert scheduler.tick(110) == []
    assert scheduler.tick(134.9) == [], "5 s of silence before the stop, and not yet 25 after it"
    assert [type(one) for one in scheduler.tick(135)] == [KillEngine]


def test_drain_gives_jobs_back_and_starts_nothing():
    scheduler = ready(engines=("one", "two"))
    submit(scheduler, 0, "a")
    submit(scheduler, 0, "b")
    submit(scheduler, 0, "c")
    assert scheduler.drain() == [Interrupt("one", "a", "drain"), Interrupt("two", "b", "drain")]
    assert not scheduler.drained()
    assert scheduler.engine_ended(1, "one", "a", "preempted") == [Requeue("a")]
    assert scheduler.engine_ended(1, "two", "b", "done") == [End("b", "done")]
    assert scheduler.drained()
    assert set(scheduler.jobs) == {"a", "c"}


def test_a_fast_drain_kills_and_still_gives_the_job_back():
    scheduler = ready()
    submit(scheduler, 0, "a")
    scheduler.drain()
    assert [type(one) for one in scheduler.drain(fast=True)] == [KillEngine]
    assert scheduler.engine_died(1, "gpu", "SIGKILL") == [Requeue("a")]
    assert scheduler.drained()
    assert scheduler.next_due() is None


def test_a_job_waits_for_its_uploads():
    scheduler = ready()
    assert submit(scheduler, 0, "up", ready=False) == []
    assert submit(scheduler, 1, "b") == [Run("gpu", "b", 1)]
    assert scheduler.uploaded(2, "up") == []
    assert scheduler.uploaded(2, "up") == []
    assert scheduler.engine_ended(3, "gpu", "b", "done")[1] == Run("gpu", "up", 1)


@pytest.mark.parametrize("late", ["engine_ended", "engine_step"])
def test_what_an_engine_says_of_a_job_it_does_not_have_changes_nothing(late):
    scheduler = ready(engines=("one", "two"))
    submit(scheduler, 0, "a")
    if late == "engine_ended":
        assert scheduler.engine_ended(1, "two", "a", "done") == []
        assert scheduler.engine_ended(1, "one", "nobody", "done") == []
    else:
        scheduler.engine_step(1, "two", "a", 7)
        assert scheduler.jobs["a"].window == -1
    assert scheduler.jobs["a"].engine == "one"


class Anything(RuleBasedStateMachine):
    """Clients and engines do whatever they like, in any order; the promises hold all the same."""

    def __init__(self):
        super().__init__()
        self.policy = Policy(queue_jobs=6, client_jobs=4, ageing_s=50, attempts=2, cancel_grace_s=5, backoff_s=1)
        self.scheduler = Scheduler(self.policy, ["one", "two"])
        self.now = 0.0
        self.count = 0
        self.ends = {}
        self.admitted = set()
        self.running = {}
        self.processes = {"one": False, "two": False}
        self.asked = set()

    def obey(self, instructions):
        for one in instructions:
            if isinstance(one, Run):
                assert self.processes[one.engine]
                assert one.engine not in self.running, "two jobs on one engine"
                assert one.key not in self.running.values(), "one job on two engines"
                self.running[one.engine] = one.key
            elif isinstance(one, End):
                assert one.key not in self.ends, "a second end"
                self.ends[one.key] = one.outcome
            elif isinstance(one, StartEngine):
                assert not self.processes[one.engine]
                self.processes[one.engine] = True
            elif isinstance(one, Interrupt):
                assert self.running.get(one.engine) == one.key
                self.asked.add(one.key)
            elif isinstance(one, KillEngine):
                assert self.processes[one.engine]

    @rule(batch=st.booleans(), client=st.sampled_from("ab"), limit=st.sampled_from([0, 7]), up=st.booleans())
    def submit(self, batch, client, limit, up):
        refusal = self.scheduler.admit(client)
        unfinished = self.admitted - set(self.ends)
        mine = [key for key in unfinished if key.startswith(client)]
        assert (refusal is None) == (len(unfinished) < 6 and len(mine) < 4)
        if refusal is None:
            self.count += 1
            key = f"{client}{self.count}"
            self.admitted.add(key)
            fields = {"queue_timeout_s": limit, "run_timeout_s": limit * 2}
            self.obey(self.scheduler.submit(self.now, key, client=client, batch=batch, ready=not up, **fields))

    @precondition(lambda self: self.admitted)
    @rule(data=st.data())
    def cancel(self, data):
        self.obey(self.scheduler.cancel(self.now, data.draw(st.sampled_from(sorted(self.admitted)))))

    @precondition(lambda self: self.admitted)
    @rule(data=st.data())
    def uploaded(self, data):
        self.obey(self.scheduler.uploaded(self.now, data.draw(st.sampled_from(sorted(self.admitted)))))

    @rule(seconds=st.sampled_from([0.1, 1, 6, 40]))
    def time_passes(self, seconds):
        self.now += seconds
        for name, alive in self.processes.items():
            if alive:
                self.scheduler.engine_beat(self.now, name)
        self.obey(self.scheduler.tick(self.now))

    @rule(name=st.sampled_from(["one", "two"]))
    def engine_ready(self, name):
        if self.processes[name]:
            self.obey(self.scheduler.engine_ready(self.now, name))

    @rule(name=st.sampled_from(["one", "two"]), window=st.integers(0, 2))
    def step(self, name, window):
        if name in self.running:
            self.scheduler.engine_step(self.now, name, self.running[name], window, (window,))

    @rule(name=st.sampled_from(["one", "two"]), finished=st.booleans())
    def job_ends(self, name, finished):
        key = self.running.pop(name, None)
        if key is not None:
            outcome = "done" if finished or key not in self.asked else "preempted"
            self.asked.discard(key)
            self.obey(self.scheduler.engine_ended(self.now, name, key, outcome))

    @rule(name=st.sampled_from(["one", "two"]))
    def engine_dies(self, name):
        if self.processes[name]:
            self.processes[name] = False
            self.asked.discard(self.running.pop(name, ""))
            self.obey(self.scheduler.engine_died(self.now, name, "SIGSEGV"))

    @invariant()
    def every_job_is_held_or_ended(self):
        assert set(self.scheduler.jobs) == self.admitted - set(self.ends)

    @invariant()
    def no_engine_idles_while_a_job_waits(self):
        idle = [engine for engine in self.scheduler.engines.values() if engine.state == "idle"]
        assert not (idle and self.scheduler.waiting())

    @invariant()
    def the_first_in_line_displaces_a_batch_job_behind_it(self):
        waiting = self.scheduler.waiting()
        held = [job for job in self.scheduler.jobs.values() if job.engine]
        if waiting and not waiting[0].batch and not any(job.state != "running" for job in held):
            assert not any(job.batch and job.rank > waiting[0].rank for job in held)

    @invariant()
    def positions_count_everybody_ahead(self):
        running = sum(1 for job in self.scheduler.jobs.values() if job.engine)
        assert sorted(self.scheduler.positions().values()) == [
            running + index for index in range(len(self.scheduler.waiting()))
        ]

    def teardown(self):
        """Let everything come to its end: no job may be left."""
        for _ in range(200):
            self.now += 1
            self.obey(self.scheduler.tick(self.now))
            for name, alive in self.processes.items():
                if alive:
                    self.obey(self.scheduler.engine_ready(self.now, name))
                    self.scheduler.engine_beat(self.now, name)
                    key = self.running.pop(name, None)
                    if key is not None:
                        outcome = "preempted" if key in self.asked else "done"
                        self.asked.discard(key)
                        self.obey(self.scheduler.engine_ended(self.now, name, key, outcome))
            for key in list(self.scheduler.jobs):
                self.obey(self.scheduler.uploaded(self.now, key))
            if not self.scheduler.jobs:
                break
        assert set(self.ends) == self.admitted
        super().teardown()


TestAnything = Anything.TestCase
TestAnything.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
