"""Promise 24. Clients of protocol 1.0 are served while the major version is 1: their bytes are frozen and replayed.

The client's side of the same promise is in tests/mattebridge.
"""

from pathlib import Path

import msgpack
import pytest

from mattebridge import codec
from mattebridge import messages as m
from mattebridge_server.broker.decode import read_types

FOLDER = Path(__file__).parent.parent / "mattebridge" / "fixtures" / "v1"


def frozen(tag):
    """The multipart that a v1 client sent: each part with its length before it."""
    data = (FOLDER / f"{tag}.bin").read_bytes()
    parts = []
    while data:
        size = int.from_bytes(data[:4], "little")
        parts.append(data[4 : 4 + size])
        data = data[4 + size :]
    return parts


@pytest.mark.parametrize("tag", sorted(tag.decode() for tag in m.FROM_CLIENT))
def test_the_server_understands_the_frozen_bytes_of_v1(tag):
    parts = frozen(tag)
    assert parts[0] == tag.encode()
    assert read_types(parts).message == codec.decode(parts)[0]


def as_sent(tag, **values):
    """The frozen fields of a message, with values that make sense in place of the recorded ones."""
    header = msgpack.unpackb(frozen(tag)[1])
    header.update({name: value for name, value in values.items() if name in header})
    if "job" in header:
        header["job"].update(delivery="files", priority="batch", model="edge", preset="", plate="/p.####.exr")
    return [tag.encode(), msgpack.packb(header)]


def test_a_live_server_answers_every_question_in_its_frozen_form(broker):
    broker.start()
    client = broker.client(hello=False)
    client.socket.send_multipart(as_sent("HELLO", major=1, minor=0))
    boot_id = client.expect(m.Welcome).boot_id
    client.models_up()
    for tag, answer in (
        ("PING", m.Pong),
        ("STATUS", m.StatusReport),
        ("DESCRIBE", m.Described),
        ("CHECK", m.Checked),
        ("SUBMIT", m.Accepted),
        ("CANCEL", m.Cancelling),
        ("RESUME", m.Accepted),
        ("STOP", m.Stopping),
    ):
        client.socket.send_multipart(as_sent(tag, key="old", boot_id=boot_id, model="edge", limit=5, after=0))
        assert client.expect(answer), tag
    assert broker.wait() == 0, "STOP was understood"


def test_a_client_without_the_newest_fields_is_served(broker):
    broker.start()
    client = broker.client()
    header = msgpack.packb(
        {"request": 1, "key": "old", "job": {"plate": "/p.####.exr", "frames": "1"}, "boot_id": client.boot_id}
    )
    client.socket.send_multipart([b"SUBMIT", header])
    client.expect(m.Accepted)
    assert isinstance(client.end_of("old"), m.Done)
