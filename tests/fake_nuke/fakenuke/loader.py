"""From Tcl to nodes and back: .gizmo definitions, .nk scripts, the node stack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Optional

from . import tcl
from .knobs import DO_NOT_WRITE, Knob, Link_Knob, PyScript_Knob, PythonKnob, String_Knob, Tab_Knob
from .node import Gizmo, Group, Node
from .number_knobs import Array_Knob, Enumeration_Knob
from .operators import GROUPS, INPUTS, KNOBS, PLAIN
from .user_knobs import USER_KNOBS, from_user_knob, user_knob_line

if TYPE_CHECKING:
    from .session import Session

CALLBACK_KNOBS = ("knobChanged", "onCreate", "autolabel", "onDestroy")


def create(session: Session, cls: str, group: Group) -> Node:
    """A node with its class's knobs, named and placed in ``group``. Raises `RuntimeError` for an unknown class."""
    file = None if cls in KNOBS or cls in PLAIN or cls in GROUPS else _gizmo_file(session, cls)
    name = group._free_name(cls)
    node: Node
    if file is not None:
        node = Gizmo(session, cls, name, group, file)
    elif cls in GROUPS:
        node = Group(session, cls, name, group)
    else:
        node = Node(session, cls, name, group)
    _class_knobs(node)
    group._children.append(node)
    session.undo.record(f"create {name}", lambda: _remove(node))
    if file is not None:
        assert isinstance(node, Gizmo)
        _fill_gizmo(node, file)
    return node


def _gizmo_file(session: Session, cls: str) -> Path:
    for folder in session.plugin_folders:
        if (folder / f"{cls}.gizmo").exists():
            return folder / f"{cls}.gizmo"
    raise RuntimeError(f"{cls}: Unknown command")


def _remove(node: Node) -> None:
    node._alive = False
    if node._parent is not None and node in node._parent._children:
        node._parent._children.remove(node)


def _class_knobs(node: Node) -> None:
    table = {**KNOBS["*"], **KNOBS.get(node._class, {})}
    for name, (number, value) in table.items():
        knob = USER_KNOBS[number](name)
        if isinstance(knob, Enumeration_Knob):
            knob._items = [tcl.unescape(word) for word in tcl.parse_list(value)]
        elif isinstance(knob, String_Knob):
            knob._text = knob._default = value
        elif isinstance(knob, Array_Knob):
            knob._load(tcl.Word(value, "braced", 0))
            knob._default = list(knob._cells)
        knob._node = node
        node._knobs[name] = knob
    for name in ("help", *CALLBACK_KNOBS):
        script: Knob = PythonKnob(name) if name in CALLBACK_KNOBS else String_Knob(name)
        script._node = node
        node._knobs[name] = script
    node._max_inputs = INPUTS.get(node._class, 1)


def _fill_gizmo(node: Gizmo, file: Path) -> None:
    """Run the .gizmo: the first block is the node's own knobs, the rest its inside."""
    session = node._session
    session.undo.disable()
    session.defining = True
    try:
        commands = tcl.parse_script(file.read_text("utf-8"))
        heads = [command for command in commands if command[0].text == "Gizmo"]
        if len(heads) != 1:
            raise tcl.TclError(f"{file.name}: {len(heads)} Gizmo blocks")
        links = _apply_block(node, heads[0][1].text, definition=True)
        inner = commands[commands.index(heads[0]) + 1 :]
        build(session, inner, node)
        for link, word in links:
            link._load(word)
        for knob in node._knobs.values():
            _mark_default(knob)
        node._max_inputs = sum(child._class == "Input" for child in node._children)
    finally:
        session.defining = False
        session.undo.enable()


def _mark_default(knob: Knob) -> None:
    target = knob._target() if isinstance(knob, Link_Knob) else knob
    if isinstance(target, String_Knob):
        target._default = target._text
    elif isinstance(target, Array_Knob):
        target._default = list(target._cells)


def _apply_block(node: Node, body: str, definition: bool) -> list[tuple[Link_Knob, tcl.Word]]:
    """Knob lines of a node. Values of link knobs are given back: their targets may not exist yet."""
    links: list[tuple[Link_Knob, tcl.Word]] = []
    for words in tcl.parse_script(body):
        name = words[0].text
        if name == "addUserKnob":
            knob = from_user_knob(tcl.parse_list(words[1].text))
            if knob._name in node._knobs:
                raise tcl.TclError(f"line {words[0].line}: a second knob {knob._name}")
            knob._node, knob._user = node, not definition
            node._knobs[knob._name] = knob
        elif name == "inputs":
            continue
        elif name in ("xpos", "ypos"):
            x, y = node._xy
            node._xy = (int(words[1].text), y) if name == "xpos" else (x, int(words[1].text))
        elif name not in node._knobs:
            raise tcl.TclError(f"line {words[0].line}: {node._class} has no knob {name} in the fake")
        elif name == "name":
            node._name = tcl.unescape(words[1])
        elif isinstance(node._knobs[name], Link_Knob):
            links.append((node._knobs[name], words[1]))  # type: ignore[arg-type]
        else:
            node._knobs[name]._load(words[1])
    return links


