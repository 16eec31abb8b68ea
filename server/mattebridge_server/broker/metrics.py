"""The server seen from outside: Prometheus text on /metrics, /live (the process answers) and /ready (it takes jobs).

The figures are read from the broker's own state when they are asked for; nothing is counted twice. The port listens on
this host only: who is elsewhere comes through a proxy.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mattebridge.errors import error_classes

from .jobs import public_state

if TYPE_CHECKING:
    from .service import Service

log = logging.getLogger("mattebridge.broker")

HOST = "127.0.0.1"
REQUEST_BYTES = 8192
REQUEST_S = 5.0
STATES = ("uploading", "queued", "running", "cancelling")
OUTCOMES = ("done", "failed", "cancelled")


class BrokerMetrics(Collector):
    """Every figure of one service, collected on its loop."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        yield from self._jobs()
        yield from self._engines()
        yield from self._traffic()

    def _jobs(self) -> Iterator[Metric]:
        book, scheduler = self._service.book, self._service.floor.scheduler
        jobs = GaugeMetricFamily("mattebridge_jobs", "Unfinished jobs by state.", labels=["state"])
        states = Counter(public_state(job.state) for job in scheduler.jobs.values())
        for state in STATES:
            jobs.add_metric([state], states[state])
        yield jobs
        yield GaugeMetricFamily("mattebridge_queue_limit", "Jobs that are taken.", scheduler.policy.queue_jobs)
        ended = CounterMetricFamily("mattebridge_jobs_ended", "Jobs ended since start.", labels=["outcome"])
        for outcome in OUTCOMES:
            ended.add_metric([outcome], book.counts.get(outcome, 0))
        yield ended
        failed = CounterMetricFamily("mattebridge_jobs_failed", "Failed jobs by error code.", labels=["code"])
        for code in sorted(error_classes()):
            failed.add_metric([code], book.failures[code])
        yield failed
        yield CounterMetricFamily("mattebridge_frames", "Frames written or kept since start.", book.frames_told)
        yield CounterMetricFamily("mattebridge_wait_seconds", "Time jobs waited for an engine.", book.waited_s)
        stages = CounterMetricFamily("mattebridge_stage_seconds", "Engine time by stage.", labels=["stage"])
        for stage, seconds in sorted(book.stage_s.items()):
            stages.add_metric([stage], seconds)
        yield stages

    def _engines(self) -> Iterator[Metric]:
        floor = self._service.floor
        up = GaugeMetricFamily("mattebridge_engine_up", "1 while the engine takes jobs.", labels=["device"])
        busy = GaugeMetricFamily("mattebridge_engine_busy_seconds", "Length of the current step.", labels=["device"])
        used = GaugeMetricFamily("mattebridge_engine_memory_bytes", "Device memory in use.", labels=["device"])
        for info in floor.infos():
            up.add_metric([info.device], float(info.state in ("idle", "busy")))
            busy.add_metric([info.device], info.busy_s)
            used.add_metric([info.device], info.memory_used_bytes)
        yield from (up, busy, used)
        loaded = GaugeMetricFamily("mattebridge_model_loaded", "1 while the model is on a device.", labels=["model"])
        for name, model in floor.models().items():
            loaded.add_metric([name], float(model.loaded))
        yield loaded
        yield CounterMetricFamily("mattebridge_engine_deaths", "Engine processes that ended.", floor.deaths)
        yield CounterMetricFamily("mattebridge_windows", "Model windows begun.", floor.windows)

    def _traffic(self) -> Iterator[Metric]:
        service = self._service
        yield GaugeMetricFamily("mattebridge_clients", "Connections that said HELLO.", len(service.desk.sessions))
        messages = CounterMetricFamily("mattebridge_messages", "Messages taken by type.", labels=["type"])
        for kind, count in sorted(service.desk.answered.items()):
            messages.add_metric([kind], count)
        yield messages
        refused = CounterMetricFamily("mattebridge_refused", "Refusals by reason or error code.", labels=["reason"])
        for reason, count in sorted(service.desk.refused.items()):
            refused.add_metric([reason], count)
        refused.add_metric(["handshake"], service.config.allowed.refused)
        yield refused
        moved = CounterMetricFamily("mattebridge_pixel_bytes", "Picture bytes moved.", labels=["direction"])
        moved.add_metric(["in"], service.desk.pixels.bytes_stored)
        moved.add_metric(["out"], service.giving.bytes_given)
        yield moved
        yield CounterMetricFamily(
            "mattebridge_helper_kills", "Path helpers killed for a hung disk.", service.helper.kills
        )


async def serve_metrics(service: Service, port: int) -> asyncio.Server:
    """Answer GET /metrics, /live and /ready on the broker's own loop: what answers is what serves."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(BrokerMetrics(service))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
                status, body = _page(head.split(b" ")[1].partition(b"?")[0], service, registry)
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, IndexError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(answer, HOST, port, limit=REQUEST_BYTES)


def _page(path: bytes, service: Service, registry: CollectorRegistry) -> tuple[str, bytes]:
    if path == b"/metrics":
        return "200 OK", generate_latest(registry)
    if path == b"/live":
        return "200 OK", b"live\n"
    if path == b"/ready":
        state = "the journal cannot be written" if service.stuck else service.desk.state()
        return ("200 OK" if state == "ready" else "503 Service Unavailable"), f"{state}\n".encode()
    return "404 Not Found", b"/metrics, /live or /ready\n"
