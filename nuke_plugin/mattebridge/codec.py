"""Messages to multiparts and back on the client's side, with nothing but msgpack and the dataclasses' own fields.

`decode` is the one place where bytes from a socket become values. It believes nothing: the tag selects the type, every
field is checked against its annotation (a bool is no int, an int may stand for a float), unknown fields are dropped,
and whatever the decoder may raise on a hostile header becomes `ProtocolError`. msgpack may be its C extension or its
pure-Python fallback (inside Nuke); both raise different things, all caught here. The server decodes the same table with
msgspec.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import typing
from collections.abc import Sequence
from functools import cache
from typing import Any, Callable, NoReturn, Union

from .errors import ProtocolError, UsageError
from .messages import BLOB_BYTES, HEADER_BYTES, MESSAGE_PARTS, MESSAGES, TAGS, Limits

Blob = Union[bytes, memoryview]
Reader = Callable[[Any], Any]

_DEFAULT_LIMITS = Limits()


def encode(message: Any, blobs: Sequence[Blob] = (), limits: Limits = _DEFAULT_LIMITS) -> list[Blob]:
    """The multipart for one message. ``limits`` are the server's, from WELCOME.

    Raises `UsageError` when the message is beyond them: past them the transport would cut the connection and say
    nothing, so it must never be sent.
    """
    import msgpack

    tag = TAGS[type(message)]
    try:
        header = msgpack.packb(_to_plain(message), use_bin_type=True)
    except (ValueError, TypeError, OverflowError, UnicodeEncodeError) as error:
        raise UsageError(f"{tag.decode()} cannot be sent: {error}", remedy="Correct the value that it names.") from None
    if len(header) > min(limits.header_bytes, HEADER_BYTES):
        raise UsageError(
            f"{tag.decode()} has a header of {len(header)} bytes; the server takes {limits.header_bytes}",
            remedy="Ask for fewer frames, or write them as ranges (1001-1100x2).",
        )
    for blob in blobs:
        if len(blob) > min(limits.blob_bytes, BLOB_BYTES):
            raise UsageError(
                f"{tag.decode()} carries {len(blob)} bytes in one part; the server takes {limits.blob_bytes}",
                remedy="Use a shorter shot for one plan.",
            )
    if 2 + len(blobs) > limits.message_parts:
        raise UsageError(f"{tag.decode()} has {2 + len(blobs)} parts; the server takes {limits.message_parts}")
    return [tag, header, *blobs]


def decode(parts: Sequence[bytes]) -> tuple[Any, tuple[bytes, ...]]:
    """The message and the blobs of one multipart. Raises `ProtocolError`, and nothing else, for any input."""
    if not 2 <= len(parts) <= MESSAGE_PARTS:
        _refuse(f"a message of {len(parts)} parts")
    tag, header, blobs = bytes(parts[0]), parts[1], tuple(parts[2:])
    cls: Any = MESSAGES.get(tag)
    if cls is None:
        _refuse(f"unknown message {tag[:32]!r}")
    if len(header) > HEADER_BYTES or any(len(blob) > BLOB_BYTES for blob in blobs):
        _refuse(f"{tag.decode()} is larger than the protocol allows")
    try:
        return _reader_of(cls)(_unpack(header)), blobs
    except _Mismatch as error:
        _refuse(f"{tag.decode()}: {error}")


class _Mismatch(Exception):
    """A value that its annotation does not allow."""


def _refuse(what: str) -> NoReturn:
    raise ProtocolError(f"malformed message: {what}")


def _unpack(header: bytes) -> Any:
    import msgpack

    try:
        return msgpack.unpackb(header, raw=False, strict_map_key=True, ext_hook=_no_extension)
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError, MemoryError, TypeError) as error:
        raise _Mismatch(f"{type(error).__name__} in the header") from None


def _no_extension(code: int, _data: bytes) -> NoReturn:
    raise ValueError(f"extension type {code}")


def _to_plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {item.name: _to_plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [_to_plain(item) for item in value]
    if isinstance(value, collections.abc.Mapping):
        return {str(key): _to_plain(item) for key, item in value.items()}
    return value


@cache
def _reader_of(cls: Any) -> Reader:
    hints = typing.get_type_hints(cls)
    readers = {item.name: _reader_for(hints[item.name]) for item in dataclasses.fields(cls)}
    required = [
        item.name
        for item in dataclasses.fields(cls)
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    ]

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _Mismatch(f"expected a map, got {type(value).__name__}")
        for name in required:
            if name not in value:
                raise _Mismatch(f"no field {name}")
        return cls(**{name: _read_field(name, readers[name], item) for name, item in value.items() if name in readers})

    return read


def _read_field(name: str, reader: Reader, value: Any) -> Any:
    try:
        return reader(value)
    except _Mismatch as error:
        raise _Mismatch(f"{name}: {error}") from None


def _reader_for(hint: Any) -> Reader:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _reader_of(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Union:
        return _union_reader(arguments)
    if origin is tuple:
        return _tuple_reader(_reader_for(arguments[0]))
    if origin is dict:
        return _dict_reader(_reader_for(arguments[0]), _reader_for(arguments[1]))
    return _scalar_reader(hint)


def _scalar_reader(kind: type) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is kind:
            return value
        if kind is float and type(value) is int:
            return float(value)
        raise _Mismatch(f"expected {kind.__name__}, got {type(value).__name__}")

    return read


def _union_reader(kinds: tuple[Any, ...]) -> Reader:
    exact = {kind for kind in kinds if kind in (bool, int, float, str, type(None))}
    structured = [_reader_for(kind) for kind in kinds if kind not in exact]

    def read(value: Any) -> Any:
        if type(value) in exact:
            return value
        if float in exact and type(value) is int:
            return float(value)
        for reader in structured:
            return reader(value)
        raise _Mismatch(f"a {type(value).__name__} is not allowed here")

    return read


def _tuple_reader(item: Reader) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise _Mismatch(f"expected a list, got {type(value).__name__}")
        return tuple(item(entry) for entry in value)

    return read


def _dict_reader(key: Reader, item: Reader) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _Mismatch(f"expected a map, got {type(value).__name__}")
        return {key(name): item(entry) for name, entry in value.items()}

    return read
