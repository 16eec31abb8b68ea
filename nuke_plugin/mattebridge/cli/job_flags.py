"""The flags that describe a job, shared by ``matte`` and ``plan``, and the `JobRequest` they make."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..messages import JobRequest, ParamValue, PromptInfo
from ..requests import make_request


def at_least(least: int) -> Callable[[str], int]:
    """The type of a flag that takes a whole number of ``least`` or more."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no number of {least} or more")
        return int(text)

    return number


def add_connection_flags(parser: argparse.ArgumentParser, local: bool = False) -> None:
    """``--server`` and ``--server-key``."""
    choices = "auto|local|ENDPOINT" if local else "auto|ENDPOINT"
    auto = "your running server, else this process for this one job" if local else "your running server on this host"
    parser.add_argument("--server", default="", metavar=choices, help=f"auto: {auto} (default: $MATTEBRIDGE_SERVER)")
    parser.add_argument("--server-key", default="", metavar="FILE|KEY", help="public key of a server that is not yours")


def add_job_flags(parser: argparse.ArgumentParser) -> None:
    """What to read, what to make of it, and how."""
    read = parser.add_argument_group("what to read (sequences: plate.####.exr, plate.%04d.exr)")
    read.add_argument("--plate", required=True, metavar="P", help="the plate, scene-linear EXR")
    read.add_argument("--mask", default="", metavar="M", help="rough coverage of the subject, white; any resolution")
    read.add_argument("--frames", default="", metavar="R", help="1001-1100, 1001-1100x2 (default: all of the plate)")
    read.add_argument("--shot", default="", metavar="R", help="the whole shot, where --frames is a part of it")
    read.add_argument("--view", default="", help="the view that %%V and %%v stand for")
    read.add_argument("--core", default="", metavar="P", help="where it is white, alpha is 1")
    read.add_argument("--garbage", default="", metavar="P", help="where it is white, alpha is 0")
    read.add_argument("--plate-layer", default="", metavar="L", help="layer of the plate (default: RGB)")
    read.add_argument("--mask-channel", default="", metavar="C", help="channel of the mask (default: A, else R or Y)")
    read.add_argument("--mask-invert", action="store_true", help="the mask is black on the subject")
    read.add_argument("--mask-fit", default="", choices=("stretch", "crop"), help="for a mask of another aspect")
    colour = parser.add_argument_group("colour")
    colour.add_argument("--plate-space", default="", metavar="NAME", help="its colour space, role or interop id")
    colour.add_argument("--config", default=None, metavar="URI", help="OCIO config, a file or ocio:// (default: $OCIO)")
    colour.add_argument("--context", action="append", default=[], metavar="K=V", help="OCIO variable; repeatable")
    colour.add_argument("--look", default="filmic", choices=("srgb", "filmic", "view"), help="what a network is shown")
    colour.add_argument("--show", default="", help="the show, for the site's defaults")
    how = parser.add_argument_group("how")
    how.add_argument("--model", default="edge", metavar="NAME", help="see `mattebridge models` (default: edge)")
    how.add_argument("--param", action="append", default=[], metavar="K=V", help="parameter of the model; repeatable")
    how.add_argument("--preset", default="", help="quality preset of the model, or one of the site's")
    how.add_argument("--precision", default="", help="precision of a network, such as fp16")
    how.add_argument("--prompts", default="", metavar="FILE", help="JSON list of {frame, layer, points, box}")
    how.add_argument("--point", action="append", default=[], metavar="FRAME:X,Y[,0]", help="0 to 1, y down")
    how.add_argument("--box", action="append", default=[], metavar="FRAME:X0,Y0,X1,Y1", help="0 to 1, y down")
    how.add_argument("--fallback", action="store_true", help="a lighter model will do where memory is short")
    how.add_argument("--fill", default="", metavar="MODEL", help="track the masks that the shot lacks (sam2)")
    how.add_argument("--priority", default="interactive", choices=("interactive", "batch"))
    how.add_argument("--label", default="", help="what others in the queue see")
    how.add_argument("--queue-timeout", type=float, default=0.0, metavar="S", help="fail if it waits longer")
    how.add_argument("--run-timeout", type=float, default=0.0, metavar="S", help="fail if it runs longer")
    how.add_argument("--key", default=None, help="a name for the job: the same key and job again is the same job")


