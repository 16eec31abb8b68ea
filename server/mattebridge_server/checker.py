"""The path helper: ``python -m mattebridge_server.checker``, the process that touches users' disks for the broker.

A mount that hangs, hangs this process; the broker waits for a while, kills it and starts another.
"""

from __future__ import annotations

import logging
import os
import sys

import msgspec

from .engine.pipes import PipeOut, claim_pipes, keep_to_roots, site_of
from .engine.wire import Ready, Setup, ToHelper, read_body
from .models.registry import load_registry
from .pipeline.check import check_job
from .site import Site


def main() -> int:
    """Answer checks until the pipe closes."""
    inward, outward = claim_pipes()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    decoder = msgspec.msgpack.Decoder(ToHelper)
    out = PipeOut(outward)
    registry, site = load_registry(), Site()
    while (body := read_body(inward)) is not None:
        message = decoder.decode(body)
        if isinstance(message, Setup):
            site = site_of(message)
            keep_to_roots(message)
            out.send(Ready(device="", models=()))
        else:
            out.send(check_job(message.number, message.request, message.plan, site, registry))
    os._exit(0)


if __name__ == "__main__":
    raise SystemExit(main())
