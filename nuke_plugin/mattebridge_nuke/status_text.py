"""What the panel and the node's label say. No line contains "Error:" unless something failed (farms grep for it)."""

from __future__ import annotations

from typing import Optional

from mattebridge.errors import MatteBridgeError
from mattebridge.frames import FrameSet

WARNINGS_SHOWN = 4

_STAGES = {
    "check": "checking with the server",
    "render": "rendering the inputs",
    "queue": "waiting in the queue",
}


_FLAGS = {
    "--plate-space NAME": "the colourspace knob of its Read, or the project's OCIO config",
    "State it, one of": "State it in the colourspace knob of its Read, one of",
    "See the command's --help": "Correct it on the panel",
    "pass --mask-fit stretch or --mask-fit crop": "set if aspect differs on the Input tab to stretch or crop",
    "--mask-channel": "channel on the Input tab",
    "Choose one with --plate-layer": "Shuffle one to rgb and connect that",
    "--delivery exr": "transfer exr on the Server tab",
    "--server-key FILE": "MATTEBRIDGE_SERVER_KEY",
    "name one: --server tcp://HOST:PORT": "name one on the Server tab",
    ", or pass --overwrite": "",
}
"""Remedies are written for a shell; an artist has knobs."""


def in_knobs(text: str) -> str:
    """With the flags of the command line as what they are on the panel."""
    for flag, knob in _FLAGS.items():
        text = text.replace(flag, knob)
    return text


def stage_name(stage: str) -> str:
    return _STAGES.get(stage, stage)


def progress(stage: str, done: int, total: int, frame: Optional[int], fps: float, eta_s: float) -> str:
    """`solve, frame 1010 (10 of 100), 1.4 fps, 1 min 4 s left`."""
    parts = [stage_name(stage)]
    if frame is not None:
        parts.append(f"frame {frame} ({done} of {total})")
    elif total:
        parts.append(f"{done} of {total} frames")
    if fps > 0:
        parts.append(f"{fps:.1f} fps" if fps >= 1 else f"{1 / fps:.1f} s a frame")
    if eta_s > 0:
        parts.append(f"{duration(eta_s)} left")
    return ", ".join(parts)


def queued(position: int, ahead: str) -> str:
    """``ahead`` names the job that runs now (user: label)."""
    if position <= 0:
        return "next in the queue" + (f" after {ahead}" if ahead else "")
    jobs = "job" if position == 1 else "jobs"
    return f"{position} {jobs} ahead" + (f", now running {ahead}" if ahead else "")


def duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def failure(error: MatteBridgeError) -> str:
    """Cause and remedy in two lines."""
    text, remedy = str(error), error.remedy
    cause = text[: -len(remedy)].rstrip() if remedy and text.endswith(remedy) else text
    return plain(in_knobs(f"{cause}\n{remedy}" if remedy else cause))


def plain(text: str) -> str:
    """Safe in a Text knob, where Nuke would run `[...]` as Tcl."""
    return text.replace("[", "(").replace("]", ")")


def failures(errors: list[MatteBridgeError]) -> str:
    """Every refusal, one paragraph each, for one dialog."""
    return "\n\n".join(failure(error) for error in errors)


def label(version: str, total: int, missing: FrameSet, stale: FrameSet) -> str:
    """For the node in the graph: `v003  96 of 100, 4 stale`."""
    if not version:
        return ""
    done = total - len(missing)
    text = f"{version}  {done} of {total}" if missing else f"{version}  {total} frames"
    return f"{text}, {len(stale)} stale" if stale else text


def with_farm(text: str, waiting: str) -> str:
    """A label, with the version that the farm makes: `v003  100 frames, v004 waits for the farm`."""
    return ", ".join(filter(None, (text, waiting and f"{waiting} waits for the farm")))


def on_the_farm(version: str, total: int, missing: FrameSet) -> str:
    """How far the farm is."""
    return f"{version} waits for the farm: {total - len(missing)} of {total} frames are there; Reload looks again"


def to_hand_over(version: str, commands: list[str]) -> str:
    """A bundle is made and no submitter is here."""
    return "\n".join(
        (f"{version} is ready for the farm; hand it over in a shell, Reload shows it when it is made:", *commands)
    )


def handed_over(version: str, said: list[str]) -> str:
    """``said`` is what the farm's own command said last, for each job."""
    return "\n".join((f"{version} is on the farm; Reload shows it when all its frames are there", *filter(None, said)))


def finished(version: str, written: int, kept: int, warnings: list[str]) -> str:
    """One line, then the warnings that differ, the first few of them in full."""
    frames = "frame" if written == 1 else "frames"
    text = f"{version}: {written} {frames} made" + (f", {kept} kept" if kept else "")
    distinct = list(dict.fromkeys(warnings))
    lines = [text, *(f"- {in_knobs(warning)}" for warning in distinct[:WARNINGS_SHOWN])]
    if len(distinct) > WARNINGS_SHOWN:
        lines.append(f"- and {len(distinct) - WARNINGS_SHOWN} more, in the server's log")
    return "\n".join(lines)


def elsewhere(version: str, path: str) -> str:
    """The node was copied or renamed, or its script saved in another folder."""
    return f"{version} is shown from {path}, which is not this node's folder; Matte range makes its own"


def waiting_version(version: str, missing: FrameSet) -> str:
    """A version that is not complete and is not shown."""
    return (
        f"{version} lacks {len(missing)} frames ({missing}) and is not shown; tick preview partial, or matte the rest"
    )
