"""Whatever bytes come, they become a message of the table or a typed refusal, quickly and in little memory."""

import contextlib
import struct
import time
import tracemalloc

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mattebridge import codec
from mattebridge import messages as m
from mattebridge_server.broker.decode import (
    Malformed,
    decode,
    decode_request,
    encode,
    encode_request,
)

JOB = m.JobRequest(plate="/p/a.####.exr", mask="/m.####.png", params={"x": 1, "y": 0.5, "z": True, "s": "t"})
GOOD = [
    m.Hello(1, 0, "c", "ann", "host", 7),
    m.Ping(3),
    m.Submit(1, "key-1", JOB, "boot"),
    m.Check(2, JOB),
    m.Resume(1, "k", 5),
    m.Cancel(1, "k"),
    m.Status(1, True, 5),
    m.Describe(1),
    m.Credit("k", 100),
    m.Put("k", "plate", 1001, "a.exr", 0, 10, ""),
    m.PutsDone("k"),
    m.Taken("k", "alpha", 1),
    m.Stop(1),
]


def parts_of(message, *blobs):
    return [bytes(part) for part in codec.encode(message, blobs)]


@pytest.mark.parametrize("message", GOOD, ids=lambda message: type(message).__name__)
def test_what_the_client_encodes_the_server_decodes(message):
    assert decode(parts_of(message)).message == message


@pytest.mark.parametrize("message", GOOD, ids=lambda message: type(message).__name__)
def test_what_the_server_encodes_the_client_decodes(message):
    assert codec.decode(encode(message))[0] == message


def test_a_newer_minor_versions_fields_are_ignored():
    header = msgpack.packb({"number": 3, "mood": "good", "more": {"a": [1]}})
    assert decode([b"PING", header]).message == m.Ping(3)


BOMBS = {
    "no parts": [],
    "one part": [b"PING"],
    "too many parts": [b"PING", b"\x80"] + [b""] * 100,
    "ten thousand parts": [b""] * 10_000,
    "unknown tag": [b"EXPLODE", b"\x80"],
    "a server's tag": parts_of(m.Done("k", 1, 0.0)),
    "long tag": [b"P" * 100_000, b"\x80"],
    "empty header": [b"PING", b""],
    "not a map": [b"PING", msgpack.packb([1])],
    "missing field": [b"PING", b"\x80"],
    "wrong type": [b"PING", msgpack.packb({"number": "3"})],
    "huge header": [b"PING", b"\x81\xa6number\x01" + b"\0" * (m.HEADER_BYTES + 1)],
    "huge blob": [b"PING", msgpack.packb({"number": 1}), b"x" * (m.BLOB_BYTES + 1)],
    "nested arrays": [b"CHECK", b"\x82\xa7request\x01\xa3job" + b"\x91" * 200_000],
    "nested maps": [b"PING", b"\x82\xa6number\x01\xa1x" + b"\x81\xa1a" * 60_000],
    "giant array": [b"CHECK", b"\x82\xa7request\x01\xa3job\xdd\xff\xff\xff\xff"],
    "giant map": [b"PING", b"\xdf\xff\xff\xff\xff"],
    "giant bin": [b"PING", b"\x81\xa6number\xc6\xff\xff\xff\xff"],
    "nils": [b"PING", b"\x82\xa6number\x01\xa1x\xdc\xff\xff" + b"\xc0" * 65_535 + b"\xff"],
    "bad utf-8": [b"CANCEL", b"\x82\xa7request\x01\xa3key\xa2\xff\xfe"],
    "bad utf-8 key": [b"PING", b"\x81\xa2\xff\xfe\x01"],
    "extension type": [b"PING", b"\x81\xa6number\xd4\x05\x00"],
    "trailing bytes": [b"PING", msgpack.packb({"number": 1}) + b"\x00"],
    "bad key": parts_of(m.Cancel(1, "../../etc")),
    "long key": parts_of(m.Cancel(1, "k" * 101)),
    "key with newline": parts_of(m.Cancel(1, "k\n")),
    "endless time": parts_of(m.Check(1, m.JobRequest("p", queue_timeout_s=float("inf")))),
    "no number": parts_of(m.Check(1, m.JobRequest("p", run_timeout_s=float("nan")))),
    "negative credit": parts_of(m.Credit("k", -5)),
    "negative offset": parts_of(m.Put("k", "plate", 1, "n", -1, 5)),
    "odd delivery": parts_of(m.Check(1, m.JobRequest("p", delivery="pigeon"))),
    "odd priority": parts_of(m.Check(1, m.JobRequest("p", priority="boss"))),
    "params of nils": [b"CHECK", msgpack.packb({"request": 1, "job": {"plate": "p", "params": {"a": [None] * 9}}})],
    "long path": parts_of(m.Check(1, m.JobRequest("p" * 5000))),
    "integer beyond 64 bits": [b"PING", b"\x81\xa6number\xcf" + b"\xff" * 9],
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_50_ms_and_32_mb(name):
    parts = BOMBS[name]
    tracemalloc.start()
    try:
        begin = time.perf_counter()
        try:
            decode(parts)
            raise AssertionError("it was taken for a message") from None
        except Malformed as error:
            assert error.kind in ("parts", "tag", "size", "decode", "value")
            assert len(str(error)) < 2000
        assert time.perf_counter() - begin < 0.05
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("header", "number"),
    [
        (msgpack.packb({"request": 12, "key": "k", "boot_id": "b", "job": {"plate": "p", "plate_space": 3}}), 12),
        (msgpack.packb({"request": 12}), 12),
        (msgpack.packb({"request": "12"}), 0),
        (msgpack.packb({"request": 12, "key": "k"})[:-1], 0),
        (b"\x82\xa7request\x0c\xa3job" + b"\x91" * 200_000, 0),
    ],
    ids=["a field of another type", "missing fields", "no number", "cut off", "nested"],
)
def test_a_request_that_cannot_be_decoded_keeps_its_number_where_that_can_be_read(header, number):
    with pytest.raises(Malformed) as refused:
        decode([b"SUBMIT", header])
    assert refused.value.request == number


