"""``demo`` and ``eval``: both live on the server side; here are their flags."""

from __future__ import annotations

import argparse
from typing import Any

from . import need
from .job_flags import at_least

EVAL_EXAMPLES = """\
examples:
  mattebridge eval --alpha alpha.####.exr --truth truth.####.exr
  mattebridge eval --alpha alpha.####.exr --truth truth.####.exr --frames 1001-1024 --json
  mattebridge eval --alpha alpha.####.exr --truth hero.####.exr --channel matte_hero.A        one of several objects
"""

SMALLEST = 16
"""Pixels of the demo's width and height: below that its figure has no pixel left."""


def add_parser(subparsers: Any) -> None:
    demo = subparsers.add_parser("demo", help="a first result, with nothing of your own")
    demo.add_argument("--out", default="mattebridge-demo", metavar="DIR", help="where everything goes")
    demo.add_argument("--frames", type=at_least(1), default=24, metavar="N", help="how many (24)")
    demo.add_argument("--width", type=at_least(SMALLEST), default=1920, metavar="PIXELS", help="1920")
    demo.add_argument("--height", type=at_least(SMALLEST), default=1080, metavar="PIXELS", help="1080")
    evaluate = subparsers.add_parser(
        "eval",
        help="score an alpha against the truth",
        epilog=EVAL_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    evaluate.add_argument("--alpha", required=True, metavar="P", help="what was made")
    evaluate.add_argument("--truth", required=True, metavar="P", help="what it should be")
    evaluate.add_argument("--channel", default="", metavar="C", help="of the alpha; default: A, else R (matte_hero.A)")
    evaluate.add_argument("--truth-channel", default="", metavar="C", help="of the truth, the same way")
    evaluate.add_argument("--fgr", default="", metavar="P", help="the foreground that was made ...")
    evaluate.add_argument("--truth-fgr", default="", metavar="P", help="... and what it should be")
    evaluate.add_argument("--frames", default="", metavar="R", help="default: all frames of the truth")
    evaluate.add_argument("--view", default="")
    evaluate.add_argument("--json", action="store_true", help="JSON on standard output")
    evaluate.add_argument("--csv", default="", metavar="FILE", help="CSV into a file; - is standard output")


def run(args: argparse.Namespace) -> int:
    module = "mattebridge_server.demo.run" if args.command == "demo" else "mattebridge_server.metrics.evaluate"
    status: int = need(module).main(args)
    return status
