"""The one place where a client's bytes become a message, and the one where a message becomes bytes.

The tag selects the type, msgspec decodes the header into exactly that type, and whatever it can raise on hostile bytes
(`DecodeError`, `ValidationError`, `UnicodeDecodeError`, `RecursionError`) becomes `Malformed`. Sizes are refused before
anything is decoded. What a type cannot say (the form of a key, a time that is a number) is checked here too, so that
nothing behind this file has to distrust a message.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import msgspec

from mattebridge.messages import (
    BLOB_BYTES,
    FROM_CLIENT,
    HEADER_BYTES,
    MESSAGE_PARTS,
    MESSAGES,
    TAGS,
    JobRequest,
)
from mattebridge.requests import CHOICES, KEY_PATTERN, LONGEST_TEXT, PATH_FIELDS

MESSAGE_BYTES = HEADER_BYTES + (MESSAGE_PARTS - 2) * BLOB_BYTES + 64
"""Whole size of the largest message, for the transport's own limit."""


Blobs = tuple[bytes, ...]
Item = TypeVar("Item")


class Malformed(Exception):
    """Bytes that are no message of ours. ``kind`` (parts, tag, size, decode, value) labels the counter.

    ``request`` is the number of the request where that much could be read, so that whoever asked gets the answer.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.request = 0


@dataclass(frozen=True)
class Received:
    """A message from a client with its blobs."""

    message: Any
    blobs: Blobs = ()


class _Numbered(msgspec.Struct):
    """What can be read of a message that is right but for the types of its other fields."""

    request: int = 0


_encoder = msgspec.msgpack.Encoder()
_decoders: Mapping[bytes, msgspec.msgpack.Decoder[Any]] = {
    tag: msgspec.msgpack.Decoder(MESSAGES[tag]) for tag in FROM_CLIENT
}
_numbered = msgspec.msgpack.Decoder(_Numbered)
_request_decoder = msgspec.msgpack.Decoder(JobRequest)


def decode(parts: Sequence[bytes]) -> Received:
    """The message of one multipart (without the peer's address). Raises `Malformed` and nothing else."""
    received = read_types(parts)
    try:
        _check_values(received.message)
    except Malformed as error:
        error.request = getattr(received.message, "request", 0)
        raise
    return received


def read_types(parts: Sequence[bytes]) -> Received:
    """`decode` without the rules on values: sizes, tag and types only."""
    if not 2 <= len(parts) <= MESSAGE_PARTS:
        raise Malformed("parts", f"a message has 2 to {MESSAGE_PARTS} parts, this one {len(parts)}")
    decoder = _decoders.get(bytes(parts[0]))
    if decoder is None:
        raise Malformed("tag", "the tag is not one that a client sends")
    if len(parts[1]) > HEADER_BYTES:
        raise Malformed("size", f"a header of {len(parts[1])} bytes is over the limit of {HEADER_BYTES}")
    if any(len(blob) > BLOB_BYTES for blob in parts[2:]):
        raise Malformed("size", f"a blob is over the limit of {BLOB_BYTES} bytes")
    try:
        message = decoder.decode(parts[1])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        malformed = Malformed("decode", f"{parts[0].decode()}: {error}")
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            malformed.request = _numbered.decode(parts[1]).request
        raise malformed from error
    return Received(message, tuple(parts[2:]))


def encode(message: Any, blobs: Sequence[bytes] = ()) -> list[bytes]:
    """The multipart of a message of ours."""
    return [TAGS[type(message)], _encoder.encode(message), *blobs]


def fitting(items: Iterable[Item], room_bytes: int) -> tuple[Item, ...]:
    """As many of the first items as fit in a header with so much room: a longer one is refused by whoever gets it."""
    found: list[Item] = []
    for item in items:
        room_bytes -= len(_encoder.encode(item))
        if room_bytes < 0:
            break
        found.append(item)
    return tuple(found)


def encode_request(request: JobRequest) -> bytes:
    """A job's body as the journal keeps it; equal bodies give equal bytes, in whatever order their fields came.

    By way of a map of all fields: msgspec writes a decoded dataclass as it came, without the defaults it filled in.
    """
    return _canonical.encode(asdict(request))


def decode_request(body: bytes) -> JobRequest:
    """The body that `encode_request` wrote."""
    return _request_decoder.decode(body)


def decode_event(tag: bytes, body: bytes) -> Any:
    """An event out of the journal."""
    return msgspec.msgpack.decode(body, type=MESSAGES[tag])


_canonical = msgspec.msgpack.Encoder(order="deterministic")


def _check_values(message: Any) -> None:
    key = getattr(message, "key", None)
    if key is not None and not KEY_PATTERN.fullmatch(key):
        raise Malformed("value", "a job key is 1 to 100 of A-Z a-z 0-9 . _ - and begins with a letter or digit")
    job = getattr(message, "job", None)
    if isinstance(job, JobRequest):
        _check_request(job)
    for rule, holds in _RULES.items():
        value = getattr(message, rule, None)
        if value is not None and not holds(value):
            raise Malformed("value", f"{rule} = {value!r} is out of range")


def _check_request(job: JobRequest) -> None:
    for name in ("queue_timeout_s", "run_timeout_s"):
        value = getattr(job, name)
        if not (math.isfinite(value) and value >= 0):
            raise Malformed("value", f"{name} = {value!r} is not a time")
    for name in ("delivery", "priority"):
        value, allowed = getattr(job, name), CHOICES[name]
        if value not in allowed:
            raise Malformed("value", f"{name} {value[:40]!r} is none of {', '.join(allowed)}")
    for name in (*PATH_FIELDS, "label"):
        if len(getattr(job, name)) > LONGEST_TEXT:
            raise Malformed("value", f"{name} is longer than {LONGEST_TEXT} characters")


_RULES: Mapping[str, Callable[[Any], bool]] = {
    "add_bytes": lambda value: 0 < value <= 1 << 40,
    "offset": lambda value: value >= 0,
    "total_bytes": lambda value: value >= 0,
    "after": lambda value: value >= 0,
    "limit": lambda value: 0 <= value <= 10_000,
}