def test_a_number_too_large_for_its_field_is_not_taken():
    with pytest.raises(Malformed):
        decode([b"PUT", msgpack.packb({**m.Put("k", "plate", 1, "n", 0, 5).__dict__, "offset": -(2**63)})])


@settings(max_examples=400, deadline=None)
@given(
    tag=st.sampled_from(sorted(m.FROM_CLIENT)), header=st.binary(max_size=300), blobs=st.lists(st.binary(), max_size=3)
)
def test_no_bytes_raise_anything_but_malformed(tag, header, blobs):
    with contextlib.suppress(Malformed):
        decode([tag, header, *blobs])


@settings(max_examples=600, deadline=None)
@given(data=st.data())
def test_no_damage_to_a_good_message_raises_anything_but_malformed(data):
    parts = parts_of(data.draw(st.sampled_from(GOOD)))
    header = bytearray(parts[1])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(header) - 1))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
        if kind == "flip":
            header[place] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del header[place + 1 :]
        else:
            header[place:place] = struct.pack("<I", data.draw(st.integers(0, 2**32 - 1)))
    try:
        message = decode([parts[0], bytes(header)]).message
    except Malformed:
        return
    assert type(message) in m.TAGS


def test_equal_bodies_have_equal_bytes_whatever_the_order_of_their_maps():
    one = m.JobRequest("p", params={"a": 1, "b": 2}, context={"SHOT": "x", "SEQ": "y"})
    two = m.JobRequest("p", params={"b": 2, "a": 1}, context={"SEQ": "y", "SHOT": "x"})
    assert encode_request(one) == encode_request(two)
    assert decode_request(encode_request(one)) == one
    assert encode_request(one) != encode_request(m.JobRequest("p", params={"a": 1, "b": 3}))


def test_equal_bodies_have_equal_bytes_with_defaults_left_out_or_said_and_in_any_order():
    body = m.JobRequest("p", "m", "o", frames="1001", prompts=(m.PromptInfo(1001, box=(0.0, 0.0, 1.0, 1.0)),))
    brief = {
        "prompts": [{"box": [0, 0, 1, 1], "frame": 1001}],
        "frames": "1001",
        "out": "o",
        "mask": "m",
        "plate": "p",
    }
    submit = {"request": 1, "key": "k", "boot_id": "b", "job": brief}
    received = decode([b"SUBMIT", msgpack.packb(submit)]).message.job
    assert received == body
    assert encode_request(received) == encode_request(body)
