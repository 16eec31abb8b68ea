"""The engine child: ``python -m mattebridge_server.engine``, started by the broker and by nobody else."""

from __future__ import annotations

import logging
import os
import sys

import msgspec

from mattebridge.errors import MatteBridgeError

from .pipes import PipeOut, claim_pipes, keep_to_roots, site_of
from .wire import CannotStart, Setup, ToEngine, read_body


def main() -> int:
    """Run until the pipe closes or a `Quit` comes."""
    inward, outward = claim_pipes()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    decoder = msgspec.msgpack.Decoder(ToEngine)
    first = read_body(inward)
    if first is None:
        return 0
    setup = decoder.decode(first)
    if not isinstance(setup, Setup):
        raise TypeError(f"the first message is Setup, not {type(setup).__name__}")
    out = PipeOut(outward)
    try:
        output = site_of(setup).output
        group = output.group_id()  # before the fence, which may hide who knows the groups
        keep_to_roots(setup)
        from ..media import share_results
        from .host import Host  # numba settles where it keeps what it compiles when it is imported

        share_results(output.umask_bits, group)
        host = Host(setup, out)
    except Exception as error:
        told = isinstance(error, MatteBridgeError)
        out.send(CannotStart(reason=str(error).rstrip(".") if told else f"{type(error).__name__}: {error}"))
        raise
    host.start()
    while (body := read_body(inward)) is not None:
        if not host.handle(decoder.decode(body)):
            break
    os._exit(0)


if __name__ == "__main__":
    raise SystemExit(main())
