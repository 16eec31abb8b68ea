"""Models on disk: listed, pulled with the real client from a small hub, verified, refused; and copied by hand."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mattebridge import cli
from mattebridge.errors import InputError, LicenceRefused, ModelNotInstalled, OutputFailed
from mattebridge_server.models import folders, hub, hub_cli, licences
from mattebridge_server.models.base import ModelCard, Preset, Weights
from mattebridge_server.models.fetch import Progress
from mattebridge_server.models.videomama.card import CARD as VIDEOMAMA
from mattebridge_server.site import LicencePolicy

from .loopback_hub import Hub, serving

pytest.importorskip("huggingface_hub", reason="the [models] extra is not installed")

STRICT = "Stability AI Community License"
CONFIG, NETWORK = b'{"_class_name": "X"}', bytes(range(256)) * 4096
CARD = ModelCard(
    name="small",
    title="Small",
    summary="A model for tests",
    licence=STRICT,
    temporal="window",
    plate_state="display",
    version="1",
    presets=(Preset("full", 100, 5 << 30),),
    weights=(
        Weights("Small/unet/config.json", "studio/Small", STRICT, len(CONFIG)),
        Weights(
            "Small/unet/net.safetensors", "studio/Small", STRICT, len(NETWORK), md5=hashlib.md5(NETWORK).hexdigest()
        ),
        Weights("base/vae/vae.safetensors", "other/base", STRICT, sha256=hashlib.sha256(b"vae").hexdigest()),
    ),
)
FREE = LicencePolicy()


@pytest.fixture
def small_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    files = {
        "studio/Small/unet/config.json": CONFIG,
        "studio/Small/unet/net.safetensors": NETWORK,
        "studio/Small/README.md": b"not needed",
        "other/base/vae/vae.safetensors": b"vae",
        "other/base/unet/huge.safetensors": b"not needed",
    }
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(Hub(files)) as running:
        yield running


def _pull(running: Hub, *where: Path, card: ModelCard = CARD, **how: Any) -> tuple[hub.PulledFile, ...]:
    return hub.pull(card, where, how.pop("policy", FREE), endpoint=running.endpoint, **how)


def test_a_pull_fetches_the_files_of_the_card_and_no_other(small_hub: Hub, tmp_path: Path) -> None:
    pulled = _pull(small_hub, tmp_path, accept=True)
    assert [file.fetched for file in pulled] == [True] * 3
    assert (tmp_path / "Small/unet/net.safetensors").read_bytes() == NETWORK
    assert not list(tmp_path.rglob("*.partial*")), "nothing unfinished is left behind"
    assert (tmp_path / "base/vae/vae.safetensors").read_bytes() == b"vae"
    asked = {name for _, name, _ in small_hub.asked}
    assert asked == {
        "studio/Small/unet/config.json",
        "studio/Small/unet/net.safetensors",
        "other/base/vae/vae.safetensors",
    }
    small_hub.asked.clear()
    assert not any(file.fetched for file in _pull(small_hub, tmp_path))
    assert small_hub.asked == [], "what is there is not asked for again"


def test_the_users_token_is_told_to_the_hub_and_not_to_the_store_that_it_points_to(
    small_hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    card = replace(CARD, weights=CARD.weights[1:2])
    _pull(small_hub, tmp_path / "near", card=card, accept=True)
    assert small_hub.tokens == [("HEAD", "127.0.0.1"), ("GET", "127.0.0.1")]
    small_hub.tokens.clear()
    small_hub.store = "localhost"
    _pull(small_hub, tmp_path / "far", card=card, accept=True)
    assert small_hub.tokens == [("HEAD", "127.0.0.1")]
    assert (tmp_path / "far" / card.weights[0].path).read_bytes() == NETWORK


def test_a_file_is_on_the_disk_before_it_has_its_name(
    small_hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    flush, replace_file = os.fsync, os.replace

    def watched_flush(handle: int) -> None:
        steps.append(f"{os.fstat(handle).st_size} bytes")
        flush(handle)

    def watched_replace(source: Any, target: Any) -> None:
        steps.append(Path(target).name)
        replace_file(source, target)

    monkeypatch.setattr("mattebridge_server.models.fetch.os.fsync", watched_flush)
    monkeypatch.setattr("mattebridge_server.models.fetch.os.replace", watched_replace)
    _pull(small_hub, tmp_path, card=replace(CARD, weights=CARD.weights[1:2]), accept=True)
    assert steps[:2] == [f"{len(NETWORK)} bytes", "net.safetensors"]


def test_progress_reaches_the_whole_of_each_file(small_hub: Hub, tmp_path: Path) -> None:
    seen: list[Progress] = []
    _pull(small_hub, tmp_path, accept=True, report=seen.append)
    for weights, size in zip(CARD.weights, (len(CONFIG), len(NETWORK), 3), strict=True):
        last = [progress for progress in seen if progress.file == weights.path][-1]
        assert (last.done_bytes, last.total_bytes) == (size, size)


def test_a_pull_that_was_killed_goes_on_where_it_was_cut(small_hub: Hub, tmp_path: Path) -> None:
    large = NETWORK * 24  # the client writes blocks of 10 MiB
    small_hub.stall_after = 15 << 20
    small_hub.files = {"studio/Small/unet/net.safetensors": large}
    card = replace(CARD, weights=(Weights("Small/unet/net.safetensors", "studio/Small", STRICT, len(large)),))
    code = (
        "import sys; from pathlib import Path; from mattebridge_server.models import hub; from test_card import CARD;"
        "hub.pull(CARD, (Path(sys.argv[1]),), hub.LicencePolicy(), accept=True)"
    )
    (tmp_path / "test_card.py").write_text(
        "from mattebridge_server.models.base import *\nCARD = " + repr(card), encoding="utf-8"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "models")],
        env={**os.environ, "HF_ENDPOINT": small_hub.endpoint, "PYTHONPATH": _python_path(tmp_path)},
    )
    try:
        assert small_hub.stalled.wait(60)
        partial = _wait_for_partial(tmp_path / "models")
    finally:
        child.kill()
        child.wait(30)
    small_hub.asked.clear()
    _pull(small_hub, tmp_path / "models", card=card, accept=True)
    ranges = [asked for command, _, asked in small_hub.asked if command == "GET"]
    assert len(ranges) == 1 and ranges[0].startswith("bytes=") and ranges[0] != "bytes=0-"
    assert int(ranges[0].removeprefix("bytes=").removesuffix("-")) >= partial > 0
    assert (tmp_path / "models/Small/unet/net.safetensors").read_bytes() == large


def _python_path(*first: Path) -> str:
    return os.pathsep.join([*map(str, first), *(path for path in sys.path if path)])


def _wait_for_partial(models: Path) -> int:
    """Bytes of the unfinished file, once the child has written any (the hub has sent its half by now)."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        sizes = [path.stat().st_size for path in models.rglob("*.partial")]
        if sizes and max(sizes) > 0:
            return max(sizes)
        time.sleep(0.01)
    raise AssertionError("the client keeps no unfinished file")


