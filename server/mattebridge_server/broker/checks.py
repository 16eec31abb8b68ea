"""CHECK: what the broker knows of a job at once, put together with what the path helper sees on the disks. No IO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mattebridge import messages as m
from mattebridge.errors import MatteBridgeError, PathRefused

from .effects import Ask, Outbox, Peer
from .floor import Floor
from .requests import PathBack, for_server, model_problem, through_socket


@dataclass
class Checks:
    """The checks that are open: each waits for the path helper's answer."""

    floor: Floor
    out: Outbox
    _open: dict[int, tuple[Peer, m.Check, tuple[m.ErrorInfo, ...], PathBack]] = field(default_factory=dict)
    _asked: int = 0

    def ask(self, peer: Peer, message: m.Check, blobs: Sequence[bytes]) -> None:
        """Answer what can be answered here, and have the path helper look at the rest."""
        problems: list[m.ErrorInfo] = []
        try:
            request = for_server(message.job, self.floor.site)
        except MatteBridgeError as error:
            self.out.send(peer, m.Checked(message.request, problems=(m.ErrorInfo.of(error),)))
            return
        problem = model_problem(request, self.floor.models(), self.floor.site, self.floor.budget_bytes())
        if problem is not None:
            problems.append(m.ErrorInfo.of(problem))
        if through_socket(request):
            self.out.send(peer, m.Checked(message.request, tuple(problems), facts=self._facts()))
            return
        self._asked += 1
        self._open[self._asked] = (peer, message, tuple(problems), PathBack.of(message.job, request))
        self.out.do(Ask(self._asked, request, blobs[0] if blobs else b""))

    def answered(
        self,
        number: int,
        problems: tuple[m.ErrorInfo, ...],
        warnings: tuple[str, ...] = (),
        frames: int = 0,
        fresh: int = 0,
        facts: dict[str, m.ParamValue] | None = None,
    ) -> None:
        """The path helper's answer, or what stands for it when it did not answer."""
        asked = self._open.pop(number, None)
        if asked is not None:
            peer, message, first, back = asked
            facts = {**self._facts(), **(facts or {})}
            told = (*first, *(back.error(problem) for problem in problems))
            self.out.send(peer, m.Checked(message.request, told, tuple(map(back, warnings)), frames, fresh, facts))

    def unanswered(self, number: int, why: str) -> None:
        """The path helper died or was too slow: the disk it looked at does not answer."""
        asked = self._open.get(number)
        if asked is not None:
            plate = asked[1].job.plate
            error = PathRefused(
                f"the server's disk does not answer: {why}",
                remedy="See whether the share is mounted and alive on the server.",
                file=plate,
            )
            self.answered(number, (m.ErrorInfo.of(error),))

    def _facts(self) -> dict[str, m.ParamValue]:
        scheduler = self.floor.scheduler
        return {
            "queue_jobs": len(scheduler.jobs),
            "queue_limit": scheduler.policy.queue_jobs,
            "engine_busy_s": self.floor.busy_s(),
            "device_budget_bytes": self.floor.budget_bytes(),
        }
