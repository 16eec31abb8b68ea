"""VideoMaMa through the whole job: plan, region, windows, restore, linear light; a small random network on the CPU."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mattebridge.errors import InputError
from mattebridge.messages import Done, FrameDone
from mattebridge_server.engine import local
from mattebridge_server.engine.shelf import Shelf, parse_device
from mattebridge_server.media import read_attributes
from mattebridge_server.models.videomama.card import CARD
from mattebridge_server.pipeline.plan import parse_plan

from .conftest import SmallShot

pytestmark = pytest.mark.models
pytest.importorskip("torch", reason="the [models] extra is not installed")

GOLDEN = Path(__file__).parents[2] / "data" / "videomama_golden"
ShotOf = Callable[..., SmallShot]


def run(small: SmallShot, out: str, plan: bytes = b"", **fields: object) -> Done:
    small.events.clear()
    request = small.request(out, **{"model": "videomama", "precision": "fp32", **fields})
    return local.run_local(request, plan, small.events.append, lambda: False, folders=(str(GOLDEN),), threads=1)


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> SmallShot:
    """Eighteen frames, two windows, whole and in chunks under the same plan."""
    shot = SmallShot(tmp_path_factory.mktemp("network"), tuple(range(1, 19)), 160, 96).write()
    shot.done = run(shot, "whole/a.####.exr")  # type: ignore[attr-defined]
    return shot


def test_chunks_of_a_network_shot_equal_the_whole_bit_for_bit(shots: SmallShot) -> None:
    plan = str(run(shots, "plan/a.####.exr", kind="plan", precision="").facts["plan"]).encode()
    assert parse_plan(plan).precision == "fp32"
    assert any("planned in fp32" in getattr(event, "message", "") for event in shots.events)
    for frames in ("1-7", "8-18"):
        run(shots, "chunks/a.####.exr", plan, frames=frames)
    for frame in shots.frames:
        whole, chunk = (shots.alpha(f"{name}/a.####.exr", frame) for name in ("whole", "chunks"))
        assert np.array_equal(whole, chunk), frame


def test_a_plan_knows_the_weights_without_loading_them() -> None:
    shelf = Shelf(parse_device("cpu:0", 1), (GOLDEN,))
    planned = shelf.identified("videomama", "fp32").digest()
    assert shelf.loaded == ()
    assert shelf.get("videomama", "fp32").digest() == planned
    with pytest.raises(InputError, match="int3"):
        shelf.identified("videomama", "int3")


def test_the_plan_crops_to_the_subject_and_says_what_the_network_sees(shots: SmallShot) -> None:
    plan = parse_plan(str(run(shots, "plan/a.####.exr", kind="plan").facts["plan"]).encode())
    assert plan.region is not None
    assert plan.region.width * plan.region.height < 160 * 96 * 2 / 3
    assert plan.look == "filmic" and plan.gain_stops * 8 == round(plan.gain_stops * 8)
    facts = shots.done.facts  # type: ignore[attr-defined]
    assert facts["canvas"] == "x".join(map(str, plan.region.canvas))
    assert facts["licence"] and facts["seam_borders"] >= 1 and facts["seam_ratio"] > 0
    about = read_attributes(str(shots.folder / "whole/a.0003.exr"))
    name = rf"videomama/{CARD.version}/[0-9a-f]{{32}}/fp32"
    assert re.fullmatch(name, str(about["mattebridge:model"])), "model and weights"
    assert about["mattebridge:licence"] == "Stability AI Community License"
    assert about["mattebridge:canvas"] == facts["canvas"]
    assert (about["mattebridge:preset"], about["mattebridge:precision"]) == (CARD.presets[0].name, "fp32")


def test_linear_light_can_be_switched_off_to_compare(shots: SmallShot) -> None:
    run(shots, "encoded/a.####.exr", frames="3", shot="1-18", params={"linear_light": "off"})
    run(shots, "linear/a.####.exr", frames="3", shot="1-18")
    assert not np.array_equal(shots.alpha("encoded/a.####.exr", 3), shots.alpha("linear/a.####.exr", 3))
    assert np.array_equal(shots.alpha("whole/a.####.exr", 3), shots.alpha("linear/a.####.exr", 3))


def test_nothing_outside_the_region_is_touched(shots: SmallShot) -> None:
    plan = parse_plan(str(run(shots, "plan/a.####.exr", kind="plan").facts["plan"]).encode())
    assert plan.region is not None
    x, y = plan.region.offsets[4]
    run(shots, "outside/a.####.exr", frames="5", shot="1-18", params={"linear_light": "off"})
    alpha = shots.alpha("outside/a.####.exr", 5)
    outside = np.ones(alpha.shape, bool)
    outside[max(0, y) : y + plan.region.height, max(0, x) : x + plan.region.width] = False
    assert outside.any() and not alpha[outside].any()


def test_a_fix_on_one_mask_makes_only_its_windows_stale(shots: SmallShot) -> None:
    shots.write_mask(1, 20, 24, 11)
    run(shots, "whole/a.####.exr", overwrite=True)
    remade = {e.frame for e in shots.events if isinstance(e, FrameDone) and not e.kept}
    assert remade == set(range(1, 17)), "frames 17 and 18 are covered by the second window alone"
