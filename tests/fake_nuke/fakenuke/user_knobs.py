"""`addUserKnob`: from a line of a .gizmo or .nk to a knob, and back."""

from __future__ import annotations

from . import tcl
from .knobs import FLAGS, EvalString_Knob, File_Knob, Knob, Link_Knob, PyScript_Knob, String_Knob, Tab_Knob, Text_Knob
from .number_knobs import Array_Knob, BBox_Knob, Boolean_Knob, Double_Knob, Enumeration_Knob, Int_Knob, XY_Knob

USER_KNOBS: dict[int, type[Knob]] = {
    1: EvalString_Knob,
    2: File_Knob,
    3: Int_Knob,
    4: Enumeration_Knob,
    6: Boolean_Knob,
    7: Double_Knob,
    12: XY_Knob,
    15: BBox_Knob,
    20: Tab_Knob,
    22: PyScript_Knob,
    26: Text_Knob,
    41: Link_Knob,
}


def from_user_knob(words: list[tcl.Word]) -> Knob:
    """The knob that an `addUserKnob {...}` line describes. Raises `TclError` for what Nuke would not know."""
    number, name = int(words[0].text), tcl.unescape(words[1])
    cls = USER_KNOBS.get(number)
    if cls is None:
        raise tcl.TclError(f"knob {name}: id {number} is not in the fake")
    knob, at = cls(name), 2
    knob._user, knob._id = True, number
    while at < len(words):
        key = words[at].text
        if key[0] in "+-" and key[1:] in FLAGS:
            knob._flags = knob._flags | FLAGS[key[1:]] if key[0] == "+" else knob._flags & ~FLAGS[key[1:]]
            knob._same_line = key == "-STARTLINE" or knob._same_line
            at += 1
            continue
        if at + 1 >= len(words):
            raise tcl.TclError(f"knob {name}: {key} has no value")
        _set_attribute(knob, key, tcl.unescape(words[at + 1]))
        at += 2
    return knob


def _set_attribute(knob: Knob, key: str, value: str) -> None:
    if key == "l":
        knob._label = value
    elif key == "t":
        knob._tooltip = value
    elif key == "M" and isinstance(knob, Enumeration_Knob):
        knob._items = [item for item in map(tcl.unescape, tcl.parse_list(value)) if item]
    elif key == "R" and isinstance(knob, Array_Knob):
        low, high = value.split()
        knob._range = (float(low), float(high))
    elif key == "n" and isinstance(knob, Tab_Knob):
        knob._n = int(value)
    elif key == "T" and isinstance(knob, Link_Knob):
        knob._link = value
    elif key == "T" and isinstance(knob, String_Knob):
        knob._text = knob._default = value
    else:
        raise tcl.TclError(f"knob {knob._name}: attribute {key!r} does not fit a {type(knob).__name__}")


def user_knob_line(knob: Knob) -> str:
    """`addUserKnob` of a knob added by Python, as Nuke saves it with the script."""
    number = next((number for number, cls in USER_KNOBS.items() if type(knob) is cls), 1)
    parts = [str(number), knob._name, "l", tcl.quote(knob._label)]
    if knob._tooltip:
        parts += ["t", tcl.quote(knob._tooltip)]
    if isinstance(knob, Enumeration_Knob):
        parts += ["M", "{" + " ".join(tcl.quote(item) for item in knob._items) + "}"]
    elif isinstance(knob, Array_Knob):
        parts += ["R", f"{{{knob._range[0]:g} {knob._range[1]:g}}}"]
    parts += ["+" + name for name, flag in FLAGS.items() if knob._flags & flag]
    return "addUserKnob {" + " ".join(parts) + "}"
