"""An engine whose every move a test decides: it speaks engine/wire.py and needs no torch, no GPU and no pictures.

A job's ``params`` are its orders (all optional):

    steps         folder shared with the test; frame N waits there for a file ``go-N`` or ``go-all``; ``at-N``: it came
    step_s        how long a frame takes
    window        frames in a window (4)
    crash_at      frame on which it dies by SIGSEGV, ``crash_times`` times in all (once)
    stop_at       frame on which it stops itself by SIGSTOP
    fail_at       frame on which the job fails with a typed error
    deaf          do not hear StopJob
    load          before the job begins, wait in ``steps`` for a file ``go-load`` as if a model were loaded; ``at-load``
    start_dies    in Setup.folders: "start-dies" makes it die before it is ready

Every frame it computes is a line in ``steps/ran``. A frame's file holds bytes that depend on nothing but its number, is
written as results are (temporary file, fsync, rename), and is kept where it exists.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path

import msgspec

from mattebridge.messages import ErrorInfo, ModelInfo, PresetInfo
from mattebridge_server.crashpoints import reach
from mattebridge_server.engine import wire

MODELS = (
    ModelInfo(name="edge", title="stand-in", licence="Apache-2.0", loaded=True),
    ModelInfo(name="videomama", licence="CC-BY-NC-4.0", presets=(PresetInfo("large", 1, 20 * 2**30),)),
    ModelInfo(name="absent", licence="MIT", installed=False),
)


def content(frame: int) -> bytes:
    """What the file of a frame holds."""
    return b"".join(bytes([(frame * 31 + index) % 251]) for index in range(257)) * 40


def frames_of(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


class Engine:
    def __init__(self, setup: wire.Setup) -> None:
        self.setup = setup
        self.out = os.fdopen(os.dup(1), "wb")
        self.lock = threading.Lock()
        self.busy_since = 0.0
        self.stop: dict[str, str] = {}
        self.jobs: queue.SimpleQueue[wire.RunJob] = queue.SimpleQueue()

    def send(self, message: msgspec.Struct) -> None:
        with self.lock:
            try:
                self.out.write(wire.pack(message))
                self.out.flush()
            except OSError:
                os._exit(0)

    def beat(self) -> None:
        while True:
            busy = time.monotonic() - self.busy_since if self.busy_since else 0.0
            self.send(wire.Beat(busy_s=busy, stage="step" if busy else "", loaded=("edge",)))
            time.sleep(0.2)

    def work(self) -> None:
        while True:
            job = self.jobs.get()
            ended = self.run(job)
            self.stop.pop(job.key, None)
            self.busy_since = 0.0
            self.send(ended)

    def run(self, job: wire.RunJob) -> wire.JobEnded:
        params, key = job.request.params, job.key
        frames = frames_of(job.request.frames)
        size = int(params.get("window", 4))
        if params.get("load") and self.loading(job, Path(str(params["steps"]))):
            return self.interrupted(job, 0)
        kept = [frame for frame in frames if job.request.out and self.target(job, frame).exists()]
        self.send(wire.JobStarted(key=key, frames=len(frames) - len(kept), fresh=len(kept), model="edge"))
        written = 0
        for number in range(0, len(frames), size):
            window = frames[number : number + size]
            if any(frame not in kept for frame in window):
                reach("window-before", window[0])
                self.send(wire.JobStep(key=key, window=number // size, frames=tuple(window)))
            for frame in window:
                if self.stopped(job):
                    return self.interrupted(job, written)
                if frame not in kept:
                    failed = self.frame(job, frame)
                    if failed is not None:
                        return wire.JobEnded(key=key, outcome="failed", error=failed)
                    if self.stopped(job):
                        return self.interrupted(job, written)
                    written += 1
                self.tell(job, frame, frame in kept)
            if any(frame not in kept for frame in window):
                reach("window-after", window[0])
        facts: dict[str, bool | int | float | str] = {"attempt": job.attempt}
        return wire.JobEnded(key=key, outcome="done", written=written, kept=len(kept), facts=facts, plan=job.plan)

    def loading(self, job: wire.RunJob, steps: Path) -> bool:
        """Whether the job was stopped meanwhile. As with a real model, nothing is heard until it is loaded."""
        self.busy_since = time.monotonic()
        (steps / "at-load").touch()
        while not (steps / "go-load").exists():
            time.sleep(0.002)
        return self.stopped(job)

    def stopped(self, job: wire.RunJob) -> bool:
        return job.key in self.stop and not job.request.params.get("deaf")

    def interrupted(self, job: wire.RunJob, written: int) -> wire.JobEnded:
        outcome = "cancelled" if self.stop[job.key] == "cancel" else "preempted"
        return wire.JobEnded(key=job.key, outcome=outcome, written=written)

    def frame(self, job: wire.RunJob, frame: int) -> ErrorInfo | None:
        params = job.request.params
        self.busy_since = time.monotonic()
        steps = Path(str(params["steps"])) if "steps" in params else None
        if steps is not None:
            with (steps / "ran").open("a") as log:
                log.write(f"{job.key} {frame} {os.getpid()}\n")
            (steps / f"at-{frame}").touch()
            while not (steps / "go-all").exists() and not (steps / f"go-{frame}").exists():
                if self.stopped(job):
                    break
                time.sleep(0.002)
        time.sleep(float(params.get("step_s", 0.0)))
        if frame == params.get("crash_at") and steps is not None:
            crashes = steps / "crashes"
            count = len(crashes.read_bytes()) if crashes.exists() else 0
            if count < int(params.get("crash_times", 1)):
                crashes.write_bytes(b"x" * (count + 1))
                os.kill(os.getpid(), signal.SIGSEGV)
        if frame == params.get("stop_at") and not (steps is not None and (steps / "stopped").exists()):
            if steps is not None:
                (steps / "stopped").touch()
            os.kill(os.getpid(), signal.SIGSTOP)
        if frame == params.get("fail_at"):
            return ErrorInfo("BAD_FRAME", "the plate is truncated", "Render it again.", "plate.exr", frame)
        if not self.stopped(job):
            self.write(job, frame)
        return None

    def target(self, job: wire.RunJob, frame: int) -> Path:
        return Path(job.request.out.replace("####", f"{frame:04d}"))

    def write(self, job: wire.RunJob, frame: int) -> None:
        if not job.request.out:
            return
        target = self.target(job, frame)
        target.parent.mkdir(parents=True, exist_ok=True)
        reach("temporary-before", frame)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        data = content(frame) * int(job.request.params.get("big", 1))
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        reach("rename-before", frame)
        temporary.replace(target)
        reach("rename-after", frame)

    def tell(self, job: wire.RunJob, frame: int, kept: bool) -> None:
        target = self.target(job, frame)
        if not target.exists():
            return  # the job was stopped before it was written
        if job.spool:
            self.send(wire.JobResult(key=job.key, role="alpha", frame=frame, name=target.name))
        self.send(wire.JobFrame(key=job.key, frame=frame, path=str(target), digest=f"d{frame}", kept=kept))
        self.send(wire.JobProgress(key=job.key, stage="step", done=1, total=1, frame=frame))


def main() -> None:
    pipe = sys.stdin.buffer
    decoder = msgspec.msgpack.Decoder(wire.ToEngine)
    first = wire.read_body(pipe)
    if first is None:
        return
    setup = decoder.decode(first)
    assert isinstance(setup, wire.Setup)
    if "start-dies" in setup.folders:
        os._exit(3)
    engine = Engine(setup)
    engine.send(wire.Ready(device=setup.device, models=MODELS, budget_bytes=8 * 2**30))
    for target in (engine.beat, engine.work):
        threading.Thread(target=target, daemon=True).start()
    while (body := wire.read_body(pipe)) is not None:
        message = decoder.decode(body)
        if isinstance(message, wire.RunJob):
            engine.jobs.put(message)
        elif isinstance(message, wire.StopJob):
            engine.stop[message.key] = message.reason
        elif isinstance(message, wire.Quit):
            break
    os._exit(0)


if __name__ == "__main__":
    main()
