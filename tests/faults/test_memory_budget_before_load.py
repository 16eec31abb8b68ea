"""Promise 15. What does not fit is refused with the numbers before it is loaded; a failed load leaves the rest serving.

The ledger by itself is in tests/mattebridge_server/engine; here it works with models that count their bytes.
"""

import pytest

from mattebridge import messages as m
from mattebridge.errors import ModelNotInstalled, OutOfMemory
from mattebridge_server.engine.shelf import Shelf
from mattebridge_server.models.base import Device, Model, ModelCard
from mattebridge_server.models.registry import Registry

GIB = 2**30


def test_a_preset_beyond_the_device_is_refused_at_submit_with_the_numbers(broker):
    broker.start()
    client = broker.client()
    client.models_up()
    refused = client.submit("big", model="videomama", preset="large")
    assert refused.error.code == "OUT_OF_MEMORY"
    assert "needs 20.0 GiB, the device has 8.0 GiB" in refused.error.message
    assert refused.error.details["need_bytes"] == 20 * GIB
    problem = client.ask(m.Check, job=m.JobRequest("/p.####.exr", model="videomama", preset="large")).problems[0]
    assert problem.code == "OUT_OF_MEMORY"
    assert isinstance(client.submit("small", model="edge"), m.Accepted)


def model(name, size, fails=False):
    """A model that needs ``size`` GiB and counts itself while loaded."""

    class Sized(Model):
        card = ModelCard(name, name, "", "MIT", "frame", "linear", "1")
        loads = 0

        def memory_need(self, canvas, frames, precision):
            return size * GIB

        def load(self, spec):
            if fails:
                raise ModelNotInstalled("its weights are damaged")
            held[name] = size
            type(self).loads += 1

        def unload(self):
            del held[name]

        def run(self, window, params, checkpoint):
            return iter(())

    return Sized


held: dict[str, int] = {}


@pytest.fixture
def shelf():
    held.clear()
    classes = {name: model(name, size) for name, size in (("a", 3), ("b", 3), ("c", 3), ("huge", 20))}
    classes["broken"] = model("broken", 1, fails=True)
    return Shelf(Device("cpu", 0, 1, 64 * GIB), (), Registry(classes, {}), budget_bytes=8 * GIB)


def test_the_least_recently_used_idle_model_leaves(shelf):
    for name in ("a", "b", "a", "c"):
        shelf.get(name)
    assert sorted(held) == ["a", "c"]
    assert sum(held.values()) * GIB <= shelf.budget_bytes


def test_a_running_model_is_never_made_to_leave(shelf):
    shelf.get("a")
    shelf.get("b")
    with shelf.in_use("a"), shelf.in_use("b"), pytest.raises(OutOfMemory):
        shelf.get("c")
    assert sorted(held) == ["a", "b"]
    shelf.get("c")
    assert "c" in held


def test_what_never_fits_is_refused_and_nothing_is_unloaded_for_it(shelf):
    shelf.get("a")
    with pytest.raises(OutOfMemory) as caught:
        shelf.get("huge")
    assert "20" in caught.value.message
    assert sorted(held) == ["a"]


def test_a_load_that_fails_leaves_the_others_serving(shelf):
    shelf.get("a")
    with pytest.raises(ModelNotInstalled):
        shelf.get("broken")
    assert sorted(held) == ["a"]
    assert shelf.get("a") is shelf.get("a")
    assert shelf.registry.get("a").loads == 1