def test_the_licence_is_shown_and_a_no_fetches_nothing(small_hub: Hub, tmp_path: Path) -> None:
    shown: list[licences.LicenceNotice] = []

    def no(notice: licences.LicenceNotice) -> bool:
        shown.append(notice)
        return False

    with pytest.raises(LicenceRefused, match="nothing was fetched"):
        _pull(small_hub, tmp_path, confirm=no)
    with pytest.raises(LicenceRefused):
        _pull(small_hub, tmp_path)
    assert small_hub.asked == [] and not any(tmp_path.iterdir())
    assert shown[0].licence == STRICT and shown[0].repos == ("studio/Small", "other/base")
    assert "revenue" in shown[0].terms and shown[0].page


def test_an_answer_is_recorded_next_to_the_weights_and_not_asked_again(small_hub: Hub, tmp_path: Path) -> None:
    assert not licences.is_accepted(CARD, (tmp_path,))
    _pull(small_hub, tmp_path, confirm=lambda notice: True)
    record = json.loads((tmp_path / "Small" / licences.RECORD).read_text())
    assert record["accepted"][STRICT]["how"] == "asked"
    facts = record["files"]["Small/unet/net.safetensors"]
    assert facts["sha256"] == hashlib.sha256(NETWORK).hexdigest()
    (tmp_path / "Small/unet/config.json").unlink()
    _pull(small_hub, tmp_path, confirm=lambda notice: pytest.fail("asked twice"))
    assert licences.is_accepted(CARD, (tmp_path / "other", tmp_path))


