"""Writes fixtures/v1/TAG.bin for messages that have none yet. What is there is frozen: it is never written again.

A file is the multipart: for each part its length in 4 bytes, little-endian, and the part. Run by hand when the protocol
gains a message.
"""

import struct
from pathlib import Path

from every_message import all_messages

from mattebridge import codec

FOLDER = Path(__file__).parent / "fixtures" / "v1"
BLOBS = [b"first blob", b"\x00\xff"]


def pack(parts):
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def unpack(data):
    parts = []
    while data:
        (size,) = struct.unpack_from("<I", data)
        parts.append(data[4 : 4 + size])
        data = data[4 + size :]
    return parts


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, message in all_messages().items():
        path = FOLDER / f"{name}.bin"
        if not path.exists():
            path.write_bytes(pack(codec.encode(message, BLOBS)))
            print(path)
