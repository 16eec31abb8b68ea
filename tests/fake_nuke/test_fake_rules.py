"""The fake breaks where Nuke breaks: threads, re-entrancy, deletion, terminal mode, misspellings."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakenuke import FakeNuke, Picture, read_exr, stubs, write_exr
from fakenuke.guard import Guarded

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def fake() -> Iterator[FakeNuke]:
    with FakeNuke(gui=True) as running:
        yield running


@pytest.fixture
def terminal() -> Iterator[FakeNuke]:
    with FakeNuke(gui=False) as running:
        yield running


def in_thread(call: Callable[[], Any]) -> BaseException:
    """What ``call`` raises in another thread."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as reason:
            raised.append(reason)

    worker = threading.Thread(target=run)
    worker.start()
    worker.join()
    return raised[0]


def test_a_node_touched_from_another_thread_raises(fake: FakeNuke) -> None:
    node = fake.module.nodes.Grade()
    for call in (node.name, lambda: node["multiply"], lambda: node._knobs["multiply"].setValue(2)):
        assert "another thread" in str(in_thread(call))
    assert "another thread" in str(in_thread(lambda: fake.module.nodes.Dot()))


def test_sending_to_the_main_thread_from_the_main_thread_raises(fake: FakeNuke) -> None:
    with pytest.raises(RuntimeError, match="would hang"):
        fake.module.executeInMainThread(lambda: None)


def test_a_worker_reaches_the_main_thread_through_the_event_loop(fake: FakeNuke) -> None:
    node, seen = fake.module.nodes.Grade(), []
    worker = threading.Thread(target=lambda: fake.module.executeInMainThread(lambda: seen.append(node.name())))
    worker.start()
    worker.join()
    assert seen == []
    fake.session.pump()
    assert seen == ["Grade1"]


def test_an_exception_sent_to_the_main_thread_is_printed_and_lost(fake: FakeNuke) -> None:
    worker = threading.Thread(target=lambda: fake.module.executeInMainThread(lambda: 1 / 0))
    worker.start()
    worker.join()
    fake.session.pump()
    assert isinstance(fake.session.script_errors[0], ZeroDivisionError)


def test_a_terminal_has_no_event_loop_and_no_dialogs(terminal: FakeNuke) -> None:
    nuke: Any = terminal.module
    assert "non-gui" in str(in_thread(lambda: nuke.executeInMainThread(lambda: None)))
    calls: list[Callable[[], Any]] = [lambda: nuke.message("x"), lambda: nuke.menu("Nodes")]
    for call in calls:
        with pytest.raises(RuntimeError, match="not in GUI mode"):
            call()
    with pytest.raises(RuntimeError, match="ProgressTask"):
        nuke.ProgressTask("x")


def test_a_deleted_node_raises_value_error(fake: FakeNuke) -> None:
    node = fake.module.nodes.Grade()
    fake.module.delete(node)
    with pytest.raises(ValueError, match="not attached"):
        node.name()


def test_nodes_of_a_script_are_gone_when_another_is_opened(fake: FakeNuke, tmp_path: Path) -> None:
    node = fake.module.nodes.Grade()
    fake.module.scriptSaveAs(f"{tmp_path.as_posix()}/comp.nk")
    fake.module.scriptOpen(f"{tmp_path.as_posix()}/comp.nk")
    with pytest.raises(ValueError, match="not attached"):
        node.name()


def test_what_a_callback_raises_ends_the_render_with_an_error_of_nuke_s_own(fake: FakeNuke, tmp_path: Path) -> None:
    nuke: Any = fake.module
    write = nuke.nodes.Write(inputs=[nuke.nodes.Constant()], file=f"{tmp_path.as_posix()}/a.%04d.exr", channels="rgba")
    frames: list[int] = []

    def after() -> None:
        frames.append(nuke.frame())
        if len(frames) == 2:
            raise ValueError("enough")

    nuke.addAfterFrameRender(after, nodeClass="Write")
    with pytest.raises(RuntimeError, match="Write1: enough"):
        nuke.execute(write, 1, 4, 1)
    assert (frames, sorted(path.name for path in tmp_path.iterdir())) == ([1, 2], ["a.0001.exr", "a.0002.exr"])
    nuke.removeAfterFrameRender(after, nodeClass="Write")
    nuke.execute(write, 3, 3, 1)
    assert frames == [1, 2]


def test_a_full_disk_is_what_nuke_says_it_is(fake: FakeNuke, tmp_path: Path) -> None:
    nuke: Any = fake.module
    (tmp_path / "file").touch()
    write = nuke.nodes.Write(inputs=[nuke.nodes.Constant()], file=f"{tmp_path.as_posix()}/file/a.%04d.exr")
    with pytest.raises(RuntimeError, match=r"Write1: .*a\.0001\.exr"):
        nuke.execute(write, 1, 1, 1)


def test_names_that_nuke_does_not_have_are_told_from_holes_in_the_fake(fake: FakeNuke) -> None:
    with pytest.raises(AttributeError, match="not in types-nuke"):
        fake.module.executeDeferred  # noqa: B018
    with pytest.raises(AttributeError, match="not in the fake"):
        fake.module.scriptClear  # noqa: B018