def test_where_the_site_has_a_policy_it_alone_decides(small_hub: Hub, tmp_path: Path) -> None:
    closed = LicencePolicy(("Apache-2.0",))
    with pytest.raises(LicenceRefused, match="does not allow"):
        _pull(small_hub, tmp_path, policy=closed, accept=True, confirm=lambda notice: True)
    assert small_hub.asked == []
    open_ = LicencePolicy((STRICT.lower(),))
    _pull(small_hub, tmp_path, policy=open_, confirm=lambda notice: pytest.fail("asked"))
    assert licences.read_record(tmp_path / "Small")["accepted"][STRICT]["how"] == "site"
    with pytest.raises(LicenceRefused):
        licences.check_allowed(CARD, closed)


def test_a_licence_that_asks_nothing_is_not_asked_about(small_hub: Hub, tmp_path: Path) -> None:
    weights = tuple(replace(one, licence="Apache-2.0") for one in CARD.weights)
    card = replace(CARD, licence="Apache-2.0", weights=weights)
    assert _pull(small_hub, tmp_path, card=card, confirm=lambda notice: pytest.fail("asked"))


def test_the_licence_of_the_weights_counts_as_the_models_own(small_hub: Hub, tmp_path: Path) -> None:
    """An open model may stand on weights that are not."""
    card = replace(CARD, licence="Apache-2.0")
    with pytest.raises(LicenceRefused, match=STRICT):
        _pull(small_hub, tmp_path, card=card, policy=LicencePolicy(("Apache-2.0",)))
    with pytest.raises(LicenceRefused, match="nothing was fetched"):
        _pull(small_hub, tmp_path, card=card)
    assert small_hub.asked == []


def test_a_gated_repository_says_where_to_accept(small_hub: Hub, tmp_path: Path) -> None:
    small_hub.gated.add("other/base")
    with pytest.raises(LicenceRefused, match="hf auth login"):
        _pull(small_hub, tmp_path, accept=True)


@pytest.mark.parametrize(
    ("name", "content", "pin"),
    [
        ("studio/Small/unet/net.safetensors", NETWORK[::-1], "MD5"),
        ("other/base/vae/vae.safetensors", b"VAE", "SHA-256"),
    ],
)
def test_a_file_that_is_not_the_pinned_one_is_removed(
    small_hub: Hub, tmp_path: Path, name: str, content: bytes, pin: str
) -> None:
    small_hub.files[name] = content
    with pytest.raises(InputError, match=pin):
        _pull(small_hub, tmp_path, accept=True)
    assert not (tmp_path / name.partition("/")[2]).exists()


