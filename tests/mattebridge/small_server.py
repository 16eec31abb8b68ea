"""A real ROUTER with a story to tell: a few hundred lines less than the broker, and cut, restarted or mute at will.

It keeps what a journal would keep (jobs and their events) in a `Story`, so that a restart is a new `SmallServer` on the
same story with a new boot id. Runs under every Python that the client supports: stdlib, zmq and mattebridge only.
"""

import hashlib
import threading
import time

import zmq

from mattebridge import codec
from mattebridge import messages as m
from mattebridge.keys import KeyPair


def wait_until(predicate, timeout_s=10.0, what="condition"):
    """Poll an outside fact that nothing announces; a failure names it."""
    deadline = time.monotonic() + timeout_s
    while not predicate():
        assert time.monotonic() < deadline, f"{what} did not come about in {timeout_s:g} s"
        time.sleep(0.005)


def shot_events(key, frames, model="edge"):
    """The numbered events of a job that writes ``frames``."""
    events = [m.Queued(key, 1, 0.0), m.Started(key, 2, 0.0, frames=len(frames), model=model)]
    events += [m.FrameDone(key, 3 + i, 0.0, frame, f"/srv/a.{frame:04d}.exr") for i, frame in enumerate(frames)]
    return [*events, m.Done(key, 3 + len(frames), 0.0, written=len(frames))]


class Story:
    """What outlives a server: jobs by key, how many bodies were accepted, and what the server is to say."""

    def __init__(self):
        self.jobs = {}
        self.bodies = {}
        self.accepted = 0
        self.busy_times = 0
        self.results = {}  # key -> list of (role, frame, name, bytes) to give
        self.uploads = {}  # key -> {stored_as: bytes}
        self.events_for = lambda key, job: shot_events(key, range(1001, 1004))