def test_the_fake_may_not_invent_attributes() -> None:
    with pytest.raises(stubs.NotInStubs, match="paint"):

        class Invented(Guarded):
            STUB = "Node"

            def paint(self) -> None: ...

    with pytest.raises(stubs.NotInStubs, match="executeDeferred"):
        stubs.require_names({"executeDeferred", "execute"})


def test_the_fake_is_no_larger_than_what_is_called() -> None:
    """A name of Nuke's that neither the plug-in nor a test of it calls is not imitated."""
    called = "".join(
        path.read_text("utf-8")
        for folder in (ROOT / "nuke_plugin", ROOT / "tests" / "mattebridge_nuke", ROOT / "tests" / "fake_nuke")
        for path in folder.rglob("*.*")
        if path.suffix in (".py", ".gizmo")
    )
    classes = [cls for cls in subclasses(Guarded) if cls.STUB and cls.__module__.startswith("fakenuke")]
    names = {name for cls in classes for name in vars(cls) if not name.startswith("_") and name != "STUB"}
    with FakeNuke() as running:
        names |= {name for name in vars(running.module) if name[0] != "_" and not name.endswith("_Knob")}
    assert {name for name in names if not re.search(rf"\.{name}\b", called)} == set()


def subclasses(cls: type[Guarded]) -> set[type[Guarded]]:
    direct = set(cls.__subclasses__())
    return direct.union(*map(subclasses, direct))


def test_undo_gathers_a_named_step_and_takes_it_back(fake: FakeNuke) -> None:
    nuke, node = fake.module, fake.module.nodes.Grade()
    before = len(fake.session.undo.steps)
    nuke.Undo.begin("brighter")
    node["multiply"].setValue(2)
    node["label"].setValue("x")
    nuke.Undo.end()
    nuke.Undo.disable()
    node["label"].setValue("unseen")
    nuke.Undo.enable()
    assert [step.name for step in fake.session.undo.steps[before:]] == ["brighter"]
    fake.session.undo.undo()
    assert node["multiply"].value() == 1


def frame(value: float) -> Picture:
    window = (0, 0, 8, 6)
    plane = np.full((6, 8), value, np.float32)
    return Picture(dict.fromkeys(("rgba.red", "rgba.green", "rgba.blue"), plane), (-1, 0, 7, 6), window, 2.0)


def test_a_write_makes_real_exr_and_refuses_to_run_in_a_callback(fake: FakeNuke, tmp_path: Path) -> None:
    for number in (1, 2):
        write_exr(tmp_path / f"in.{number:04d}.exr", frame(number / 4), ["rgba.red", "rgba.green", "rgba.blue"])
    nuke = fake.module
    read = nuke.nodes.Read(file=f"{tmp_path.as_posix()}/in.%04d.exr", first=1, last=2, raw=True)
    grade = nuke.nodes.Grade(inputs=[read], multiply=2)
    write = nuke.nodes.Write(inputs=[grade], file=f"{tmp_path.as_posix()}/out.####.exr")
    nuke.execute(write, 1, 2)
    result = read_exr(tmp_path / "out.0002.exr")
    assert float(result.plane("rgba.green")[0, 0]) == 1.0
    assert (result.data, result.display, result.pixel_aspect) == ((-1, 0, 7, 6), (0, 0, 8, 6), 2.0)

    reached: list[str] = []

    def render_again() -> None:
        try:
            nuke.execute(write, 1, 1)
        except RuntimeError as reason:
            reached.append(str(reason))

    nuke.addKnobChanged(render_again, nodeClass="Grade")
    grade["multiply"].setValue(3)
    assert reached == ["I'm already executing something else"]


def test_proxy_mode_halves_what_a_read_gives(fake: FakeNuke, tmp_path: Path) -> None:
    write_exr(tmp_path / "in.0001.exr", frame(0.5), ["rgba.red"])
    read = fake.module.nodes.Read(file=f"{tmp_path.as_posix()}/in.%04d.exr", raw=True)
    fake.module.root().setProxy(True)
    assert fake.session.picture_of(read, 1).plane("rgba.red").shape == (3, 4)


def test_a_script_is_saved_as_changed_knobs_and_opens_again(fake: FakeNuke, tmp_path: Path) -> None:
    nuke = fake.module
    read = nuke.nodes.Read(file="a b/[value first].exr", first=3)
    grade = nuke.nodes.Grade(inputs=[read], multiply=2)
    grade["multiply"].setExpression("frame*2")
    nuke.scriptSaveAs(str(tmp_path / "s.nk"))
    assert "localizationPolicy" not in (tmp_path / "s.nk").read_text()
    nuke.scriptOpen(str(tmp_path / "s.nk"))
    again = nuke.toNode("Grade1")
    assert again.input(0)["file"].value() == "a b/[value first].exr"
    assert again.input(0)["file"].getEvaluatedValue() == "a b/3.exr"
    assert fake.session.context.frame == 1
    assert again["multiply"].value() == 2.0
