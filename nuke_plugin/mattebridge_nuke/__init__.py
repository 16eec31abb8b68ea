"""The MatteBridge node's behaviour inside Nuke.

    host          the only module that imports `nuke`
    buttons       what the panel's buttons call; callbacks: what Nuke calls
    node_settings, script_facts, read_source, frame_keys, exr_pixels, versions, job_request   plain values and decisions
    tree          what a node's picture is made of; node_access: knobs and wires of one node
    render_spec, progress_bar      values and a bar that host fills with life
    background    a button's work in the background; run: from CHECK to the switch of versions; bridge: the client
    send_to_farm  the same as a job of a render farm; command_line: `mattebridge` in the server's Python
    farm          what happens without an artist: the jobs of a script; render_check: is the matte there?
    bake, model_parameters, object_prompts, troubleshoot, selftest

Importing this package imports none of them: Nuke's start pays for nothing, and no button needs more than it uses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .farm import NodeJob

__all__ = ["jobs_of"]


def jobs_of(script: str = "") -> list[NodeJob]:
    """Every job that a script needs before it can be rendered; the open script when ``script`` is empty.

    Runs inside Nuke (`nuke -t` is enough) and starts no inference. Raises what `farm.jobs_of` raises.
    """
    from . import farm

    return farm.jobs_of(script)