def add_output_flags(parser: argparse.ArgumentParser) -> None:
    """Where results go."""
    out = parser.add_argument_group("what to write")
    out.add_argument("--out", required=True, metavar="O", help="the alpha; {version} in it makes the next version")
    out.add_argument("--fgr", default="", metavar="P", help="straight foreground, RGB")
    out.add_argument("--comp-over", default="", metavar="P", help="background for a comp ...")
    out.add_argument("--comp", default="", metavar="P", help="... and where the comp goes")
    out.add_argument("--cleanplate", default="", metavar="P", help="the plate without the subject")
    out.add_argument("--overwrite", action="store_true", help="replace files that were made otherwise")
    out.add_argument("--delivery", default="files", choices=("files", "exr"), help="exr: no disk is shared")


def request_of(args: argparse.Namespace, kind: str) -> JobRequest:
    """The request that the flags describe. Raises `UsageError`."""
    config = os.environ.get("OCIO", "") if args.config is None else args.config
    taken = {name: getattr(args, name) for name in _PLAIN if hasattr(args, name)}
    return make_request(
        kind=kind,
        config=config,
        context=dict(_pair(text) for text in args.context),
        params={name: _value(text) for name, text in map(_pair, args.param)},
        prompts=_prompts(args),
        queue_timeout_s=args.queue_timeout,
        run_timeout_s=args.run_timeout,
        **taken,
    )


_PLAIN = (
    *("plate", "mask", "out", "frames", "shot", "view", "model", "preset", "precision", "show", "label"),
    *("plate_space", "plate_layer", "mask_channel", "mask_invert", "mask_fit", "look", "core", "garbage"),
    *("fgr", "comp_over", "comp", "cleanplate", "delivery", "priority", "overwrite", "fallback", "fill"),
)
"""Flags that are fields of `JobRequest` as they are."""


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"{text!r} is not NAME=VALUE")
    return name, value


def _value(text: str) -> ParamValue:
    """A parameter's value as written: true, false, a number, else text."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _prompts(args: argparse.Namespace) -> tuple[PromptInfo, ...]:
    found = [_prompt_of(item, args.prompts) for item in _prompt_file(args.prompts)]
    for text in args.point:
        frame, numbers = _numbers(text, "FRAME:X,Y", (2, 3))
        label = numbers[2] if len(numbers) == 3 else 1.0
        found.append(PromptInfo(frame, points=(numbers[0], numbers[1], label)))
    for text in args.box:
        frame, numbers = _numbers(text, "FRAME:X0,Y0,X1,Y1", (4,))
        found.append(PromptInfo(frame, box=tuple(numbers)))
    return tuple(found)


def _prompt_file(path: str) -> list[Any]:
    if not path:
        return []
    try:
        items = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"the prompts cannot be read: {error}", file=path) from None
    return items if isinstance(items, list) else [items]


def _prompt_of(item: Any, path: str) -> PromptInfo:
    try:
        points = tuple(float(number) for point in item.get("points", ()) for number in _flat(point))
        box = tuple(float(number) for number in item.get("box", ()))
        return PromptInfo(int(item["frame"]), str(item.get("layer", "A")), points, box)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"a prompt is not understood: {error!r}",
            file=path,
            remedy='Write [{"frame": 1001, "points": [[0.5, 0.4, 1]], "box": [x0, y0, x1, y1]}].',
        ) from None


def _flat(point: Any) -> list[Any]:
    if not isinstance(point, list):
        return [point]
    return point if len(point) == 3 else [*point, 1]


def _numbers(text: str, form: str, counts: tuple[int, ...]) -> tuple[int, list[float]]:
    frame, _, rest = text.partition(":")
    try:
        numbers = [float(word) for word in rest.split(",")]
        if len(numbers) in counts:
            return int(frame), numbers
    except ValueError:
        pass
    raise UsageError(f"{text!r} is not {form}", remedy="Coordinates are fractions of the display window, y down.")
