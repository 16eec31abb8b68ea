"""Settings and connections as the commands use them."""

from __future__ import annotations

import argparse
import dataclasses

from ..client import Client
from ..rendezvous import read_alive
from ..settings import Settings


def settings_of(args: argparse.Namespace) -> Settings:
    """The environment's settings, with what the command line says in front."""
    settings = Settings.from_environment()
    given = {name: getattr(args, name) for name in ("server", "server_key") if getattr(args, name, "")}
    return dataclasses.replace(settings, **given)


def connect(args: argparse.Namespace) -> Client:
    """A client for the server that the flags name."""
    return Client.connect(settings=settings_of(args))


def works_alone(settings: Settings) -> bool:
    """Whether a command does its work in this process: it is told to, or no server of this user runs on this host."""
    return settings.server == "local" or (settings.server == "auto" and read_alive(settings.runtime_dir) is None)
