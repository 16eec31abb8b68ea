"""The checklist of docs/nuke-checklist.md, run in a buyer's own `nuke -t`: step, expected, found.

    mattebridge nuke selftest --nuke /opt/Nuke15.1v3/Nuke15.1

Every place where the code stands on something that only a real Nuke can confirm is a step here. A step that fails names
what to look at; the rest go on. Nothing is left behind but a temporary folder's files until the end.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mattebridge_nuke import bridge, exr_pixels, host, render_check
from mattebridge_nuke.render_spec import WRITE_KNOBS, RenderSpec

FRAMES = (1001, 1003)
READ_KNOBS = (
    "file",
    "proxy",
    "first",
    "last",
    "frame_mode",
    "frame",
    "on_error",
    "raw",
    "colorspace",
    "before",
    "after",
)
PIPE = "MatteBridge selftest"
WORDS = "1001-1003 Write1 made comp.nk"
"""What `mattebridge nuke selftest` passes after this file, as a farm's comp task does after its own."""


@dataclass(frozen=True)
class Step:
    """``run`` gives what was found; it counts as passed when that is ``expected``."""

    title: str
    expected: str
    run: Callable[[Bench], str]


class Bench:
    """A small script: a grey plate, a rendered matte, a MatteBridge node, a Write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.as_posix()
        self.source = host.create_at_root("Constant", {"color": 0.5, "channels": "rgba"})
        self.node = host.create_at_root(host.NODE_CLASS, {})
        self.node.setInput(0, self.source)

    def spec(self, role: str) -> RenderSpec:
        channels = "rgba.alpha" if role == "alpha" else "rgb"
        return RenderSpec(role, f"{self.folder}/{role}.%04d.exr", channels, (FRAMES,), ("main",))

    def store(self) -> None:
        """Make the node show the rendered alpha."""
        first, last = FRAMES
        values = {"alpha_path": f"{self.folder}/alpha.%04d.exr", "has_matte": True}
        host.put(self.node, {**values, "result_first": first, "result_last": last})

    def render_node(self, first: int, last: int) -> str:
        """`rendered`, or `refused` when Nuke would not: by the node's own graph, without our look at the files."""
        spec = RenderSpec("out", f"{self.folder}/out.%04d.exr", "rgba", ((first, last),), ("main",))
        try:
            with render_check.nodes_alone():
                host.render(self.node, spec)
        except RuntimeError:
            return "refused"
        return "rendered"


def _version(bench: Bench) -> str:
    del bench
    return "3.9 to 3.11" if (3, 9) <= sys.version_info[:2] <= (3, 11) else sys.version.split()[0]


def _gizmo(bench: Bench) -> str:
    return f"{bench.node.Class()} with {bench.node.maxInputs()} inputs"


def _read_knobs(bench: Bench) -> str:
    read = host.create_at_root("Read", {})
    missing = [name for name in READ_KNOBS if not host.has(read, name)]
    host.delete(read)
    del bench
    return f"missing: {missing}" if missing else "all there"


def _items(bench: Bench) -> str:
    read = host.create_at_root("Read", {})
    found = host.menu_items(read, "on_error") + host.menu_items(read, "frame_mode")
    host.delete(read)
    del bench
    return ", ".join(found)


def _write_knobs(bench: Bench) -> str:
    write = host.create_at_root("Write", {})
    missing = [name for name in (*WRITE_KNOBS, "channels") if not host.has(write, name)]
    host.delete(write)
    del bench
    return f"missing: {missing}" if missing else "all there"


def _render(bench: Bench) -> str:
    finished: list[int] = []
    for role in ("alpha", "plate"):
        host.render(bench.source, bench.spec(role), finished.append)
    if finished != 2 * list(range(FRAMES[0], FRAMES[1] + 1)):
        return f"written, but said to be finished were {finished}"
    files = [Path(f"{bench.folder}/{role}.{FRAMES[1]}.exr") for role in ("alpha", "plate")]
    return "written" if all(path.exists() for path in files) else "no file"


def _write_gone(bench: Bench) -> str:
    del bench
    return f"{len(host.nodes_of_class('Write'))} Writes left"


def _equal_masks(bench: Bench) -> str:
    """One mask for two views is found by the bytes behind the headers, which this Nuke must write alike."""
    first, last = (Path(f"{bench.folder}/alpha.{frame}.exr") for frame in FRAMES)
    return "equal" if exr_pixels.same_picture(first, last) else "different"


