"""Every public call on a node or a knob passes here: right thread, living node. Nuke crashes or hangs instead."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

from . import stubs


class Guarded:
    """Base of everything that scripts hold. ``STUB`` names the class in `types-nuke` that it stands for."""

    STUB: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, value in list(vars(cls).items()):
            public = not name.startswith("_") or name in ("__getitem__", "__enter__")
            if public and callable(value) and not isinstance(value, (type, staticmethod)):
                setattr(cls, name, _checked(value))
        if cls.STUB:
            stubs.require_class(_without_base_names(cls), cls.STUB)

    def _check(self) -> None:
        """Raises where Nuke would crash, hang or say that the object is gone."""


def _without_base_names(cls: type) -> type:
    """The class as scripts see it: `STUB` is ours and not part of the imitation."""

    class Shown:
        pass

    for name in dir(cls):
        if not name.startswith("_") and name != "STUB":
            setattr(Shown, name, None)
    return Shown


def _checked(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def checked(self: Guarded, *args: Any, **kwargs: Any) -> Any:
        self._check()
        return call(self, *args, **kwargs)

    return checked