def build(session: Session, commands: list[list[tcl.Word]], group: Group) -> None:
    """Run node commands with the stack machine; raises `TclError` on underflow or an unset name."""
    stack: list[Optional[Node]] = []
    names: dict[str, Optional[Node]] = {}
    for words in commands:
        head = words[0].text
        if head in ("end_group", "version"):
            continue
        if head == "set":
            if words[2].text != "[stack 0]":
                raise tcl.TclError(f"line {words[2].line}: only [stack 0] can be named")
            names[words[1].text] = stack[-1]
        elif head == "push":
            stack.append(_pushed(words[1], names))
        elif head == "Root":
            _apply_block(session.root, words[1].text, definition=False)
        else:
            stack.append(_node_command(session, head, words[1], group, stack))


def _pushed(word: tcl.Word, names: dict[str, Optional[Node]]) -> Optional[Node]:
    if word.text == "0":
        return None
    name = word.text.lstrip("$")
    if name not in names:
        raise tcl.TclError(f'line {word.line}: can\'t read "{name}": no such variable')
    return names[name]


def _node_command(session: Session, cls: str, body: tcl.Word, group: Group, stack: list[Optional[Node]]) -> Node:
    node = create(session, cls, group)
    wanted = 1
    for words in tcl.parse_script(body.text):
        if words[0].text == "inputs":
            wanted = sum(int(part) for part in words[1].text.split("+"))
    if len(stack) < wanted:
        raise tcl.TclError(f"line {body.line}: {cls} takes {wanted} inputs, the stack holds {len(stack)}")
    node._inputs = [stack.pop() for _ in range(wanted)]
    for link, word in _apply_block(node, body.text, definition=False):
        link._load(word)
    return node


# -- saving ----------------------------------------------------------------------------------------------------------


def script_text(session: Session) -> str:
    """The script as Nuke saves it: changed knobs only, gizmos without their inside, wires by names on the stack."""
    lines = ["version 15.1 v3", _block("Root", _knob_lines(session.root))]
    written: dict[int, str] = {}
    for node in _in_order(session.root._children):
        for above in reversed(node._inputs):
            lines.append("push 0" if above is None else f"push ${written[id(above)]}")
        name = f"N{len(written):08x}"
        body = [f"inputs {len(node._inputs)}", *_knob_lines(node), f"name {node._name}", f"xpos {node._xy[0]}"]
        lines += [_block(node._class, [*body, f"ypos {node._xy[1]}"]), f"set {name} [stack 0]"]
        written[id(node)] = name
    return "\n".join(lines) + "\n"


def _in_order(nodes: list[Node]) -> list[Node]:
    """Sources first."""
    done: list[Node] = []

    def visit(node: Node) -> None:
        if node in done:
            return
        for above in node._inputs:
            if above is not None:
                visit(above)
        done.append(node)

    for node in nodes:
        visit(node)
    return done


def _block(cls: str, lines: list[str]) -> str:
    return "\n".join([f"{cls} {{", *(f" {line}" for line in lines), "}"])


def _knob_lines(node: Node) -> list[str]:
    lines: list[str] = []
    for name, knob in node._knobs.items():
        if knob._user and node._class != "Root":
            lines.append(user_knob_line(knob))
        silent = isinstance(knob, (Tab_Knob, PyScript_Knob)) or (name == "name" and node._class != "Root")
        if not silent and not knob._flags & DO_NOT_WRITE and not (knob._is_default() and not knob._user):
            lines.append(f"{name} {knob.toScript()}")
    return lines


def load_script(session: Session, text: str) -> None:
    """Add the nodes of a script; then their onCreate callbacks run, as Nuke does on loading."""
    before = set(map(id, session.root._children))
    session.undo.disable()
    try:
        build(session, tcl.parse_script(text), session.root)
    finally:
        session.undo.enable()
    for node in [child for child in session.root._children if id(child) not in before]:
        created(session, node)


def created(session: Session, node: Node) -> None:
    """Run the node's own onCreate."""
    own = node._knobs["onCreate"]
    assert isinstance(own, String_Knob)
    session.current.append((node, None))
    try:
        if own._text:
            session.run_script(node, own._text)
    finally:
        session.current.pop()
