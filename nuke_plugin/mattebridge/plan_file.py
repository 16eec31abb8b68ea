"""A plan's file: the plan, and beside it the request that it was made for, so that a farm needs no second file.

The engine reads the plan's own fields and ignores ``request``; `mattebridge farm bundle` reads both. A plan without a
request, as it came from the wire, is as good a plan as any.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from .errors import PlanError
from .frames import FrameSet
from .messages import JobRequest
from .requests import PlanSource, plan_bytes

SETTLED = ("look", "mask_invert", "mask_fit")
SPELLED = ("plate_space", "mask_channel")
"""What a plan has settled besides parameters and range; the latter may be spelled in several ways."""
WORDS = {True: ("on", "yes", "true", "1"), False: ("off", "no", "false", "0")}
"""How else a parameter may be written that is on or off."""
LEFT_OUT = ("kind", "out", "overwrite", "priority", "label", "queue_timeout_s", "run_timeout_s")
"""What belongs to the job that made the plan, not to the jobs that obey it."""


def with_request(plan: bytes, request: JobRequest) -> bytes:
    """The plan's JSON with ``request`` in it: the fields that differ from their defaults. Paths are absolute."""
    blank = JobRequest(plate="")
    given = dataclasses.asdict(request)
    usual = dataclasses.asdict(blank)
    kept = {name: value for name, value in given.items() if value != usual[name] and name not in LEFT_OUT}
    content: dict[str, Any] = json.loads(plan)
    return json.dumps({**content, "request": kept}, indent=2).encode()


def agreed_plan(request: JobRequest, plan: PlanSource) -> bytes:
    """The frozen plan of a job as it travels. Raises `PlanError` for what is no plan, and where ``request`` states what
    the plan has settled otherwise: the plan would win unseen.
    """
    frozen = plan_bytes(plan)
    try:
        settled = json.loads(frozen or b"{}")
        asked = settled.get("request") or {}
        for name, value in request.params.items():
            _agree(f"parameter {name}", value, settled.get("params", {}).get(name), asked.get("params", {}).get(name))
        blank = JobRequest(plate="")
        stated = [name for name in (*SETTLED, *SPELLED) if getattr(request, name) != getattr(blank, name)]
        for name in stated if settled else ():
            if name in SETTLED or asked:
                found = settled.get(name)  # a model that sees the plate's own light has no look
                _agree(name, getattr(request, name), None if found == "" and name == "look" else found, asked.get(name))
        if request.shot and settled.get("frames"):
            _agree("shot", str(FrameSet.parse(request.shot)), str(FrameSet.parse(settled["frames"])), None)
    except (ValueError, AttributeError, TypeError):
        pass  # no plan at all, as the engine says better
    return frozen


def _agree(name: str, stated: object, settled: object, asked: object) -> None:
    known = [value for value in (settled, asked) if value is not None]
    if isinstance(settled, bool) and str(stated).lower() in WORDS[settled]:
        return
    if known and stated not in known:
        raise PlanError(
            f"the {name.replace('_', ' ')} is {stated}, the plan was made with {known[-1]}",
            remedy="Leave it out, because the plan decides; or make a new plan for every chunk.",
        )
