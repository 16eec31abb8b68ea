"""A plan's file: the plan, and beside it the request that it was made for, so that a farm needs no second file.

The engine reads the plan's own fields and ignores ``request``; `mattebridge farm bundle` reads both. A plan that came
without a request (`Client.plan` returns it bare) is as good a plan as any.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from .messages import JobRequest

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
