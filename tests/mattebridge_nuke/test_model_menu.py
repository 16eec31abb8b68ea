"""Models and their parameters come from the server; what was chosen is kept with the script, not on the machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakenuke import FakeNuke
from fakenuke.artist import Artist
from fakenuke.local_server import LocalServer
from fakenuke.panel import tabs_of
from fakenuke.shots import Shot


@pytest.fixture
def artist(fake: FakeNuke, server: LocalServer, tmp_path: Path) -> Artist:
    artist = Artist(fake, Shot(tmp_path, 1001, 1002).script(fake))
    artist.choose_model("gated")
    return artist


def test_the_menu_holds_what_the_server_has_installed(artist: Artist) -> None:
    items = artist.node["model"].values()
    assert {"gated", "identity"} <= set(items)
    assert "videomama" not in items
    assert "not installed: " in artist.value("status")


def test_parameters_appear_with_type_range_default_and_hint(artist: Artist) -> None:
    gain, mode, sure = (artist.node[f"p_gated__{name}"] for name in ("gain", "mode", "sure"))
    assert (gain.Class(), gain.value(), gain.min(), gain.max()) == ("Double_Knob", 1.0, 0.0, 1.0)
    assert "Multiplies the matte" in gain.tooltip()
    assert (mode.Class(), mode.values(), mode.value()) == ("Enumeration_Knob", ["mean", "centre"], "mean")
    assert (sure.Class(), sure.value()) == ("Boolean_Knob", False)
    lines = [[knob.name() for knob in line] for tab in tabs_of(artist.node) for line in tab.lines]
    assert ["p_gated__sure"] in lines, "a check box after a slider would lie outside the panel"
    assert gain.visible()
    artist.set(model="identity")
    assert not gain.visible()
    artist.set(model="gated")
    assert gain.visible()


def test_refreshing_again_adds_nothing_and_keeps_values(artist: Artist) -> None:
    artist.set(p_gated__gain=0.25)
    names = list(artist.node.knobs())
    artist.choose_model("gated")
    assert list(artist.node.knobs()) == names
    assert artist.value("p_gated__gain") == 0.25


def test_model_and_parameters_are_saved_and_found_again_without_a_server(artist: Artist, tmp_path: Path) -> None:
    artist.set(p_gated__gain=0.25, p_gated__mode="centre")
    target = tmp_path / "saved.nk"
    artist.fake.module.scriptSaveAs(target.as_posix())
    with FakeNuke(gui=True, plugin_folders=artist.fake.session.plugin_folders) as later:
        later.module.scriptOpen(target.as_posix())
        node = later.module.toNode("MatteBridge1")
        assert node["model"].value() == "gated", "onCreate shows what the saved text says"
        from mattebridge_nuke import model_parameters

        assert model_parameters.values(node) == {"gain": 0.25, "mode": "centre", "gate": "", "sure": False}


def test_a_script_that_is_opened_again_wants_no_other_version(artist: Artist, tmp_path: Path) -> None:
    """Defaults are known without a server, so that parameters which stand at them say nothing, on a farm too."""
    import mattebridge_nuke

    artist.set(p_gated__gain=0.5, folder=tmp_path.as_posix())
    assert artist.press("matte_range").error is None
    script = f"{tmp_path.as_posix()}/later.nk"
    artist.fake.module.scriptSaveAs(script)
    with FakeNuke(gui=False, plugin_folders=artist.fake.session.plugin_folders):
        (job,) = mattebridge_nuke.jobs_of(script)
        assert (job.version, job.complete) == ("v001", True)


def test_names_of_models_cannot_claim_each_other_s_parameters(fake: FakeNuke) -> None:
    from mattebridge_nuke import model_parameters

    assert not model_parameters.knob_of("sam2-matte", "band").startswith(model_parameters.knob_of("sam2", ""))


def test_no_status_of_a_refresh_enters_the_undo_list(artist: Artist) -> None:
    steps = artist.undo_names()
    artist.fake.press(artist.node, "refresh")
    artist.until(lambda: "models" in artist.value("status"))
    assert artist.undo_names() == steps


def test_a_change_of_range_only_enables_the_text(artist: Artist) -> None:
    assert not artist.node["frames"].enabled()
    artist.set(range="custom")
    assert artist.node["frames"].enabled()


def test_troubleshoot_tests_every_link_and_says_what_fails(artist: Artist, monkeypatch: pytest.MonkeyPatch) -> None:
    artist.fake.press(artist.node, "troubleshoot")
    artist.until(lambda: bool(artist.fake.session.messages))
    report = artist.fake.session.messages[-1]
    for link in ("Nuke and Python", "this node", "pyzmq and msgpack", "server", "models", "check"):
        assert f"[ok] {link}" in report
    assert "FAILED" not in report
    artist.fake.session.messages.clear()
    monkeypatch.setenv("MATTEBRIDGE_CONNECT_TIMEOUT", "0.3")
    artist.set(server="ipc:///nowhere.sock")
    artist.fake.press(artist.node, "troubleshoot")
    artist.until(lambda: bool(artist.fake.session.messages))
    assert "[FAILED] server" in artist.fake.session.messages[-1]
