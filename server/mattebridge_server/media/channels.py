"""Which channels of a file are the picture, a layer of it, or the matte.

A channel is stored under a name such as ``R``, ``diffuse.R`` or ``diffuse.left.R``, in a part that may have a name and
a view of its own. Its *full name* is that of the part and the channel together (``beauty.R``), without repeating a part
name that the channel already carries. A *layer* is what stands before the component, without the view; the plain
picture is the layer ``""``, also asked for as ``rgba``. Components are spelled as the field does: R or r or red.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mattebridge.errors import FrameError

_COMPONENTS = {
    **dict.fromkeys(("r", "red"), "R"),
    **dict.fromkeys(("g", "green"), "G"),
    **dict.fromkeys(("b", "blue"), "B"),
    **dict.fromkeys(("a", "alpha"), "A"),
    **dict.fromkeys(("y", "luma", "luminance"), "Y"),
}
_CHROMA = frozenset({"RY", "BY"})
_PLAIN_LAYERS = ("", "rgba", "rgb")
_LISTED = 40


@dataclass(frozen=True)
class Channel:
    """One stored channel. ``component`` is R, G, B, A or Y where the name says so, else the last segment as stored."""

    name: str
    stored_name: str
    part: int
    index: int
    layer: str
    view: str
    component: str


def read_names(part: int, part_name: str, part_view: str, views: Sequence[str], stored: Sequence[str]) -> list[Channel]:
    """The channels of one part. ``views`` are those of a file with several views in one part, the default one first.

    The y of a position or a normal, beside an x, is no luminance: its component is y.
    """
    channels = [_channel(part, part_name, part_view, index, name, views) for index, name in enumerate(stored)]
    vectors = {(channel.layer, channel.view) for channel in channels if channel.component in ("x", "X")}
    return [
        replace(channel, component="y")
        if channel.component == "Y" and (channel.layer, channel.view) in vectors
        else channel
        for channel in channels
    ]


def _channel(part: int, part_name: str, part_view: str, index: int, stored: str, views: Sequence[str]) -> Channel:
    *before, last = stored.split(".")
    view = part_view
    if not view and views:
        named = before[-1] if before and before[-1] in views else ""
        view = named or views[0]
        before = before[:-1] if named else before
    layer = ".".join(before) or _layer_of_part(part_name, part_view)
    has_part = not part_name or stored.startswith(f"{part_name}.")
    return Channel(
        name=stored if has_part else f"{part_name}.{stored}",
        stored_name=stored,
        part=part,
        index=index,
        layer="" if layer.lower() in _PLAIN_LAYERS else layer,
        view=view,
        component=_COMPONENTS.get(last.lower(), last),
    )


def _layer_of_part(part_name: str, view: str) -> str:
    """A part's name without its view: ``diffuse.left`` is the layer ``diffuse``."""
    segments = [segment for segment in part_name.split(".") if segment and segment != view]
    return ".".join(segments)


@dataclass(frozen=True)
class Picture:
    """The channels to read for a plate: R, G, B of one part in this order, or the one Y of a grey picture."""

    part: int
    channels: tuple[Channel, ...]

    @property
    def grey(self) -> bool:
        return len(self.channels) == 1


def find_picture(channels: Sequence[Channel], *, file: str, frame: int, layer: str = "", view: str = "") -> Picture:
    """R, G and B (or Y) of ``layer`` in ``view``; by default the plain picture in the first view.

    A file whose only picture sits in a named layer needs no ``layer``. `FrameError` names what the file holds when the
    layer or view does not exist, when nothing is a picture, or when the choice is not clear.
    """
    seen = in_view(channels, file=file, frame=frame, view=view)
    pictures = _pictures(seen)
    wanted = "" if layer.lower() in _PLAIN_LAYERS else layer
    for match in (str, str.lower):
        for picture in pictures:
            if match(picture.channels[0].layer) == match(wanted):
                return picture
    if not wanted and pictures and (len(pictures) == 1 or (pictures[0].part == 0 and _alone_in_part(pictures))):
        return pictures[0]
    layers = list(dict.fromkeys(picture.channels[0].layer for picture in pictures))
    if not pictures:
        raise FrameError(
            f"no RGB in {_listed(channel.name for channel in channels)}",
            remedy="Give a plate with channels R, G and B.",
            file=file,
            frame=frame,
        )
    raise FrameError(
        f"no layer {wanted!r} with RGB" if wanted else "no plain RGB, but several layers",
        remedy=f"Choose one with --plate-layer: {_listed(layers)}.",
        file=file,
        frame=frame,
        details={"candidates": ", ".join(layers)},
    )


