"""One press of a button, from CHECK to the switch of versions.

    main thread    gather facts -> |                                    | render | keys |                    | show
    worker         connect, CHECK  |-> refused: one dialog, nothing done |        |      | carry over, matte -|

`background` has the threads, the status line and cancel; the worker owns the connection. Without an interface there is
no run: see `farm`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Optional

from mattebridge.errors import Cancelled, InputError, MatteBridgeError, ServerError
from mattebridge.frames import FrameSet
from mattebridge.messages import PromptInfo

from . import bridge, frame_keys, host, job_request, rendered_inputs, result, status_text, versions
from .background import AGAIN, Background
from .bridge import Bridge, JobEvent
from .job_request import Plan
from .node_settings import AUTOMATIC
from .read_source import ByPath
from .script_facts import NodeFacts, require_folder
from .versions import Carried, Version

PREVIEW_S = 1.0
TRACKER = "sam2"
NOT_SEEN = ("PATH_REFUSED", "MISSING_FRAMES", "BAD_INPUT", "OUTPUT_FAILED")
"""What a server says that does not share our disk, if the files are there for us."""


@dataclass(frozen=True)
class Purpose:
    """What a run is for. ``show`` puts a finished or partial version on the node, in the main thread,
    and says what the artist should know about it."""

    title: str
    folder: str
    show: Callable[[host.Node, NodeFacts, Version, tuple[str, ...]], str]
    prompts: tuple[PromptInfo, ...] = ()


class Run(Background):
    """One job of the server for each view. ``version`` is what it writes, once that is known."""

    def __init__(self, node: host.Node, facts: NodeFacts, purpose: Purpose, frames: Optional[FrameSet] = None) -> None:
        super().__init__(node, facts.settings.name, purpose.title, facts.folder)
        require_folder(facts)
        self.facts = facts
        self.purpose = purpose
        self.plan: Plan = job_request.plan(facts, frames)
        self.warnings: list[str] = []
        self.version: Optional[Version] = None
        self._server: Optional[Bridge] = None
        self._job: Optional[bridge.Job] = None
        self._lost = False
        self._asking = False
        self._was_unsure = False
        self._unseen = False
        self._switched = False
        self._previewed = time.monotonic()
        self._keys: Mapping[str, Mapping[int, str]] = {}
        self._carried: list[Carried] = []
        self._confirmed: set[tuple[int, str]] = set()
        self._written = self._kept = 0
        self._note = self._inputs = ""

    def stop(self) -> None:
        job = self._job
        if job is not None:
            with suppress(ServerError):  # the job just ended, and its connection with it
                job.cancel()

    def look(self) -> None:
        if self.is_cancelled and (self._lost or self._asking) and self._server is not None:
            self._server.close()  # nobody is there who could stop the job, or there is no job yet
        if self._unseen and time.monotonic() - self._previewed >= PREVIEW_S:
            self._unseen, self._previewed = False, time.monotonic()
            host.post(self._preview)

    # -- the worker ------------------------------------------------------------------------------------------------

    def work(self) -> str:
        self.say(status_text.stage_name("check"))
        with Bridge.connect(self.facts.settings.server, self.stop_if_cancelled) as server:
            self._server = server
            with self._question():
                info = None if self.purpose.prompts else server.model(self.facts.settings.model)
            delivery = self._check(server)
            self.stop_if_cancelled()
            self.say(status_text.stage_name("render"))
            keys = host.on_main(self._render)
            self._inputs = rendered_inputs.stamp(self.plan)
            rendered_inputs.refuse_shared_mask(self.plan)
            self.stop_if_cancelled()
            if self.plan.renders:
                delivery = self._check(server, rendered=True)
            model = f"{info.name}/{info.version}" if info is not None else repr(self.purpose.prompts)
            self.version = version = self._open_version(keys, model)
            self._matte(server, version, delivery)
        return self._note or status_text.finished(version.name, self._written, self._kept, self.warnings)

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
        with self._question():
            result = server.check(self._request(roles, view, delivery) for view in self.facts.views)
        self.warnings = result.warnings
        return result.problems if rendered else job_request.problems_before_render(result.problems, self.plan)

    @contextmanager
    def _question(self) -> Iterator[None]:
        """No job is sent within: a cancel need not wait for the answer."""
        self._asking = True
        try:
            yield
        except ServerError:
            self.stop_if_cancelled()
            raise
        finally:
            self._asking = False

    def _render(self) -> dict[int, str]:
        """Main thread: render what is stale; the joined key of every frame."""
        self._keys = keys = rendered_inputs.keys_now(self.node, self.facts)
        result.spare_the_farm(self.node, self.plan, keys)
        rendered_inputs.render_stale(self.node, self.plan, keys, self.stop_if_cancelled)
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
            versions.save(replace(version, unsure=True))  # before the first carried frame is there
            self._carried = versions.carry_over(older, wanted, self.facts.views)
            if not self._carried:
                versions.save(version)
        try:
            self._views(server, version, delivery)
        finally:
            versions.drop_unconfirmed(self._carried, self._confirmed)
            mixed = rendered_inputs.stamp(self.plan) != self._inputs
            complete = not mixed and not version.missing(self.facts.views)
            self.version = version = replace(version, complete=complete, unsure=mixed)
            versions.save(version)
            if not mixed:
                self._note = host.on_main(lambda: self._show(version))
                self._mark_stale(version)
        if mixed:
            raise InputError(
                "another Nuke rendered the inputs again while the server read them",
                file=f"{self.facts.folder}/inputs",
                remedy="Press again. Two scripts in one folder need nodes of two names, or two result folders.",
            )

    def _mark_stale(self, version: Version) -> None:
        """What goes by path may have changed while it was matted; what Nuke renders, Reload looks at."""
        shot, views = self.facts.shot, self.facts.views
        by_path = {role: source for role, source in self.facts.sources.items() if isinstance(source, ByPath)}
        now = {role: frame_keys.path_keys(source.pattern, shot, views) for role, source in by_path.items()}
        stale = frame_keys.changed(version.keys, frame_keys.joined({**self._keys, **now}, shot))
        if stale and not self.purpose.prompts:
            self.warnings.insert(0, f"inputs changed while they were matted; press again to make {stale} anew")
            host.on_main(lambda: result.mark_stale(self.node, self.facts, version, stale))

    def _views(self, server: Bridge, version: Version, delivery: str) -> None:
        """One job per view, all under the plan of the first."""
        frames = self._frames(version, delivery)
        self._kept += len(self.plan.frames) - len(frames)
        if not frames:
            return
        requests = {view: self._request(version.roles, view, delivery) for view in self.facts.views}
        first = self.facts.views[0]
        plan = self._follow(server.plan(requests[first]), first).plan if len(requests) > 1 else None
        for view, request in requests.items():
            self.stop_if_cancelled()
            self._follow(server.submit({**request, "frames": str(frames), "overwrite": True}, plan), view)

    def _follow(self, job: bridge.Job, view: str) -> bridge.Job:
        """To its end; a cancel reaches the job that is followed."""
        self._job = job
        if self.is_cancelled:
            job.cancel()
        try:
            for event in job.events():
                self._take(event, view)
            job.wait()
        except ServerError:
            if self.is_cancelled:
                raise Cancelled("cancelled while the server was away; its job may go on", remedy=AGAIN) from None
            raise
        return job

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
            self.say(status_text.queued(event.position, event.ahead))
        elif event.kind == "PROGRESS":
            self._lost = event.lost
            text = status_text.progress(event.stage, event.done, event.total, event.frame, event.fps, event.eta_s)
            self.say(text, 100 * event.done // event.total if event.total else 0, often=True)

    def _preview(self) -> None:
        """Main thread. What is finished so far, while the rest is made; carried frames do not count yet."""
        version = self.version
        if self.reported or version is None or not host.alive(self.node):
            return
        if self._left(version):
            return
        self.purpose.show(self.node, self.facts, version, self.facts.views)
        self._switched = result.is_shown(self.node, version)
        waiting = FrameSet(one.frame for one in self._carried if (one.frame, one.view) not in self._confirmed)
        missing = version.missing(self.facts.views) | waiting
        label = status_text.label(version.name, len(version.frames()), missing, FrameSet())
        host.put_quiet(self.node, {"node_label": label})

    def _left(self, version: Version) -> bool:
        """Main thread. Whether the artist went back to another version after the preview had switched to this one."""
        return self._switched and not result.is_shown(self.node, version)

    def _show(self, version: Version) -> str:
        """Main thread. The end: a version that the artist left is shown again only when it is complete."""
        facts = self.facts
        if self._left(version):
            facts = replace(facts, settings=replace(facts.settings, preview_partial=False))
        return self.purpose.show(self.node, facts, version, facts.views)
