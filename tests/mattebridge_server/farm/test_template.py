"""What the template asks of a scheduler and of a worker, for a network and for a model that needs no GPU."""

from __future__ import annotations

from typing import Any

import pytest

from mattebridge_server.farm.bundle import MIB, Choices, job_spec
from mattebridge_server.farm.shot import with_paths
from mattebridge_server.farm.template import JobSpec, job_template
from mattebridge_server.models.base import Canvas
from mattebridge_server.models.videomama.card import memory_need
from mattebridge_server.pipeline.plan import ShotPlan
from mattebridge_server.pipeline.region import Region

CANVAS = (1024, 576)
WINDOWS = {"temporal": "window", "length": 16, "stride": 12, "precision": "bf16"}
NETWORK = {"model": "videomama", "region": Region(1000, 560, ((0, 0),) * 48, CANVAS), **WINDOWS}
SINGLE = {"model": "identity", "temporal": "frame", "length": 1, "stride": 1}
PATHS = {"plate": "/in/p.####.exr", "mask": "/in/m.####.exr", "out": "/out/a.####.exr"}


def spec_of(about: dict[str, Any], **choices: Any) -> JobSpec:
    window = (0, 0, 1920, 1080)
    plan = ShotPlan(frames="1-48", model_digest="any", radius=0, plate=window, display=window, **about)
    return job_spec(with_paths(plan.to_json(), PATHS), Choices(**choices))


def template_of(about: dict[str, Any], **choices: Any) -> dict[str, Any]:
    return job_template(spec_of(about, **choices))


def amounts(template: dict[str, Any]) -> dict[str, tuple[int, int | None]]:
    asked = template["steps"][0]["hostRequirements"]["amounts"]
    return {one["name"].removeprefix("amount.worker."): (one["min"], one.get("max")) for one in asked}


def actions(template: dict[str, Any]) -> list[dict[str, Any]]:
    scripts = [step["script"] for step in template["steps"]]
    scripts += [one["script"] for step in template["steps"] for one in step.get("stepEnvironments", [])]
    return [action for script in scripts for action in script["actions"].values()]


def test_a_network_asks_for_one_gpu_with_the_memory_of_its_card() -> None:
    needed = -(-memory_need(Canvas(*CANVAS), 16, "bf16") // MIB)
    asked = amounts(template_of(NETWORK))
    assert (asked["gpu"], asked["gpu.memory"]) == ((1, 1), (needed, None))
    assert asked["vcpu"] == (2, None) and asked["memory"][0] > 1500


@pytest.mark.parametrize(("about", "device"), [(SINGLE, ""), (NETWORK, "cpu:0")])
def test_a_job_on_the_cpu_asks_for_no_gpu(about: dict[str, Any], device: str) -> None:
    assert set(amounts(template_of(about, device=device, threads=4))) == {"vcpu", "memory"}


def test_every_action_has_a_timeout_and_is_told_before_it_is_ended() -> None:
    found = actions(template_of(NETWORK, task_timeout_s=77))
    assert [action["args"][1] for action in found] == ["task", "verify", "enter", "exit"]
    assert {action["cancelation"]["mode"] for action in found} == {"NOTIFY_THEN_TERMINATE"}
    assert all(action["timeout"] > 0 for action in found) and found[0]["timeout"] == 77


def test_chunks_are_multiples_of_the_window_stride() -> None:
    assert [spec_of(NETWORK, chunk=asked).chunk for asked in (1, 12, 13)] == [12, 12, 24]


def test_folders_are_path_parameters_that_say_which_way_they_flow() -> None:
    found = {one["name"]: one for one in template_of(SINGLE)["parameterDefinitions"] if one["type"] == "PATH"}
    flows = {name: (one["objectType"], one["dataFlow"]) for name, one in found.items()}
    assert flows == {
        "Plan": ("FILE", "IN"),
        "PlateFolder": ("DIRECTORY", "IN"),
        "MaskFolder": ("DIRECTORY", "IN"),
        "AlphaFolder": ("DIRECTORY", "OUT"),
    }
