"""Starts a broker as `mattebridge serve` does, with the limits, times and children that a test names in JSON."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from typing import Any

from mattebridge.errors import MatteBridgeError
from mattebridge_server.broker.config import Config
from mattebridge_server.broker.main import run


def main() -> int:
    orders: dict[str, Any] = json.loads(sys.argv[1])

    def adjust(config: Config) -> Config:
        changed: dict[str, Any] = dict(orders.get("config", {}))
        for name in ("engine_command", "helper_command"):
            if name in changed:
                changed[name] = tuple(changed[name])
        return replace(
            config,
            policy=replace(config.policy, **orders.get("policy", {})),
            limits=replace(config.limits, **orders.get("limits", {})),
            setup=replace_struct(config.setup, orders.get("setup", {})),
            **changed,
        )

    try:
        return run(argparse.Namespace(**orders.get("args", {})), adjust)
    except MatteBridgeError as error:
        sys.stderr.write(f"{error.code}: {error}\n")
        return error.exit_status


def replace_struct(setup: Any, changes: dict[str, Any]) -> Any:
    import msgspec

    return msgspec.structs.replace(setup, **{name: tuple(value) for name, value in changes.items()})


if __name__ == "__main__":
    raise SystemExit(main())