def _alone_in_part(pictures: Sequence[Picture]) -> bool:
    """Whether the first picture is the only one of the first part: hosts take it as the plain picture."""
    return sum(picture.part == 0 for picture in pictures) == 1


def _pictures(channels: Sequence[Channel]) -> list[Picture]:
    """Every RGB of the file in its order, then every grey picture."""
    groups: dict[tuple[int, str], dict[str, Channel]] = {}
    for channel in channels:
        groups.setdefault((channel.part, channel.layer), {}).setdefault(channel.component, channel)
    colour = [
        Picture(part, (found["R"], found["G"], found["B"]))
        for (part, _), found in groups.items()
        if {"R", "G", "B"} <= found.keys()
    ]
    grey = [
        Picture(part, (found["Y"],))
        for (part, _), found in groups.items()
        if "Y" in found and not _CHROMA & found.keys()
    ]
    return colour or grey


def in_view(channels: Sequence[Channel], *, file: str, frame: int, view: str = "") -> list[Channel]:
    """The channels of ``view``, with those that belong to no view; by default of the first view of the file.

    A file without views serves every view: either each view has a file of its own (``%V``), or all share this one.
    """
    views = list(dict.fromkeys(channel.view for channel in channels if channel.view))
    if view and views and view not in views:
        raise FrameError(
            f"no view {view!r}",
            remedy=f"The file has the views {_listed(views)}.",
            file=file,
            frame=frame,
            details={"candidates": ", ".join(views)},
        )
    wanted = view or (views[0] if views else "")
    return [channel for channel in channels if channel.view in ("", wanted)]


def find_channel(channels: Sequence[Channel], wanted: str, *, file: str, frame: int) -> Channel:
    """The channel called ``wanted``: by full name, by stored name, without regard to case, or as a component.

    R and Y stand for each other, since a mask may be stored as grey on one frame and as RGB on the next.
    """
    spellings = [wanted, {"R": "Y", "Y": "R"}.get(wanted.upper(), wanted)]
    for spelling in spellings:
        component = _COMPONENTS.get(spelling.lower(), spelling)
        for found in (
            [c for c in channels if c.name == spelling],
            [c for c in channels if c.stored_name == spelling],
            [c for c in channels if spelling.lower() in (c.name.lower(), c.stored_name.lower())],
            [c for c in channels if c.component == component and not c.layer],
        ):
            if found:
                return found[0]
    names = [channel.name for channel in channels]
    raise FrameError(
        f"no channel {wanted!r}",
        remedy=f"Choose one of {_listed(names)}.",
        file=file,
        frame=frame,
        details={"candidates": ", ".join(names[:_LISTED])},
    )


@dataclass(frozen=True)
class MatteChannels:
    """Where a mask may be stored in a file: its alpha, and its red or grey; None where the file has none."""

    alpha: Channel | None
    light: Channel | None


def find_matte(channels: Sequence[Channel], *, file: str, frame: int) -> MatteChannels:
    """The alpha and the red (else grey) that a mask may be in: of the plain picture, else of the only layer with one.

    `FrameError` where there is neither, or where several layers have one and none is the plain picture.
    """
    alpha = _of_plain_or_only_layer(channels, "A")
    light = _of_plain_or_only_layer(channels, "R") or _of_plain_or_only_layer(channels, "Y")
    if alpha is None and light is None:
        several = [channel.name for channel in channels if channel.component in ("A", "R", "Y")]
        raise FrameError(
            "several layers could be the mask" if several else "no channel that could be a mask (A, R or Y)",
            remedy=f"Choose one with --mask-channel: {_listed(several or [c.name for c in channels])}.",
            file=file,
            frame=frame,
            details={"candidates": ", ".join(several[:_LISTED])},
        )
    return MatteChannels(alpha, light)


def _of_plain_or_only_layer(channels: Sequence[Channel], component: str) -> Channel | None:
    found = [channel for channel in channels if channel.component == component]
    plain = [channel for channel in found if not channel.layer]
    if plain:
        return plain[0]
    return found[0] if len(found) == 1 else None


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    shown = ", ".join(name or "rgba" for name in names[:_LISTED])
    return f"{shown}, and {len(names) - _LISTED} more" if len(names) > _LISTED else shown or "nothing"
