"""The memory ledger never promises more than the device has, and never asks a running model to leave."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mattebridge.errors import OutOfMemory
from mattebridge_server.engine.ledger import Holding, Ledger, Need

GIB = 2**30
A, B, C = Need("a", 3, 7), Need("b", 4, 6), Need("c", 2, 9)


def _with(budget: int, *needs: Need) -> Ledger:
    ledger = Ledger(budget)
    for need in needs:
        ledger.loaded(need)
    return ledger


def test_a_model_that_fits_evicts_nobody() -> None:
    ledger = _with(20, A)
    assert ledger.admit(B).evict == ()


def test_the_least_recently_used_leaves_first_and_only_as_many_as_needed() -> None:
    ledger = _with(12, A, B)
    assert ledger.admit(C).evict == ("a", "b")
    ledger = _with(13, A, B)
    assert ledger.admit(C).evict == ("a",)
    ledger.pin(A)
    ledger.unpin("a")
    assert ledger.admit(C).evict == ("b",)
    ledger.loaded(B)
    assert ledger.admit(C).evict == ("a",)


def test_a_running_model_stays_and_its_working_set_counts() -> None:
    ledger = _with(16, A, B)
    ledger.pin(A)
    assert ledger.used_bytes == 3 + 4 + 4
    assert ledger.admit(C).evict == ("b",)
    with pytest.raises(ValueError, match="runs"):
        ledger.evicted("a")


def test_a_refusal_has_the_numbers_and_tells_waiting_from_never() -> None:
    ledger = _with(10 * GIB)
    with pytest.raises(OutOfMemory, match=r"12\.0 GiB .* budget is 10\.0 GiB") as never:
        ledger.admit(Need("large", 3 * GIB, 12 * GIB))
    assert "smaller preset" in never.value.remedy and never.value.details["need_bytes"] == 12 * GIB
    busy = Need("busy", 2 * GIB, 5 * GIB)
    ledger.loaded(busy)
    ledger.pin(busy)
    with pytest.raises(OutOfMemory, match=r"5\.0 GiB are in use") as later:
        ledger.admit(Need("medium", 3 * GIB, 8 * GIB))
    assert "Wait" in later.value.remedy


def test_a_refusal_tells_the_whole_need_also_of_a_model_that_is_loaded() -> None:
    ledger = _with(13 * GIB, Need("network", 4 * GIB, 8 * GIB))
    with pytest.raises(OutOfMemory, match=r"network needs 16\.0 GiB .* budget is 13\.0 GiB"):
        ledger.admit(Need("network", 4 * GIB, 16 * GIB))


def test_what_the_driver_holds_counts_once() -> None:
    one, other = Need("one", 5, 7, driver_bytes=2), Need("other", 4, 6, driver_bytes=2)
    ledger = _with(11, one)
    ledger.pin(one)
    assert ledger.admit(other).evict == ()
    ledger.loaded(other)
    assert ledger.used_bytes == 2 + 3 + 2 + 2
    with pytest.raises(OutOfMemory):
        _with(10, one).admit(Need("other", 4, 12, driver_bytes=2))
    ledger.unpin("one")
    ledger.evicted("one")
    assert ledger.used_bytes == 4, "who stays needs the driver too"


def test_asking_changes_nothing() -> None:
    ledger = _with(12, A, B)
    before = ledger.holdings()
    ledger.admit(C)
    ledger.fitting([A, B, C, Need("x", 1, 99)])
    assert ledger.holdings() == before and ledger.admit(C).evict == ("a", "b")


def test_what_fits_is_offered() -> None:
    ledger = _with(8)
    assert ledger.fitting([Need("large", 3, 12), Need("small", 3, 8), B]) == (Need("small", 3, 8), B)


def test_a_loaded_model_needs_only_its_working_set_to_run() -> None:
    ledger = _with(7, A)
    assert ledger.admit(A).evict == ()
    ledger.pin(A)
    assert ledger.used_bytes == ledger.budget_bytes


def test_a_reload_that_fails_leaves_the_old_model_serving() -> None:
    ledger = _with(30, A)
    reload = Need("a", 6, 12)
    assert ledger.admit(reload).evict == ()
    assert ledger.holdings() == (Holding("a", 3, 0),)
    ledger.pin(A)
    ledger.unpin("a")


def test_a_reload_without_room_for_both_lets_everyone_else_leave_first() -> None:
    ledger = _with(12, A, B)
    assert ledger.admit(Need("a", 6, 9)).evict == ("b",)
    assert ledger.admit(Need("a", 6, 11)).evict == ("b", "a")


def test_a_model_that_waits_for_another_lends_its_working_set_and_has_it_again_afterwards() -> None:
    ledger = _with(12, A, B)
    ledger.pin(A)
    ledger.pause("a")
    assert ledger.used_bytes == 3 + 4
    assert ledger.admit(C).evict == ("b",)
    ledger.resume(A)
    assert ledger.used_bytes == 3 + 4 + 4
    with pytest.raises(OutOfMemory):
        ledger.admit(C)
    ledger.unpin("a")
    assert ledger.used_bytes == 3 + 4


def test_a_model_that_runs_twice_needs_the_larger_of_its_working_sets() -> None:
    ledger = _with(20, A)
    ledger.pin(A)
    ledger.pin(replace(A, peak_bytes=4))
    assert ledger.used_bytes == 7


def test_an_impossible_need_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="do not fit together"):
        Need("a", 5, 4)


class LedgerMachine(RuleBasedStateMachine):
    """Any order of loads, runs, failures and evictions."""

    NAMES = ("a", "b", "c", "d")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(20)
        self.running: list[Need] = []

    @rule(name=st.sampled_from(NAMES), weights=st.integers(0, 12), work=st.integers(0, 12), works=st.booleans())
    def run(self, name: str, weights: int, work: int, works: bool) -> None:
        need = Need(name, weights, weights + work, min(weights, 2))
        running = {one.name: one for one in self.running}
        if name in running:  # a loaded and running model is run as it is
            need = replace(running[name], peak_bytes=running[name].weights_bytes + work)
        before = self.ledger.holdings()
        try:
            admission = self.ledger.admit(need)
        except OutOfMemory:
            assert self.ledger.holdings() == before
            return
        assert not set(admission.evict) & running.keys()
        for evicted in admission.evict:
            self.ledger.evicted(evicted)
        if not works:
            assert {h.name for h in before} - set(admission.evict) == {h.name for h in self.ledger.holdings()}
            return
        self.ledger.loaded(need)
        self.ledger.pin(need)
        self.running.append(need)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        need = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        self.ledger.unpin(need.name)

    @invariant()
    def the_budget_holds(self) -> None:
        assert 0 <= self.ledger.used_bytes <= self.ledger.budget_bytes

    @invariant()
    def pins_are_what_runs(self) -> None:
        pins = {holding.name: holding.pins for holding in self.ledger.holdings() if holding.pins}
        names = [need.name for need in self.running]
        assert pins == {name: names.count(name) for name in names}


TestAnyOrderOfEvents = LedgerMachine.TestCase