def test_a_file_has_no_name_until_it_was_read_to_its_end(small_hub: Hub, tmp_path: Path) -> None:
    """A pull that is interrupted while it checks leaves no file that the next one, or a server, takes for checked."""

    class Interrupted(BaseException):
        pass

    def interrupt(progress: Progress) -> None:
        if progress.file.endswith(".safetensors") and list(tmp_path.rglob("net.safetensors*")):
            whole = [path for path in tmp_path.rglob("net.safetensors*") if path.suffix != ".lock"]
            if whole[0].stat().st_size == len(NETWORK):
                raise Interrupted

    small_hub.files["studio/Small/unet/net.safetensors"] = NETWORK[::-1]
    with pytest.raises(Interrupted):
        _pull(small_hub, tmp_path, accept=True, report=interrupt)
    assert not (tmp_path / "Small/unet/net.safetensors").exists()
    with pytest.raises(InputError, match="MD5"):
        _pull(small_hub, tmp_path, accept=True)
    assert not list(tmp_path.rglob("net.safetensors*.partial")), "what is wrong is not gone on with"


def test_what_was_fetched_before_a_pull_failed_is_on_record(small_hub: Hub, tmp_path: Path) -> None:
    small_hub.gated.add("other/base")
    with pytest.raises(LicenceRefused, match="hf auth login"):
        _pull(small_hub, tmp_path, confirm=lambda notice: True)
    small_hub.gated.clear()
    _pull(small_hub, tmp_path, confirm=lambda notice: pytest.fail("asked twice"))
    assert [check.basis for check in hub.verify(CARD, (tmp_path,))] == ["record", "md5", "sha256"]
    accepted = licences.read_record(tmp_path / "Small")["accepted"]
    assert accepted[STRICT]["how"] == "asked", "the first acceptance stands"


def test_files_and_hubs_that_are_not_there_are_told_apart(small_hub: Hub, tmp_path: Path) -> None:
    del small_hub.files["other/base/vae/vae.safetensors"]
    with pytest.raises(InputError, match=r"does not have vae/vae\.safetensors of other/base"):
        _pull(small_hub, tmp_path, accept=True)
    small_hub.endpoint = "http://127.0.0.1:9"
    with pytest.raises(ModelNotInstalled, match="could not be fetched"):
        _pull(small_hub, tmp_path / "new", accept=True)


def test_a_disk_without_room_is_told_before_anything_is_fetched(small_hub: Hub, tmp_path: Path) -> None:
    huge = replace(CARD, weights=(replace(CARD.weights[0], size_bytes=1 << 60),))
    with pytest.raises(OutputFailed, match="are free"):
        _pull(small_hub, tmp_path, card=huge, accept=True)
    assert small_hub.asked == []


def test_weights_that_only_the_user_has_cannot_be_pulled(small_hub: Hub, tmp_path: Path) -> None:
    own = replace(CARD, licence="as supplied", weights=(Weights("own/model.safetensors", "", "as supplied"),))
    with pytest.raises(ModelNotInstalled, match="your own file"):
        _pull(small_hub, tmp_path, card=own, accept=True)


def test_verify_reads_every_byte_and_names_what_is_wrong(small_hub: Hub, tmp_path: Path) -> None:
    _pull(small_hub, tmp_path, accept=True)
    assert [(check.ok, check.basis) for check in hub.verify(CARD, (tmp_path,))] == [
        (True, "record"),
        (True, "md5"),
        (True, "sha256"),
    ]
    (tmp_path / "Small/unet/config.json").write_bytes(CONFIG.replace(b"X", b"Y"))
    (tmp_path / "Small/unet/net.safetensors").write_bytes(NETWORK[:-1] + b"!")
    (tmp_path / "base/vae/vae.safetensors").unlink()
    problems = [check.problem for check in hub.verify(CARD, (tmp_path,))]
    assert problems[0] == "has changed since it was pulled"
    assert problems[1].startswith("has MD5") and problems[2] == "is missing"


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that opens and cannot be read")
def test_verify_goes_on_after_a_file_that_cannot_be_read(small_hub: Hub, tmp_path: Path) -> None:
    _pull(small_hub, tmp_path, accept=True)
    unreadable = tmp_path / "Small/unet/net.safetensors"
    unreadable.unlink()
    unreadable.symlink_to("/proc/self/mem")
    first, second, third = hub.verify(CARD, (tmp_path,))
    assert first.ok and third.ok
    assert not second.ok and second.problem.startswith("cannot be read:")


