"""An atheris target for the server's decoder: ``pip install atheris``, then ``python tests/faults/fuzz_decode.py``.

The same decoder is fuzzed with hypothesis in tests/mattebridge_server/broker/test_decode.py; this one is guided by
coverage and runs until it is stopped.
"""

from __future__ import annotations

import sys


def main() -> None:
    import atheris

    with atheris.instrument_imports(include=["mattebridge_server.broker"]):
        from mattebridge import messages as m
        from mattebridge_server.broker.decode import Malformed, decode

    tags = sorted(m.FROM_CLIENT)

    def one_input(data: bytes) -> None:
        provider = atheris.FuzzedDataProvider(data)
        tag = provider.PickValueInList(tags)
        blobs = [provider.ConsumeBytes(16) for _ in range(provider.ConsumeIntInRange(0, 3))]
        try:
            received = decode([tag, provider.ConsumeBytes(provider.remaining_bytes()), *blobs])
        except Malformed:
            return
        assert type(received.message) is m.MESSAGES[tag]

    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
