"""Settings and connections as the commands use them."""

from __future__ import annotations

import argparse
import dataclasses

from ..client import Client
from ..settings import Settings


def settings_of(args: argparse.Namespace) -> Settings:
    """The environment's settings, with what the command line says in front."""
    settings = Settings.from_environment()
    given = {name: getattr(args, name) for name in ("server", "server_key") if getattr(args, name, "")}
    return dataclasses.replace(settings, **given)


def connect(args: argparse.Namespace) -> Client:
    """A client for the server that the flags name."""
    return Client.connect(settings=settings_of(args))