def test_a_folder_copied_by_hand_is_installed_and_verified(tmp_path: Path) -> None:
    for weights, content in zip(CARD.weights, (CONFIG, NETWORK, b"vae"), strict=True):
        path = tmp_path / weights.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert folders.is_installed(CARD, (tmp_path / "empty", tmp_path))
    assert [check.basis for check in hub.verify(CARD, (tmp_path,))] == ["none", "md5", "sha256"]
    assert not licences.is_accepted(CARD, (tmp_path,))
    for damaged in ("", "[]", '{"accepted": '):
        (tmp_path / "Small" / licences.RECORD).write_text(damaged, encoding="utf-8")
        assert not any(file.fetched for file in hub.pull(CARD, (tmp_path,), FREE, accept=True))
        assert licences.is_accepted(CARD, (tmp_path,)), "a pull that fetches nothing settles the licence"
        (tmp_path / "base" / licences.RECORD).unlink()


def test_the_list_says_what_each_model_needs_and_looks_into_every_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def listed(*flags: str) -> dict[str, Any]:
        assert cli.main(["models", "--server", "local", "--json", *flags]) == 0
        return {model["name"]: model for model in json.loads(capsys.readouterr().out)}

    nothing = listed()
    assert nothing["edge"]["installed"] and not nothing["videomama"]["installed"]
    assert nothing["videomama"]["weights_bytes"] > 6_000_000_000 and "Stability" in nothing["videomama"]["licence"]
    assert nothing["videomama"]["presets"][0]["peak_bytes"] < 11 << 30
    assert all(nothing[name]["weights_bytes"] > 190 << 20 for name in ("sam2", "lama"))
    for name in ("flag", "environment", "site"):
        (tmp_path / name / "lama").mkdir(parents=True)
        (tmp_path / name / "lama/big-lama.pt").touch()
    site = tmp_path / "site.toml"
    site.write_text(f'[models]\nfolders = ["{tmp_path / "site"}"]\n', encoding="utf-8")
    assert listed("--models-dir", str(tmp_path / "flag"))["lama"]["installed"]
    assert listed("--site", str(site))["lama"]["installed"]
    monkeypatch.setenv(folders.ENVIRONMENT_VARIABLE, str(tmp_path / "environment"))
    assert listed()["lama"]["installed"]
    assert cli.main(["models", "list", "nothing", "--server", "local"]) == 3
    assert "no model is called 'nothing'" in capsys.readouterr().err


def test_folders_are_searched_from_the_command_line_to_the_users_own(tmp_path: Path) -> None:
    environment = {"MATTEBRIDGE_MODELS": os.pathsep.join(["/env/a", "/env/b"])}
    found = folders.model_folders(["/flag"], environment, ["/site", "/env/b"], home=tmp_path)
    assert found[:4] == tuple(map(Path, ("/flag", "/env/a", "/env/b", "/site")))
    assert found[4].is_relative_to(tmp_path) and len(found) == 5


def test_asking_takes_only_a_yes_for_a_yes(capsys: pytest.CaptureFixture[str]) -> None:
    notice = licences.notice(CARD)
    answers = {"y\n": True, "YES\n": True, "\n": False, "n\n": False, "": False}
    assert {text: hub_cli.ask(notice, io.StringIO(text)) for text in answers} == answers
    assert STRICT in capsys.readouterr().err


