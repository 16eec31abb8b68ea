"""What the buttons of the panel do. Main thread; a refusal is one dialog with cause and remedy, never a traceback."""

from __future__ import annotations

from typing import Callable, Optional

from mattebridge.errors import InputError, MatteBridgeError, Refused, UsageError
from mattebridge.frames import FrameSet

from . import background, host, object_prompts, result, script_facts, status_text
from .run import Purpose, Run

POINTS = 6
MASK_FRAME = "mask_frame"


def press(node: host.Node, name: str) -> None:
    """A button by its knob's name. Without an interface nothing is caught: the caller is a script."""
    action = ACTIONS[name]
    try:
        action(node)
    except MatteBridgeError as reason:
        if not host.gui():
            raise
        text = status_text.failure(reason)
        host.put_quiet(node, {"status": text})
        host.tell(f"{host.full_name(node)}\n\n{text}")


def matte_range(node: host.Node) -> None:
    _start(node, None)


def matte_frame(node: host.Node) -> None:
    """The current frame under the plan of the whole shot. Raises `UsageError` outside the shot."""
    _start(node, FrameSet([host.current_frame()]))


def _start(node: host.Node, frames: Optional[FrameSet]) -> None:
    _refuse_without_artist()
    _refuse_second_run(node)
    facts = script_facts.gather(node)
    host.put_quiet(node, {"working_space": facts.colour.text})
    if frames is not None and not frames <= facts.shot:
        raise UsageError(
            f"frame {frames} is outside the shot {facts.shot}", remedy="Go to a frame of the shot, or widen its range."
        )
    folder = script_facts.require_folder(facts)
    title = "matte range" if frames is None else f"matte frame {frames}"
    Run(node, facts, Purpose(title, folder, result.show), frames).start()


def _refuse_without_artist() -> None:
    """A render must never start a job, nor a script that presses buttons in `nuke -t`."""
    if not host.gui():
        raise Refused(
            "buttons start no job without an artist",
            remedy="List the jobs with mattebridge_nuke.jobs_of() and run them with `mattebridge matte` beforehand.",
        )


def _refuse_second_run(node: host.Node) -> None:
    if background.running(node) is not None:
        raise UsageError(f"{host.full_name(node)} is at work already", remedy="Wait for it, or press Cancel first.")


def cancel(node: host.Node) -> None:
    found = background.running(node)
    waiting = str(host.get(node, result.WAITING))
    if found is None and waiting:
        result.wait_for(node, "")
        host.put_quiet(node, {"status": f"{waiting} is waited for no longer; stop its job on the farm itself"})
        return
    if found is None:
        host.put_quiet(node, {"status": "nothing is running on this node"})
        return
    found.cancel()
    host.put_quiet(node, {"status": "cancelling; finished frames are kept"})


def reload(node: host.Node) -> None:
    facts = script_facts.gather(node)
    host.put_quiet(node, {"working_space": facts.colour.text, "status": result.refresh(node, facts)})


def send_to_farm(node: host.Node) -> None:
    """What Matte range makes, as a job of a render farm."""
    from . import send_to_farm as sending

    _refuse_without_artist()
    _refuse_second_run(node)
    sending.start(node)


def compare(node: host.Node) -> None:
    """Choose another version to see against the one that is shown."""
    facts = script_facts.gather(node)
    shown = str(host.get(node, "version_name"))
    others = [version for version in result.refresh_menu(node, facts) if version.name != shown]
    if not shown or not others:
        raise UsageError("there is no other version to compare with", remedy="Change something and matte the range.")
    chosen = host.choose("MatteBridge", f"Compare {shown} with", [version.name for version in others])
    if chosen is None:
        return
    other = others[chosen]
    with host.undo_step(f"{host.full_name(node)} compare with {other.name}"):
        host.put(node, {"compare_path": other.roles["alpha"], "has_compare": True, "rgb_from": "compare versions"})
    host.put_quiet(node, {"status": f"{shown} in magenta against {other.name} in green"})


def bake(node: host.Node) -> None:
    from . import bake as baking

    baking.bake(node)


def mask_frame_now(node: host.Node) -> None:
    host.put(node, {MASK_FRAME: host.current_frame()})


def make_mask(node: host.Node) -> None:
    """Track what the points and the box mark, through the range."""
    _refuse_without_artist()
    _refuse_second_run(node)
    plate = host.upstream(node, script_facts.INPUTS["plate"])
    if plate is None:
        raise UsageError("the plate input is not connected", remedy="Connect a plate.")
    points = [(host.get(node, f"point{i}"), str(host.get(node, f"kind{i}"))) for i in range(1, POINTS + 1)]
    box = host.get(node, "box") if host.get(node, "use_box") else ()
    frame = int(host.get(node, MASK_FRAME))
    prompt = object_prompts.prompt(frame, str(host.get(node, "object_name")), points, box, host.format_of(plate))
    facts = script_facts.gather(node, mask_needed=False)
    if frame not in facts.shot:
        raise InputError(
            f"the points are drawn on frame {frame}, outside the shot {facts.shot}",
            frame=frame,
            remedy="Go to a frame of the shot, press This frame and draw them there.",
        )
    folder = f"{script_facts.require_folder(facts)}/mask"
    Run(node, facts, Purpose("make mask", folder, result.show_mask, (prompt,))).start()


def refresh(node: host.Node) -> None:
    from . import refresh_models

    refresh_models.start(node)


def troubleshoot(node: host.Node) -> None:
    from . import troubleshoot as troubles

    troubles.start(node)


ACTIONS: dict[str, Callable[[host.Node], None]] = {
    "matte_range": matte_range,
    "matte_frame": matte_frame,
    "cancel": cancel,
    "reload": reload,
    "send_to_farm": send_to_farm,
    "compare": compare,
    "bake": bake,
    "mask_frame_now": mask_frame_now,
    "make_mask": make_mask,
    "refresh": refresh,
    "troubleshoot": troubleshoot,
}
