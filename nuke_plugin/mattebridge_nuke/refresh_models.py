"""Refresh models: ask the server, then fill the menus and add the parameters of every model as knobs."""

from __future__ import annotations

import threading

from mattebridge.errors import MatteBridgeError
from mattebridge.messages import ModelInfo

from . import host, model_parameters, status_text
from .bridge import Bridge
from .node_settings import AUTOMATIC


def start(node: host.Node) -> threading.Thread:
    """In the background with an interface, in line without one."""
    server = str(host.get(node, "server")).strip() or "auto"
    worker = threading.Thread(target=_work, args=(node, server), name="mattebridge models", daemon=True)
    if host.gui():
        worker.start()
    else:
        worker.run()
    return worker


def _work(node: host.Node, server: str) -> None:
    try:
        with Bridge.connect(server) as connection:
            models = connection.models()
    except MatteBridgeError as reason:
        text = status_text.failure(reason)
        host.post(lambda: host.put_quiet(node, {"status": text}))
        host.tell(text)
        return
    host.on_main(lambda: apply(node, models))


def apply(node: host.Node, models: tuple[ModelInfo, ...]) -> None:
    """Main thread: menus, parameter knobs, status. The chosen model and its values stay."""
    if not host.alive(node):
        return
    chosen = model_parameters.chosen(node)
    usable = [info for info in models if info.installed]
    host.put_quiet(node, {"model_cache": model_parameters.cache_text(models), "model_name": chosen})
    host.set_menu(node, "model", [info.name for info in usable], chosen)
    model_parameters.add(node, usable)
    model_parameters.show(node, chosen)
    presets = next(([preset.name for preset in info.presets] for info in models if info.name == chosen), [])
    host.set_menu(node, "preset", [AUTOMATIC, *presets], str(host.get(node, "preset_name")) or AUTOMATIC)
    lacking = [info.name for info in models if not info.installed]
    text = f"{len(usable)} models: {', '.join(info.name for info in usable)}"
    host.put_quiet(node, {"status": text + (f"; not installed: {', '.join(lacking)}" if lacking else "")})
