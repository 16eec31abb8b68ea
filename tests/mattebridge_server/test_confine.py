"""A confined process opens nothing outside its folders, whatever opens it and whatever the path looks like."""

import subprocess
import sys
import textwrap

import pytest

from mattebridge_server.confine import _abi

pytestmark = pytest.mark.skipif(_abi() < 1, reason="this kernel has no Landlock")

SCRIPT = textwrap.dedent(
    """
    import os, subprocess, sys, threading
    from pathlib import Path
    from mattebridge_server.confine import confine
    root, outside = sys.argv[1:3]
    held = os.open(outside + "/secret", os.O_RDONLY)
    assert confine([], [root])
    {body}
    """
)


def confined(tmp_path, body):
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (tmp_path / "root" / "good").write_text("good")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    script = SCRIPT.format(body=body)
    ended = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "root", tmp_path / "outside"], capture_output=True, text=True
    )
    return ended.stdout.strip(), ended.stderr


def test_inside_everything_works(tmp_path):
    body = (
        "Path(root, 'new').mkdir(); Path(root, 'a').write_text('x'); os.replace(root + '/a', root + '/new/b');"
        "print(Path(root, 'good').read_text(), os.listdir(root + '/new')); Path(root, 'good').unlink()"
    )
    assert confined(tmp_path, body) == ("good ['b']", "")


@pytest.mark.parametrize(
    "attempt",
    [
        "open(outside + '/secret')",
        "open(root + '/link/secret')",
        "open(root + '/../outside/secret')",
        "open(outside + '/new', 'w')",
        "open(root + '/link/new', 'w')",
        "os.rename(root + '/good', outside + '/good')",
        "os.link(outside + '/secret', root + '/hard')",
        "os.unlink(outside + '/secret')",
        "os.listdir(outside)",
        "os.truncate(outside + '/secret', 0)",
        "open('/proc/self/fd/%d' % held)",
        "open('/proc/self/root' + outside + '/secret')",
    ],
)
def test_outside_nothing_works(tmp_path, attempt):
    out, error = confined(tmp_path, attempt)
    assert out == ""
    assert "PermissionError" in error or "Invalid cross-device link" in error
    assert (tmp_path / "outside" / "secret").read_text() == "secret"


def test_threads_and_children_are_confined_too(tmp_path):
    body = (
        "t = threading.Thread(target=lambda: print(os.access(outside, 0), end=' ')); t.start(); t.join();"
        "print(subprocess.run(['cat', outside + '/secret'], stderr=subprocess.DEVNULL).returncode)"
    )
    out, _ = confined(tmp_path, body)
    assert out.endswith(" 1")


def test_libraries_can_still_be_imported(tmp_path):
    assert confined(tmp_path, "import json, numpy, cv2; print(numpy.ones(3).sum())") == ("3.0", "")


def test_a_confined_engine_keeps_what_it_compiles_inside(tmp_path):
    """As on a new installation, where nothing is compiled yet and the program's own folder may not be written."""
    script = textwrap.dedent(
        """
        import sys
        import mattebridge_server.engine.__main__  # has to leave numba alone until the fence stands
        from mattebridge_server.engine.pipes import keep_to_roots
        from mattebridge_server.engine.wire import Setup
        keep_to_roots(Setup(device="cpu:0", roots=(sys.argv[1],), spool=sys.argv[1]))
        import numba
        print(numba.config.CACHE_DIR)
        """
    )
    ended = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True)
    assert (ended.stdout.strip(), ended.stderr) == (f"{tmp_path}/.scratch", "")