class SmallServer:
    """Serves a `Story` from a thread. ``mute`` swallows everything; ``hold`` keeps events from being sent on SUBMIT."""

    def __init__(self, story=None, endpoint="tcp://127.0.0.1:*", keys=None, allowed=(), boot_id="boot-1", beat_s=2.0):
        self.story = story or Story()
        self.boot_id = boot_id
        self.seen = []
        self.blobs = []
        self.mute = False
        self.hold = False
        self.major = m.PROTOCOL_MAJOR
        self.beat_s = beat_s
        self.credit_bytes = 1 << 20
        self.peer_of = {}  # job key -> the connection that submitted or resumed it last
        self._greeted = set()
        self._client_credit = {}
        self._partial = {}
        self._calls = []
        self._stopping = threading.Event()
        self._context = zmq.Context()
        self._zap = self._start_zap(allowed) if keys else None
        self.socket = self._context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.sndhwm = 0
        if keys:
            self.socket.zap_domain = b"mattebridge"
            self.socket.curve_server = True
            self.socket.curve_secretkey = keys.secret.encode()
            self.socket.curve_publickey = keys.public.encode()
        self.socket.bind(endpoint)
        self.endpoint = self.socket.last_endpoint.decode().rstrip("\0")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self):
        """As a killed server: nobody is told anything."""
        self._stopping.set()
        self._thread.join()

    def do(self, function):
        """Run ``function()`` on the server's thread and wait until it has run."""
        ran = threading.Event()
        self._calls.append((function, ran))
        assert ran.wait(10)

    def count(self, kind):
        return sum(isinstance(message, kind) for message in list(self.seen))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- the server's thread ---------------------------------------------------------------------------------------

    def _run(self):
        poller = zmq.Poller()
        poller.register(self.socket, zmq.POLLIN)
        while not self._stopping.is_set():
            for function, ran in self._calls[:]:
                function()
                self._calls.remove((function, ran))
                ran.set()
            if poller.poll(10):
                peer, *parts = self.socket.recv_multipart()
                self._received(peer, parts)
        self.socket.close()
        if self._zap is not None:
            self._zap.join()
        self._context.term()

    def send(self, peer, message, blobs=()):
        self.socket.send_multipart([peer, *codec.encode(message, blobs)])

    def _received(self, peer, parts):
        message, blobs = codec.decode(parts)
        self.seen.append(message)
        self.blobs.extend(blobs)
        if self.mute:
            return
        if isinstance(message, m.Hello):
            self._greeted.add(peer)
            self._client_credit = {}
            if message.major != self.major:
                self.send(peer, m.Incompatible(self.major, 0, "bring the older up to date"))
            else:
                limits = m.Limits(beat_s=self.beat_s)
                self.send(peer, m.Welcome(1, 0, self.boot_id, "small", limits=limits))
        elif peer not in self._greeted:
            self.send(peer, m.NeedHello(self.boot_id))
        else:
            getattr(self, f"_on_{type(message).__name__.lower()}", lambda *_: None)(peer, message, blobs)

    def _on_ping(self, peer, message, _):
        self.send(peer, m.Pong(message.number, 1.5))

    def _on_status(self, peer, message, _):
        jobs = tuple(m.JobInfo(key, "running") for key in self.story.jobs)
        self.send(peer, m.StatusReport(message.request, boot_id=self.boot_id, jobs=jobs))

    def _on_describe(self, peer, message, _):
        models = (m.ModelInfo("edge"), m.ModelInfo("identity"))
        wanted = tuple(model for model in models if message.model in ("", model.name))
        self.send(peer, m.Described(message.request, wanted))

    def _on_check(self, peer, message, _):
        self.send(peer, m.Checked(message.request, frames_total=3, warnings=("looked",)))

    def _on_stop(self, peer, message, _):
        self.send(peer, m.Stopping(message.request))

    def _on_submit(self, peer, message, blobs):
        story = self.story
        if message.boot_id != self.boot_id:
            self.send(peer, m.NeedHello(self.boot_id))
            return
        if story.busy_times > 0:
            story.busy_times -= 1
            self.send(peer, m.Busy(message.request, 0.05, 4, 4))
            return
        if message.job.model == "forbidden":
            self.send(peer, m.Rejected(message.request, m.ErrorInfo("LICENCE_REFUSED", "not here", "ask")))
            return
        existing = message.key in story.jobs
        if existing and story.bodies[message.key] != message.job:
            self.send(peer, m.Conflict(message.request, message.key, "another body"))
            return
        if not existing:
            story.accepted += 1
            story.bodies[message.key] = message.job
            story.jobs[message.key] = story.events_for(message.key, message.job)
        self._accept(peer, message, existing, blobs)

    def _accept(self, peer, message, existing, blobs=()):
        key, story = message.key, self.story
        self.peer_of[key] = peer
        if message.__class__ is m.Submit and blobs:
            story.uploads.setdefault(key, {})["plan"] = blobs[0]
        delivery = story.bodies[key].delivery
        uploading = delivery != "files" and key not in story.results
        stored = tuple(name for name in story.uploads.get(key, {}) if name != "plan")
        accepted = m.Accepted(
            message.request,
            key,
            "uploading" if uploading else "running",
            len(story.jobs[key]),
            existing,
            stored,
            self.credit_bytes if uploading else 0,
        )
        self.send(peer, accepted)
        if not uploading and not self.hold and not existing and delivery == "files":
            self.tell(peer, key)

    def tell(self, peer, key, after=0, upto=None):
        for event in self.story.jobs[key][after:upto]:
            self.send(peer, event)

    def _on_resume(self, peer, message, _):
        if message.key not in self.story.jobs:
            error = m.ErrorInfo("BAD_INPUT", "no such job", details={"job_unknown": True})
            self.send(peer, m.Rejected(message.request, error))
            return
        self._accept(peer, message, True)
        if self.story.bodies[message.key].delivery == "files":
            self.tell(peer, message.key, message.after)

    def _on_cancel(self, peer, message, _):
        if message.key not in self.story.jobs:
            error = m.ErrorInfo("BAD_INPUT", "no such job", details={"job_unknown": True})
            self.send(peer, m.Rejected(message.request, error))
            return
        events = self.story.jobs[message.key]
        if not isinstance(events[-1], m.TERMINAL) or self.hold:
            del events[2:]
            events.append(m.CancelledEvent(message.key, len(events) + 1, 0.0))
        self.send(peer, m.Cancelling(message.request, message.key, "cancelling"))
        self.tell(peer, message.key)

    # -- pixels ----------------------------------------------------------------------------------------------------

    def _on_put(self, peer, message, blobs):
        which = f"config/{message.name}" if message.role == "config" else f"{message.role}/{message.frame}"
        if message.offset == 0:
            self._partial[which] = b""
        assert len(self._partial[which]) == message.offset, "a part out of order"
        self._partial[which] += blobs[0]
        if len(self._partial[which]) == message.total_bytes:
            content = self._partial.pop(which)
            assert message.sha256 == hashlib.sha256(content).hexdigest()
            self.story.uploads.setdefault(message.key, {})[which] = content
            self.send(peer, m.Stored(message.key, message.role, message.frame))
        self.send(peer, m.Credit(message.key, len(blobs[0])))

    def _on_putsdone(self, peer, message, _):
        key = message.key
        uploads = self.story.uploads[key]
        self.story.results[key] = [
            ("alpha", int(name.partition("/")[2]), "x", content)
            for name, content in sorted(uploads.items())
            if name.startswith("mask/")
        ]
        self._give(peer, key)

    def _on_credit(self, peer, message, _):
        self._client_credit[message.key] = self._client_credit.get(message.key, 0) + message.add_bytes
        if message.key in self.story.results:
            self._give(peer, message.key)

    def _on_taken(self, peer, message, _):
        results = self.story.results[message.key]
        results[:] = [each for each in results if each[:2] != (message.role, message.frame)]

    def _give(self, peer, key):
        """All results that were not taken, then the events: enough credit was granted, or it comes back later."""
        pending = self.story.results[key]
        if self._client_credit.get(key, 0) < sum(len(each[3]) for each in pending):
            return
        for role, frame, name, content in list(pending):
            digest = hashlib.sha256(content).hexdigest()
            half = len(content) // 2
            self.send(peer, m.Give(key, role, frame, name, 0, len(content)), [content[:half]])
            self.send(peer, m.Give(key, role, frame, name, half, len(content), digest), [content[half:]])
            self._client_credit[key] -= len(content)
        self.tell(peer, key)

    def _start_zap(self, allowed):
        ready = threading.Event()
        thread = threading.Thread(target=self._zap_loop, args=(set(allowed), ready), daemon=True)
        thread.start()
        assert ready.wait(5)
        return thread

    def _zap_loop(self, allowed, ready):
        from zmq.utils import z85

        zap = self._context.socket(zmq.REP)
        zap.linger = 0
        zap.bind("inproc://zeromq.zap.01")
        ready.set()
        while not self._stopping.is_set():
            if zap.poll(20):
                request = zap.recv_multipart()
                good = z85.encode(request[6]).decode() in allowed
                zap.send_multipart(
                    [b"1.0", request[1], b"200" if good else b"400", b"OK" if good else b"No", b"someone", b""]
                )
        zap.close()


def new_keys():
    return KeyPair(*(half.decode() for half in zmq.curve_keypair()))
