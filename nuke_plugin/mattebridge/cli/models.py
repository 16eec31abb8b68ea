"""``models`` and ``describe``: what there is, what it needs, and where its weights are."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from typing import Any

from ..errors import ModelUnknown
from ..messages import ModelInfo, ParamInfo
from . import NO_SERVER, need
from .connection import connect, settings_of, works_alone
from .job_flags import add_connection_flags
from .output import frames, size

MODELS_EXAMPLES = """\
examples:
  mattebridge models                            what the running server has (or this installation, without one)
  mattebridge models pull videomama             fetch weights; shows the licence and asks
  mattebridge models pull lama --accept-licence for scripts
  mattebridge models verify                     every file against its digest
  mattebridge models path videomama             where each file lies or belongs, for copying by hand
"""


def add_parser(subparsers: Any) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    models = subparsers.add_parser("models", help="list models", formatter_class=raw, epilog=MODELS_EXAMPLES)
    models.add_argument("action", nargs="?", default="list", choices=("list", "pull", "verify", "path"))
    models.add_argument("names", nargs="*", metavar="NAME")
    models.add_argument("--accept-licence", action="store_true", help="pull without being asked")
    describe = subparsers.add_parser("describe", help="a model's parameters, presets and licence")
    describe.add_argument("name", metavar="NAME")
    for parser in (models, describe):
        parser.add_argument(
            "--models-dir", action="append", default=[], metavar="DIR", help="where weights are; repeatable"
        )
        parser.add_argument(
            "--site", default="", metavar="FILE", help="the studio's site.toml (default: $MATTEBRIDGE_SITE)"
        )
        add_connection_flags(parser, local=True)
        parser.add_argument("--json", action="store_true", help="JSON on standard output")


def run(args: argparse.Namespace) -> int:
    if args.command == "models" and args.action != "list":
        status: int = need("mattebridge_server.models.hub_cli").run(args)
        return status
    models = _chosen(_models(args), [args.name] if args.command == "describe" else args.names)
    if args.json:
        found = [dataclasses.asdict(model) for model in models]
        print(json.dumps(found[0] if args.command == "describe" else found))
    elif args.command == "describe":
        _print_model(models[0])
    else:
        _print_list(models)
    return 0


def _chosen(models: tuple[ModelInfo, ...], names: list[str]) -> tuple[ModelInfo, ...]:
    """Those of the names, or all where none is named. Raises `ModelUnknown`."""
    there = {model.name for model in models}
    for name in names:
        if name not in there:
            raise ModelUnknown(f"no model is called {name!r}", remedy=f"There are {', '.join(sorted(there))}.")
    return tuple(model for model in models if not names or model.name in names)


def _models(args: argparse.Namespace) -> tuple[ModelInfo, ...]:
    if works_alone(settings_of(args)):
        return _models_here(args)
    with connect(args) as client:
        return client.models()


def _models_here(args: argparse.Namespace) -> tuple[ModelInfo, ...]:
    shelf, site = need("mattebridge_server.engine.shelf", NO_SERVER), need("mattebridge_server.site")
    stated = site.Site.parse(site.find_site(args.site, os.environ)).models.folders
    folders = need("mattebridge_server.models.folders").model_folders(args.models_dir, os.environ, stated)
    found: tuple[ModelInfo, ...] = shelf.Shelf(shelf.parse_device("cpu:0", 1), folders).describe()
    return found


def _print_list(models: tuple[ModelInfo, ...]) -> None:
    for model in models:
        state = "loaded" if model.loaded else "ready" if model.installed else "not installed"
        memory = f"{size(min(preset.peak_bytes for preset in model.presets))} up" if model.presets else "-"
        weights = size(model.weights_bytes) if model.weights_bytes else "-"
        mark = " (experimental)" if model.experimental else ""
        needs = f"weights {weights:<10} memory {memory:<12}"
        print(f"{model.name:<14} {state:<14} {needs} {model.title}{mark}, {model.licence or 'no licence stated'}")


def _print_model(model: ModelInfo) -> None:
    print(f"{model.name} {model.version}  {model.title}")
    if model.summary:
        print(f"  {model.summary}")
    print(f"  licence {model.licence or '?'}, {'installed' if model.installed else 'not installed'}")
    reach = {"frame": f"{frames(model.radius)} to either side", "window": f"{model.window} frames every {model.stride}"}
    print(f"  sees {reach.get(model.temporal, 'the whole shot')}; makes {', '.join(model.outputs)}")
    for preset in model.presets:
        print(f"  preset {preset.name:<10} {preset.canvas_pixels / 1e6:.2f} megapixels, {size(preset.peak_bytes)}")
    if model.precisions:
        print(f"  precisions {', '.join(model.precisions)}")
    for param in model.params:
        print(f"  --param {param.name}={_text(param.default):<10} {_bounds(param)}{param.hint}")


def _bounds(param: ParamInfo) -> str:
    if param.choices:
        return f"({'|'.join(param.choices)}) "
    if param.low is None and param.high is None:
        return ""
    low = "" if param.low is None else f"{param.low:.10g}"
    high = "" if param.high is None else f"{param.high:.10g}"
    return f"[{low}..{high}] "


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
