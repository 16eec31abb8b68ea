"""Bytes that a v1 peer sends are understood for ever, and ours are understood by it: frozen files, one per message."""

import dataclasses

import msgpack
import pytest
from every_message import message_of
from make_v1_fixtures import BLOBS, FOLDER, unpack

from mattebridge import codec
from mattebridge import messages as m

NAMES = sorted(path.stem for path in FOLDER.glob("*.bin"))


def test_every_message_of_v1_has_its_frozen_bytes():
    assert set(NAMES) == {tag.decode() for tag in m.MESSAGES}


@pytest.mark.parametrize("name", NAMES)
def test_frozen_bytes_still_mean_the_same(name):
    parts = unpack((FOLDER / f"{name}.bin").read_bytes())
    message, blobs = codec.decode(parts)
    assert type(message) is m.MESSAGES[name.encode()] and list(blobs) == BLOBS
    body = msgpack.unpackb(parts[1])
    expected = message_of(type(message))
    for field in body:
        assert getattr(message, field) == getattr(expected, field), f"{name}.{field} changed its meaning"


@pytest.mark.parametrize("name", NAMES)
def test_what_we_send_is_understood_by_a_v1_peer(name):
    """Every field that v1 had is still sent, with the value it had; what came later is extra, which v1 ignores."""
    frozen = msgpack.unpackb(unpack((FOLDER / f"{name}.bin").read_bytes())[1])
    message = message_of(m.MESSAGES[name.encode()])
    now = msgpack.unpackb(codec.encode(message)[1])
    _contains(now, frozen, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_field_that_v1_did_not_have_has_a_default(name):
    frozen = msgpack.unpackb(unpack((FOLDER / f"{name}.bin").read_bytes())[1])
    for item in dataclasses.fields(m.MESSAGES[name.encode()]):
        optional = item.default is not dataclasses.MISSING or item.default_factory is not dataclasses.MISSING
        assert item.name in frozen or optional


def _contains(now, frozen, where):
    if isinstance(frozen, dict):
        for key, value in frozen.items():
            assert key in now, f"{where} lost {key}"
            _contains(now[key], value, f"{where}.{key}")
    elif isinstance(frozen, list):
        assert len(now) == len(frozen), where
        for a, b in zip(now, frozen):
            _contains(a, b, where)
    else:
        assert now == frozen, where
