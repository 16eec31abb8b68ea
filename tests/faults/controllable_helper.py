"""A path helper whose answer the plate's name decides: ``hang`` sleeps, ``die`` dies, ``missing`` refuses."""

from __future__ import annotations

import os
import sys
import time

import msgspec

from mattebridge.messages import ErrorInfo
from mattebridge_server.engine import wire


def answer(check: wire.CheckJob) -> wire.JobChecked:
    plate = check.request.plate
    if "hang" in plate:
        time.sleep(3600)
    if "die" in plate:
        os._exit(9)
    if "missing" in plate:
        return wire.JobChecked(
            number=check.number, problems=(ErrorInfo("MISSING_FRAMES", "no such frames", file=plate),)
        )
    return wire.JobChecked(number=check.number, warnings=("seen",), frames=12, fresh=3, facts={"plate": plate})


def main() -> None:
    decoder = msgspec.msgpack.Decoder(wire.ToHelper)
    out = sys.stdout.buffer
    while (body := wire.read_body(sys.stdin.buffer)) is not None:
        message = decoder.decode(body)
        if isinstance(message, wire.Setup):
            out.write(wire.pack(wire.Ready(device="", models=())))
            out.flush()
        else:
            out.write(wire.pack(answer(message)))
            out.flush()


if __name__ == "__main__":
    main()
