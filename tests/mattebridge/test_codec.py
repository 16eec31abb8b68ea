"""Bytes from a socket become a checked message or a `ProtocolError`; nothing else, whatever they are."""

import contextlib
import dataclasses
import time
import typing

import msgpack
import msgspec
import pytest
from every_message import all_messages, message_of, smallest
from hypothesis import given
from hypothesis import strategies as st

from mattebridge import codec
from mattebridge import messages as m
from mattebridge.errors import ProtocolError, UsageError

TEXT = st.text(max_size=12)
NUMBER = st.integers(-(2**63), 2**64 - 1)


def strategy(hint):
    if dataclasses.is_dataclass(hint):
        return built(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union:
        return st.one_of(st.none() if kind is type(None) else strategy(kind) for kind in arguments)
    if origin is tuple:
        return st.lists(strategy(arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(TEXT, strategy(arguments[1]), max_size=3)
    return {bool: st.booleans(), int: NUMBER, float: st.floats(allow_nan=False), str: TEXT}[hint]


def built(cls):
    hints = typing.get_type_hints(cls)
    return st.builds(cls, **{item.name: strategy(hints[item.name]) for item in dataclasses.fields(cls)})


MESSAGE = st.sampled_from(list(m.MESSAGES.values())).flatmap(built)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBER | st.floats() | TEXT | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(MESSAGE, st.lists(st.binary(max_size=20), max_size=2))
def test_what_is_encoded_is_what_is_decoded(message, blobs):
    assert codec.decode(codec.encode(message, blobs)) == (message, tuple(blobs))


@given(MESSAGE)
def test_client_and_server_decode_the_same(message):
    """msgspec on the server and the field table here must never disagree about our own bytes."""
    tag, header = codec.encode(message)
    assert msgspec.msgpack.decode(header, type=m.MESSAGES[tag]) == message
    assert codec.decode([tag, msgspec.msgpack.encode(message)]) == (message, ())


@given(st.sampled_from(sorted(m.MESSAGES)), st.one_of(st.binary(max_size=200), PLAIN.map(msgpack.packb)))
def test_any_header_gives_a_message_or_a_protocol_error(tag, header):
    try:
        message, _ = codec.decode([tag, header])
    except ProtocolError:
        return
    assert type(message) is m.MESSAGES[tag]


@given(st.lists(st.binary(max_size=30), max_size=8))
def test_any_multipart_gives_a_message_or_a_protocol_error(parts):
    with contextlib.suppress(ProtocolError):
        codec.decode(parts)


@given(MESSAGE, st.data())
def test_a_field_of_another_type_is_refused_by_both_sides_alike(message, data):
    tag, header = codec.encode(message)
    body = msgpack.unpackb(header)
    if not body:
        return
    name = data.draw(st.sampled_from(sorted(body)))
    body[name] = data.draw(PLAIN)
    header = msgpack.packb(body)
    try:
        theirs = msgspec.msgpack.decode(header, type=m.MESSAGES[tag])
    except (msgspec.DecodeError, UnicodeDecodeError):
        with pytest.raises(ProtocolError):
            codec.decode([tag, header])
    else:
        # NaN is not equal to itself: compare what is written.
        assert repr(codec.decode([tag, header])[0]) == repr(theirs)


@pytest.mark.parametrize("tag", sorted(m.MESSAGES), ids=lambda tag: tag.decode())
def test_a_newer_minor_version_may_add_fields_and_leave_defaults_out(tag):
    message = smallest(m.MESSAGES[tag])
    required = {
        item.name
        for item in dataclasses.fields(message)
        if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    }
    body = {name: value for name, value in msgpack.unpackb(codec.encode(message)[1]).items() if name in required}
    header = msgpack.packb({**body, "a field of 1.9": [1, {"deep": None}]})
    assert codec.decode([tag, header])[0] == message
    for name in required:
        with pytest.raises(ProtocolError, match=name):
            codec.decode([tag, msgpack.packb({key: value for key, value in body.items() if key != name})])


BOMBS = {
    "nested arrays": b"\x91" * 200_000 + b"\xc0",
    "nested maps": b"\x81\xa1a" * 60_000 + b"\xc0",
    "array that claims 4 billion": b"\xdd\xff\xff\xff\xff",
    "map that claims 4 billion": b"\xdf\xff\xff\xff\xff",
    "text that claims 4 GiB": b"\x81\xa3key\xdb\xff\xff\xff\xff",
    "bytes that claim 4 GiB": b"\xc6\xff\xff\xff\xff",
    "a quarter million nils": b"\xdd\x00\x03\xff\x00" + b"\xc0" * 0x3FF00,
    "invalid UTF-8": b"\x81\xa3key\xa2\xff\xfe",
    "an extension": b"\x81\xa3key\xd4\x05\x00",
    "a timestamp": b"\x81\xa3key\xd6\xff\x00\x00\x00\x00",
    "trailing bytes": b"\x80\x80",
    "nothing": b"",
    "a huge text": b"\x81\xa3key\xdb\x00\x20\x00\x00" + b"a" * 0x200000,
    "keys that are numbers": b"\x81\x01\x01",
    "keys that are lists": b"\x81\x91\x01\x01",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_once(name):
    started = time.process_time()
    with pytest.raises(ProtocolError):
        codec.decode([b"PUTS_DONE", BOMBS[name]])
    assert time.process_time() - started < 1.0


def test_an_extension_is_refused_where_nil_would_be_taken():
    header = msgpack.packb({"key": "k", "stage": "s", "frame": msgpack.ExtType(5, b"x")})
    with pytest.raises(ProtocolError):
        codec.decode([b"PROGRESS", header])


@pytest.mark.parametrize("parts", [[], [b"PING"], [b"PING", b"\x80", *[b""] * 9], [b"NO SUCH", b"\x80"], [b"", b""]])
def test_a_wrong_number_of_parts_or_an_unknown_tag_is_refused(parts):
    with pytest.raises(ProtocolError):
        codec.decode(parts)


def test_limits_hold_before_anything_is_sent():
    with pytest.raises(UsageError, match="header"):
        codec.encode(m.Cancel(1, "k" * m.HEADER_BYTES))
    with pytest.raises(UsageError, match="one part"):
        codec.encode(m.Cancel(1, "k"), [bytes(m.BLOB_BYTES + 1)])
    with pytest.raises(UsageError, match="parts"):
        codec.encode(m.Cancel(1, "k"), [b""] * m.MESSAGE_PARTS)
    small = m.Limits(header_bytes=10, blob_bytes=4)
    with pytest.raises(UsageError):
        codec.encode(m.Cancel(1, "a longer key"), (), small)
    with pytest.raises(UsageError):
        codec.encode(m.Put("k", "plate", 1, "p", 0, 5), [b"12345"], m.Limits(blob_bytes=4))


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800"])
def test_a_value_that_msgpack_cannot_carry_is_a_usage_error(value):
    field = "key" if isinstance(value, str) else "request"
    with pytest.raises(UsageError):
        codec.encode(dataclasses.replace(m.Cancel(1, "k"), **{field: value}))


def test_the_pure_python_msgpack_is_as_strict(monkeypatch):
    """Inside Nuke msgpack comes without its extension."""
    from msgpack import fallback

    monkeypatch.setattr(msgpack, "unpackb", lambda data, **kw: _unpack(fallback, data, **kw))
    for message in all_messages().values():
        assert codec.decode(codec.encode(message)) == (message, ())
    for bomb in BOMBS.values():
        with pytest.raises(ProtocolError):
            codec.decode([b"PUTS_DONE", bomb])


def _unpack(fallback, data, **options):
    unpacker = fallback.Unpacker(None, max_buffer_size=len(data), **options)
    unpacker.feed(data)
    try:
        value = unpacker._unpack()
    except msgpack.exceptions.OutOfData:
        raise ValueError("Unpack failed: incomplete input") from None
    except RecursionError:
        raise msgpack.exceptions.StackError from None
    if unpacker._got_extradata():
        raise msgpack.exceptions.ExtraData(value, unpacker._get_extradata())
    return value


def test_every_tag_has_a_message_and_every_client_message_is_one():
    assert set(m.TAGS.values()) == set(m.MESSAGES) and set(m.MESSAGES) >= m.FROM_CLIENT
    assert all(message_of(cls) is not None for cls in m.MESSAGES.values())
