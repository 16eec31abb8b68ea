"""An atheris target for the server's decoder: ``pip install atheris``, then ``python tests/faults/fuzz_decode.py``.

The same decoder is fuzzed with hypothesis in tests/mattebridge_server/broker/test_decode.py; this one is guided by
coverage, begins with the frozen messages of v1 and runs until it is stopped (or for ``-max_total_time=SECONDS``).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

FROZEN = Path(__file__).parent.parent / "mattebridge" / "fixtures" / "v1"


def write_seeds(folder: Path, tags: list[bytes]) -> None:
    """Each frozen message that a client sends as an input: a byte for its tag, then its header."""
    for number, tag in enumerate(tags):
        data = (FROZEN / f"{tag.decode()}.bin").read_bytes()
        begin = 4 + int.from_bytes(data[:4], "little")  # each part has its length before it; the first is the tag
        size = int.from_bytes(data[begin : begin + 4], "little")
        (folder / tag.decode()).write_bytes(bytes([number]) + data[begin + 4 : begin + 4 + size])


def main() -> None:
    import atheris

    with atheris.instrument_imports(include=["mattebridge_server.broker"]):
        from mattebridge import messages as m
        from mattebridge_server.broker.decode import Malformed, decode, read_types

    tags = sorted(m.FROM_CLIENT)

    def one_input(data: bytes) -> None:
        tag = tags[data[0] % len(tags)] if data else b""
        try:
            received = decode([tag, data[1:]])
        except Malformed:
            return
        assert type(received.message) is m.MESSAGES[tag]

    with tempfile.TemporaryDirectory() as folder:
        write_seeds(Path(folder), tags)
        for seed in Path(folder).iterdir():
            read_types([seed.name.encode(), seed.read_bytes()[1:]])  # raises where a seed is no message any more
        atheris.Setup([*sys.argv, "-max_len=4096", folder], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