def test_the_command_pulls_verifies_and_tells_paths(
    small_hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site.toml"
    site.write_text('[licences]\nallow = ["Apache-2.0"]\n', encoding="utf-8")

    def command(action: str, *names: str, at: str = "") -> int:
        args = argparse.Namespace(
            action=action, names=names, models_dir=[str(tmp_path / "m")], site=at, json=True, accept_licence=False
        )
        return hub_cli.run(args)

    with pytest.raises(LicenceRefused, match="does not allow"):
        command("pull", "videomama", at=str(site))
    assert command("path", "edge") == 0
    assert capsys.readouterr() == ("", "edge needs no files\n")
    assert command("path", "lama") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["installed"] is False and told["path"] == str(tmp_path / "m" / "lama" / "big-lama.pt")
    lama = tmp_path / "m" / "lama" / "big-lama.pt"
    lama.parent.mkdir(parents=True)
    lama.write_bytes(b"another program")
    assert command("verify", "lama") == 3
    assert json.loads(capsys.readouterr().out)["ok"] is False
    lama.unlink()
    assert command("verify") == 0 and "nothing to verify" in capsys.readouterr().err
    part = tmp_path / "m" / VIDEOMAMA.weights[1].path
    part.parent.mkdir(parents=True)
    part.write_bytes(b"half a model")
    assert command("verify") == 3, "a model of which only a part is there is not passed over"
    assert VIDEOMAMA.weights[0].path in capsys.readouterr().out


def test_two_pulls_at_once_fetch_a_file_once(small_hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_file, second = os.replace, ThreadPoolExecutor(2)

    def slowly(source: Any, target: Any) -> None:
        if str(source).endswith(".partial"):
            time.sleep(0.2)  # the other pull is let in by whatever is done too early
        replace_file(source, target)

    monkeypatch.setattr("mattebridge_server.models.fetch.os.replace", slowly)
    card = replace(CARD, weights=CARD.weights[1:2])
    both = [second.submit(_pull, small_hub, tmp_path, card=card, accept=True) for _ in range(2)]
    assert all(len(one.result(60)) == 1 for one in both)
    assert (tmp_path / card.weights[0].path).read_bytes() == NETWORK
    assert [command for command, _, _ in small_hub.asked].count("GET") == 1


def test_room_is_needed_only_for_what_is_still_to_come(
    small_hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = replace(CARD, weights=CARD.weights[1:2])
    name = hashlib.sha256(hashlib.sha256(NETWORK).hexdigest().encode()).hexdigest()[:16]
    part = tmp_path / f"{card.weights[0].path}.{name}.partial"
    part.parent.mkdir(parents=True)
    part.write_bytes(NETWORK[:-100])
    free = [99]
    real = shutil.disk_usage
    monkeypatch.setattr("shutil.disk_usage", lambda path: real(path)._replace(free=free[0]))
    with pytest.raises(OutputFailed, match="are free"):
        _pull(small_hub, tmp_path, card=card, accept=True)
    free[0] = 100
    assert _pull(small_hub, tmp_path, card=card, accept=True)[0].fetched


def test_a_folder_in_the_place_of_a_file_is_not_called_there(small_hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "Small/unet/net.safetensors").mkdir(parents=True)
    with pytest.raises(ModelNotInstalled, match="Is a directory"):
        _pull(small_hub, tmp_path, accept=True)


def test_a_model_that_another_folder_has_needs_nothing_of_the_first(small_hub: Hub, tmp_path: Path) -> None:
    _pull(small_hub, tmp_path / "has", accept=True)
    (tmp_path / "taken").touch()
    assert len(_pull(small_hub, tmp_path / "taken", tmp_path / "has")) == 3
    with pytest.raises(OutputFailed) as refused:
        _pull(small_hub, tmp_path / "taken", accept=True)
    assert "then pull again" in refused.value.remedy


def test_a_file_that_was_copied_in_part_is_not_called_there(small_hub: Hub, tmp_path: Path) -> None:
    path = tmp_path / "Small/unet/net.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(NETWORK[:1000])
    with pytest.raises(InputError, match="1000 bytes instead of") as refused:
        _pull(small_hub, tmp_path, accept=True)
    assert refused.value.file == str(path) and path.exists(), "a user's file is the user's to remove"
