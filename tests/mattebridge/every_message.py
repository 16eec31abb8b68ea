"""One value of every message, made from the field table: the same for fixtures, round trips and other interpreters."""

import dataclasses
import typing

from mattebridge import messages as m


def value_for(hint, name="x", depth=0):
    """A plain, recognisable value of an annotation; ``name`` gets into texts."""
    if dataclasses.is_dataclass(hint):
        return message_of(hint, depth + 1)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union:
        kinds = [kind for kind in arguments if kind is not type(None)]
        return value_for(kinds[-1], name, depth)
    if origin is tuple:
        return (value_for(arguments[0], name, depth), value_for(arguments[0], name, depth))
    if origin is dict:
        if arguments[1] is str:
            return {"SHOT": "sh010"}
        return {"flag": True, "count": 3, "ratio": 0.25, "text": "ünï"}
    return {bool: True, int: 1001, float: 2.5, str: f"{name}-ü"}[hint]


def message_of(cls, depth=0):
    hints = typing.get_type_hints(cls)
    return cls(**{item.name: value_for(hints[item.name], item.name, depth) for item in dataclasses.fields(cls)})


def smallest(cls):
    """Only what has no default."""
    hints = typing.get_type_hints(cls)
    return cls(
        **{
            item.name: value_for(hints[item.name], item.name)
            for item in dataclasses.fields(cls)
            if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        }
    )


def all_messages():
    return {tag.decode(): message_of(cls) for tag, cls in m.MESSAGES.items()}