def _hash(bench: Bench) -> str:
    before, again = host.op_digest(bench.source), host.op_digest(bench.source)
    host.put(bench.source, {"color": 0.25})
    after = host.op_digest(bench.source)
    host.put(bench.source, {"color": 0.5})
    return "follows the picture" if before == again != after else f"{before} {again} {after}"


def _no_matte(bench: Bench) -> str:
    return bench.render_node(*FRAMES)


def _stored(bench: Bench) -> str:
    bench.store()
    return bench.render_node(*FRAMES)


def _outside(bench: Bench) -> str:
    return bench.render_node(FRAMES[1] + 5, FRAMES[1] + 5)


def _gone(bench: Bench) -> str:
    Path(f"{bench.folder}/alpha.{FRAMES[0]}.exr").unlink()
    return bench.render_node(FRAMES[0], FRAMES[0])


def _reason(bench: Bench) -> str:
    """With our look at the files: init.py has registered it, and Nuke may raise what it likes."""
    spec = RenderSpec("out", f"{bench.folder}/out.%04d.exr", "rgba", ((FRAMES[0], FRAMES[0]),), ("main",))
    with suppress(Exception):
        host.render(bench.node, spec)
        return "rendered"
    return "named" if render_check.has_complained(bench.node) else "not named"


def _words(bench: Bench) -> str:
    del bench
    return " ".join(sys.argv[-4:])


def _expression(bench: Bench) -> str:
    host.put(bench.node, {"folder": "[file dirname /show/comp.nk]"})
    found = host.path(bench.node, "folder")
    host.put(bench.node, {"folder": ""})
    return found


def _knob(bench: Bench) -> str:
    host.add_knob(bench.node, "Double_Knob", "p_selftest__gain", "gain", "a hint", low=0.0, high=2.0, default=0.5)
    host.open_script(host.save_script(f"{bench.folder}/selftest.nk"))
    again = host.bridge_nodes()[0]
    return str(host.get(again, "p_selftest__gain")) if host.has(again, "p_selftest__gain") else "lost"


def _libraries(bench: Bench) -> str:
    del bench
    bridge.ready()
    import zmq

    return "CURVE" if zmq.has("curve") else "no CURVE"


STEPS = (
    Step("Python of this Nuke", "3.9 to 3.11", _version),
    Step("the gizmo is found and loads", "MatteBridge with 5 inputs", _gizmo),
    Step("Read has the knobs that are looked at", "all there", _read_knobs),
    Step("Read's menus", "error, black, checkerboard, nearest frame, expression, start at, offset", _items),
    Step("Write has the knobs that are set", "all there", _write_knobs),
    Step("inputs are rendered to EXR", "written", _render),
    Step("the temporary Write is removed", "0 Writes left", _write_gone),
    Step("equal masks are told as equal", "equal", _equal_masks),
    Step("opHashes follow the picture", "follows the picture", _hash),
    Step("without a matte a render is refused", "refused", _no_matte),
    Step("a stored path renders", "rendered", _stored),
    Step("outside the range a render is refused", "refused", _outside),
    Step("a missing file fails the render", "refused", _gone),
    Step("our own check prints why, in an ERROR: line", "named", _reason),
    Step("the words after a script arrive", WORDS, _words),
    Step("the result folder takes expressions", "/show", _expression),
    Step("pyzmq loads from the plug-in folder", "CURVE", _libraries),
    Step("parameters are saved with the script", "0.5", _knob),
)


def run() -> int:
    """Print one line per step; the number of steps that failed."""
    failed = 0
    host.complain(f"{PIPE}: Nuke {host.nuke_version()}, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch))
        for number, step in enumerate(STEPS, 1):
            try:
                found = step.run(bench)
            except Exception as reason:
                found = f"{type(reason).__name__}: {reason}"
            good = found == step.expected
            failed += not good
            state = "ok" if good else "FAILED"
            host.complain(f"{number:2d} [{state}] {step.title}: expected {step.expected}; found {found}")
    host.complain(f"{PIPE}: {len(STEPS) - failed} of {len(STEPS)} steps as expected")
    return failed


if __name__ == "__main__":
    sys.exit(1 if run() else 0)
