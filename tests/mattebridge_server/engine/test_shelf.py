"""The device an engine is given: what is missing for it is named with the remedy."""

from __future__ import annotations

import sys

import pytest

from mattebridge.errors import EngineFailed
from mattebridge_server.engine.shelf import parse_device


def test_a_gpu_without_torch_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineFailed, match="cuda:1 needs a package that is not installed here: torch") as refused:
        parse_device("cuda:1", 2)
    assert "[models]" in refused.value.remedy
