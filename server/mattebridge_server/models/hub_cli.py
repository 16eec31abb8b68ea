"""`mattebridge models pull|verify|path` on this machine: asks, tells, and hands the work to `hub`.

Results go to standard output (one JSON object a line with ``--json``), questions and progress to standard error.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mattebridge.errors import UsageError
from mattebridge_server.models import folders, hub
from mattebridge_server.models.base import ModelCard
from mattebridge_server.models.fetch import Progress
from mattebridge_server.models.licences import LicenceNotice
from mattebridge_server.models.registry import load_registry
from mattebridge_server.site import LicencePolicy, Site, find_site

REDRAW_S = 0.2
GIB = 2**30


def run(args: argparse.Namespace) -> int:
    """The exit status; raises the typed errors of `hub`."""
    site = Site.parse(find_site(args.site, os.environ), args.site or "site.toml")
    where = folders.model_folders(args.models_dir, os.environ, site.models.folders)
    policy = site.licences
    registry = load_registry()
    cards = [registry.get(name).card for name in args.names]
    if args.action == "pull":
        if not cards:
            raise UsageError("say which model to pull", remedy="See `mattebridge models`.")
        if not where:
            raise UsageError("this user has no home folder to pull models to", remedy="Name one: --models-dir DIR.")
        return _pull(cards, where, policy, args)
    every = [cls.card for cls in registry.classes.values() if cls.card.weights]
    if args.action == "verify":  # a model of which only a part is there has something to say too
        begun = [card for card in every if any(file.path is not None for file in folders.find(card, where))]
        return _verify(cards or begun, where, args.json)
    return _paths(cards or [card for card in every if folders.is_installed(card, where)], where, args.json)


def ask(notice: LicenceNotice, answers: Any = None) -> bool:
    """Show the licence and ask on the terminal; no terminal is a no, since a script has its own flag."""
    stream = answers or sys.stdin
    if answers is None and not sys.stdin.isatty():
        return False
    lines = [f"{notice.model} comes from {', '.join(notice.repos)} under the {notice.licence}."]
    lines += [notice.terms] if notice.terms else []
    lines += [f"Full text: {notice.page}"] if notice.page else []
    _tell("\n".join(lines) + "\nDo you accept it? [y/N] ", end="")
    return str(stream.readline()).strip().lower() in ("y", "yes")


def _pull(cards: Sequence[ModelCard], where: tuple[Path, ...], policy: LicencePolicy, args: argparse.Namespace) -> int:
    for card in cards:
        pulled = hub.pull(card, where, policy, confirm=ask, accept=args.accept_licence, report=_Line(), endpoint=None)
        for file in pulled:
            state = "fetched" if file.fetched else "there already"
            _out(args.json, dataclasses.asdict(file), f"{state:<14} {file.size_bytes / GIB:7.3f} GiB  {file.path}")
    return 0


def _verify(cards: Sequence[ModelCard], where: tuple[Path, ...], as_json: bool) -> int:
    if not cards:
        _tell("no model with weights is installed; nothing to verify")
    bad = False
    for card in cards:
        for check in hub.verify(card, where, report=_Line()):
            bad |= not check.ok
            basis = "nothing to compare with" if check.basis == "none" else f"against its {check.basis}"
            state = f"ok ({basis})" if check.ok else f"WRONG: {check.problem}"
            _out(as_json, {"model": card.name, **dataclasses.asdict(check)}, f"{check.path}: {state}")
    return 3 if bad else 0


def _paths(cards: Sequence[ModelCard], where: tuple[Path, ...], as_json: bool) -> int:
    if not cards:
        for folder in where:
            _out(as_json, {"folder": str(folder)}, str(folder))
    for card in cards:
        files = folders.find(card, where)
        if not files:
            _tell(f"{card.name} needs no files")
        for file in files:
            path = file.path or where[0] / file.weights.path
            there = file.path is not None
            text = str(path) if there else f"{path}  (missing; {folders.source(file.weights)})"
            _out(as_json, {"model": card.name, "path": str(path), "installed": there}, text)
    return 0


def _out(as_json: bool, facts: dict[str, Any], text: str) -> None:
    sys.stdout.write((json.dumps(facts, default=str) if as_json else text) + "\n")


def _tell(text: str, end: str = "\n") -> None:
    sys.stderr.write(text + end)
    sys.stderr.flush()


class _Line:
    """Progress as one line that is redrawn; silent where standard error is not a terminal."""

    def __init__(self) -> None:
        self._drawn = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        done = progress.done_bytes >= progress.total_bytes
        if not sys.stderr.isatty() or (not done and now - self._drawn < REDRAW_S):
            return
        self._drawn = now
        share = f"{progress.done_bytes / progress.total_bytes:4.0%} of " if progress.total_bytes else ""
        _tell(f"\r{share}{progress.total_bytes / GIB:.2f} GiB  {progress.file}", end="\n" if done else "")
