"""Everything a broker is told at its start, as one value made by main.py and passed inward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mattebridge.keys import KeyPair
from mattebridge.messages import Limits

from ..engine import wire
from ..site import Site
from .auth import AllowList
from .lock import FileLock
from .scheduling import Policy
from .uploads import SPARE_BYTES


@dataclass(frozen=True)
class Config:
    """Everything a broker is told at its start. Times in seconds; ``keep_jobs`` ended jobs stay in the journal."""

    state_dir: Path
    local: str
    keys: KeyPair
    allowed: AllowList
    boot_id: str
    version: str
    pid: int
    engine_command: Sequence[str]
    helper_command: Sequence[str]
    log_file: Path
    binds: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu:0",)
    device_locks: Mapping[str, FileLock] = field(default_factory=dict)
    setup: wire.Setup = field(default_factory=wire.Setup)
    site: Site = field(default_factory=Site)
    policy: Policy = field(default_factory=Policy)
    limits: Limits = field(default_factory=Limits)
    lease_s: float = 30.0
    check_timeout_s: float = 20.0
    idle_exit_s: float = 0.0
    drain_s: float = 60.0
    keep_jobs: int = 1000
    keep_s: float = 30 * 86400.0
    prune_every_s: float = 600.0
    most_losses: int = 5
    metrics_port: int | None = None
    spare_bytes: int = SPARE_BYTES

    @property
    def spool(self) -> Path:
        """The folder of all jobs' spools."""
        return self.state_dir / "spool"
