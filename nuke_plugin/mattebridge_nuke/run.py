"""One press of a button, from CHECK to the switch of versions.

    main thread    gather facts -> |                                    | render | keys |                    | show
    worker         connect, CHECK  |-> refused: one dialog, nothing done |        |      | carry over, matte -|

The worker thread owns the connection and the order of things; everything that touches a node goes through
`host.on_main`. A second thread only watches the progress bar, so that a cancel is sent within a tenth of a second even
while the worker waits for the server. Without an interface there is no run: see `farm`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Optional

from mattebridge.errors import Cancelled, MatteBridgeError
from mattebridge.frames import FrameSet
from mattebridge.messages import PromptInfo

from . import bridge, frame_keys, host, job_request, rendered_inputs, status_text, versions
from .bridge import Bridge, JobEvent
from .job_request import Plan
from .node_settings import AUTOMATIC
from .progress_bar import ProgressBar
from .script_facts import NodeFacts, require_folder
from .versions import Carried, Version

WATCH_S = 0.1
STATUS_S = 0.2
LOOK_S = 0.5
PREVIEW_S = 1.0
TRACKER = "sam2"
NOT_SEEN = ("PATH_REFUSED", "MISSING_FRAMES", "BAD_INPUT", "OUTPUT_FAILED")
"""What a server says that does not share our disk, if the files are there for us."""

RUNS: dict[str, Run] = {}
"""The run of each node, by full name; a node has at most one."""


@dataclass(frozen=True)
class Purpose:
    """What a run is for. ``show`` puts a finished or partial version on the node, in the main thread,
    and says what the artist should know about it."""

    title: str
    folder: str
    show: Callable[[host.Node, NodeFacts, Version, tuple[str, ...]], str]
    prompts: tuple[PromptInfo, ...] = ()


class Run:
    """Made and started in the main thread. ``outcome`` is the last status; ``error`` what ended the run early."""

    def __init__(self, node: host.Node, facts: NodeFacts, purpose: Purpose, frames: Optional[FrameSet] = None) -> None:
        require_folder(facts)
        self.node = node
        self.name = facts.settings.name
        self.facts = facts
        self.purpose = purpose
        self.plan: Plan = job_request.plan(facts, frames)
        self.finished = threading.Event()
        self.error: Optional[MatteBridgeError] = None
        self.warnings: list[str] = []
        self.version: Optional[Version] = None
        self._cancelled = threading.Event()
        self._job: Optional[bridge.Job] = None
        self._bar: Optional[ProgressBar] = None
        self._last_status = 0.0
        self._unsaid = ""
        self._reported = False
        self._was_unsure = False
        self._unseen = False
        self._carried: list[Carried] = []
        self._confirmed: set[tuple[int, str]] = set()
        self._written = self._kept = 0
        self._note = ""

    def start(self) -> None:
        """In the background; `finished` is set at the end."""
        RUNS[self.name] = self
        threading.Thread(target=self._run, name=f"mattebridge {self.name}", daemon=True).start()

    def cancel(self) -> None:
        """From any thread; returns at once. What is finished is kept."""
        self._cancelled.set()
        job = self._job
        if job is not None:
            job.cancel()

    # -- the worker ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._bar = host.progress_bar(f"{self.name}: {self.purpose.title}")
        watcher = threading.Thread(target=self._watch, name="mattebridge cancel", daemon=True)
        watcher.start()
        try:
            self._work()
        except host.NodeGone:
            self.error = Cancelled(f"{self.name} was deleted; finished frames are kept")
        except MatteBridgeError as reason:
            self.error = reason
        except Exception as reason:
            self.error = MatteBridgeError(f"{type(reason).__name__}: {reason}", remedy="Press Troubleshoot.")
        finally:
            self._bar.close()
            RUNS.pop(self.name, None)
            try:
                self._report()
            finally:
                self.finished.set()

    def _watch(self) -> None:
        """Turns a press on the bar's cancel, or a deleted node, into a cancel; keeps status and preview fresh."""
        looked = previewed = time.monotonic()
        while not self.finished.wait(WATCH_S):
            if self._bar is not None and self._bar.cancelled() and not self._cancelled.is_set():
                self.cancel()
            if time.monotonic() - self._last_status >= STATUS_S:
                self._flush()
            if time.monotonic() - looked >= LOOK_S:
                looked = time.monotonic()
                host.post(self._cancel_when_gone)
            if self._unseen and time.monotonic() - previewed >= PREVIEW_S:
                self._unseen, previewed = False, time.monotonic()
                host.post(self._preview)

    def _work(self) -> None:
        self._say(status_text.stage_name("check"))
        with Bridge.connect(self.facts.settings.server) as server:
            info = None if self.purpose.prompts else server.model(self.facts.settings.model)
            delivery = self._check(server)
            self._stop_if_cancelled()
            self._say(status_text.stage_name("render"))
            keys = host.on_main(self._render)
            rendered_inputs.refuse_shared_mask(self.plan)
            self._stop_if_cancelled()
            if self.plan.renders:
                delivery = self._check(server, rendered=True)
            model = f"{info.name}/{info.version}" if info is not None else repr(self.purpose.prompts)
            self.version = version = self._open_version(keys, model)
            self._matte(server, version, delivery)

    def _check(self, server: Bridge, rendered: bool = False) -> str:
        """Ask before anything is rendered, and about what was; gives the delivery. Raises every refusal as one."""
        wanted = self.facts.settings.delivery
        problems = self._problems(server, wanted, rendered)
        unseen = problems and wanted == AUTOMATIC and all(problem.code in NOT_SEEN for problem in problems)
        if unseen and job_request.all_here(self.plan) and not self._problems(server, "exr", rendered):
            return "exr"
        if len(problems) == 1:
            raise problems[0]
        if problems:
            first = problems[0]
            text = status_text.failures(problems)
            raise type(first)(text, remedy="Nothing was queued.")
        return wanted

    def _problems(self, server: Bridge, delivery: str, rendered: bool) -> list[MatteBridgeError]:
        """Of every view. The place to write is the next version's: no frame lies there yet."""
        roles = self._roles(versions.next_number(versions.on_disk(self.purpose.folder)))
        result = server.check(self._request(roles, view, delivery) for view in self.facts.views)
        self.warnings = result.warnings
        return result.problems if rendered else job_request.problems_before_render(result.problems, self.plan)

    def _render(self) -> dict[int, str]:
        """Main thread: render what is stale; the joined key of every frame."""
        keys = rendered_inputs.keys_now(self.node, self.facts)
        rendered_inputs.render_stale(self.node, self.plan, keys)
        return frame_keys.joined(keys, self.facts.shot)

    def _open_version(self, keys: Mapping[int, str], model: str) -> Version:
        """The version that these inputs and settings belong to, its record written."""

        def digest_of(version: str) -> str:
            return job_request.version_digest(self.plan, keys, version)

        found = versions.on_disk(self.purpose.folder)
        same = versions.matching(found, digest_of, model)
        number = same.number if same is not None else versions.next_number(found)
        self._was_unsure = same is not None and same.unsure
        folder = f"{self.purpose.folder}/v{number:03d}"
        roles, digest = self._roles(number), digest_of(model)
        version = Version(number, folder, digest, str(self.facts.shot), False, dict(keys), roles, model)
        versions.save(version)
        return version

    def _matte(self, server: Bridge, version: Version, delivery: str) -> None:
        older = versions.before(versions.on_disk(self.purpose.folder), version.number)
        wanted = replace(version, shot=str(self.plan.frames))
        if older and delivery != "exr":
            self._carried = versions.carry_over(older, wanted, self.facts.views)
        if self._carried:
            versions.save(replace(version, unsure=True))
        try:
            self._views(server, version, delivery)
        finally:
            versions.drop_unconfirmed(self._carried, self._confirmed)
            missing = version.missing(self.facts.views)
            self.version = version = replace(version, complete=not missing, unsure=False)
            versions.save(version)
            self._note = host.on_main(lambda: self.purpose.show(self.node, self.facts, version, self.facts.views))

    def _views(self, server: Bridge, version: Version, delivery: str) -> None:
        """One job per view, all under the plan of the first."""
        frames = self._frames(version, delivery)
        self._kept += len(self.plan.frames) - len(frames)
        if not frames:
            return
        requests = {view: self._request(version.roles, view, delivery) for view in self.facts.views}
        plan = server.plan(requests[self.facts.views[0]]) if len(requests) > 1 else None
        for view, request in requests.items():
            self._stop_if_cancelled()
            self._job = job = server.submit({**request, "frames": str(frames), "overwrite": True}, plan)
            if self._cancelled.is_set():
                job.cancel()
            for event in job.events():
                self._take(event, view)
            job.wait()

    def _frames(self, version: Version, delivery: str) -> FrameSet:
        """A server that sees the files keeps the fresh ones itself; for one that does not, we leave them out.

        A version's own digest vouches for its frames, unless frames were carried over and never confirmed.
        """
        if delivery != "exr" or self._was_unsure:
            return self.plan.frames
        return self.plan.frames & version.missing(self.facts.views)

    def _request(self, roles: Mapping[str, str], view: str, delivery: str) -> dict[str, Any]:
        request = job_request.request(self.plan, view, roles, delivery)
        if self.purpose.prompts:
            for name in ("mask", "core", "garbage", "params", "preset", "mask_channel", "mask_invert", "fgr"):
                request.pop(name, None)
            request.update(model=TRACKER, prompts=self.purpose.prompts)
        return request

    def _roles(self, number: int) -> dict[str, str]:
        roles = ("alpha",) if self.purpose.prompts else job_request.output_roles(self.facts)
        return versions.role_patterns(self.purpose.folder, self.name, number, roles, self.facts.several_views)

    # -- what the artist sees --------------------------------------------------------------------------------------

    def _take(self, event: JobEvent, view: str) -> None:
        if event.kind == "FRAME" and event.frame is not None:
            self._confirmed.add((event.frame, view if self.facts.several_views else ""))
            self._unseen = self.facts.settings.preview_partial and not self.purpose.prompts
        elif event.kind == "DONE":
            self._written += event.written
            self._kept += event.kept
        elif event.kind == "WARNING":
            self.warnings.append(event.message)
        elif event.kind == "QUEUED":
            self._say(status_text.queued(event.position, event.ahead))
        elif event.kind == "PROGRESS":
            text = status_text.progress(event.stage, event.done, event.total, event.frame, event.fps, event.eta_s)
            self._say(text, 100 * event.done // event.total if event.total else 0, often=True)

    def _say(self, text: str, percent: int = 0, often: bool = False) -> None:
        """To the bar at once, to the panel at most five times a second; the watcher brings what was held back."""
        if self._bar is not None:
            self._bar.update(percent, text)
        self._unsaid = text
        if not often or time.monotonic() - self._last_status >= STATUS_S:
            self._flush()

    def _flush(self) -> None:
        text, self._unsaid = self._unsaid, ""
        if text:
            self._last_status = time.monotonic()
            host.post(lambda: self._put_status(text))

    def _put_status(self, text: str) -> None:
        """Main thread. After the end nothing may cover the last word."""
        if not self._reported:
            host.put_quiet(self.node, {"status": text})

    def _preview(self) -> None:
        """Main thread. What is finished so far, while the rest is made; carried frames do not count yet."""
        version = self.version
        if self._reported or version is None or not host.alive(self.node):
            return
        self.purpose.show(self.node, self.facts, version, self.facts.views)
        waiting = FrameSet(one.frame for one in self._carried if (one.frame, one.view) not in self._confirmed)
        missing = version.missing(self.facts.views) | waiting
        label = status_text.label(version.name, len(version.frames()), missing, FrameSet())
        host.put_quiet(self.node, {"node_label": label})

    def _cancel_when_gone(self) -> None:
        """Main thread. A node that is gone wants no matte any more."""
        if not self._reported and not host.alive(self.node) and not self._cancelled.is_set():
            self.cancel()

    def _stop_if_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise Cancelled("cancelled before the job was sent", remedy="Press again to go on.")

    def _report(self) -> None:
        """The end: status on the node, and one dialog where something was refused or failed."""
        error, version = self.error, self.version
        if error is None and version is not None:
            text = self._note or status_text.finished(version.name, self._written, self._kept, self.warnings)
        else:
            text = status_text.failure(error) if error is not None else ""
        host.on_main(lambda: self._last_word(text))
        if error is not None and not isinstance(error, Cancelled):
            host.tell(f"{self.name}\n\n{text}")

    def _last_word(self, text: str) -> None:
        self._reported = True
        host.put_quiet(self.node, {"status": text})


def running(name: str) -> Optional[Run]:
    """The run of a node, by its full name."""
    return RUNS.get(name)
