"""What an import may cost, said as which modules it brings along: time is measured in tests/benchmarks/startup.py."""

import json
import subprocess
import sys

import pytest

HEAVY = ("zmq", "msgpack", "asyncio", "concurrent", "numpy", "multiprocessing", "email", "http", "ssl")
SHOW = "import json, sys; print(json.dumps(sorted(sys.modules)))"


def loaded(code):
    done = subprocess.run([sys.executable, "-c", f"{code}\n{SHOW}"], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def ours(modules):
    return {name for name in modules if name.partition(".")[0].startswith("mattebridge")}


def heavy(modules):
    return sorted(name for name in modules if name.partition(".")[0] in HEAVY)


def test_importing_the_package_brings_nothing_else():
    modules = loaded("import mattebridge")
    assert ours(modules) == {"mattebridge"} and not heavy(modules)
    assert "dataclasses" not in modules


@pytest.mark.parametrize("name", ["FrameSet", "Sequence", "JobRequest", "Settings", "Client", "Job", "Planes"])
def test_no_public_name_brings_zmq_before_the_first_connection(name):
    assert not heavy(loaded(f"from mattebridge import {name}"))


def test_help_brings_no_family_and_no_protocol():
    modules = loaded("from mattebridge import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass")
    assert ours(modules) == {"mattebridge", "mattebridge.cli", "mattebridge.errors"} and not heavy(modules)


@pytest.mark.parametrize("command", ["serve", "matte", "models", "eval", "demo", "doctor", "jobs"])
def test_the_help_of_a_command_brings_no_server_side(command):
    modules = loaded(f"from mattebridge import cli\ntry: cli.main(['{command}', '--help'])\nexcept SystemExit: pass")
    assert not any(name.startswith("mattebridge_server") for name in modules) and not heavy(modules)
