"""Read by Nuke at every start, also in a terminal: register, import nothing of ours, survive whatever is missing."""

import importlib.util

import nuke

nuke.pluginAddPath("./gizmos")
nuke.pluginAddPath("./icons")


def _mattebridge_before_render() -> None:
    from mattebridge_nuke import render_check

    render_check.before_render()


def _mattebridge_before_frame() -> None:
    from mattebridge_nuke import render_check

    render_check.before_frame()


if importlib.util.find_spec("mattebridge_nuke") is None or importlib.util.find_spec("mattebridge") is None:
    nuke.tprint(
        "mattebridge: its Python package is not beside init.py; MatteBridge nodes read their files, buttons do not work"
    )
else:
    nuke.addBeforeRender(_mattebridge_before_render)
    nuke.addBeforeFrameRender(_mattebridge_before_frame)
