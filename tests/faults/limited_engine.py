"""The program's engine with a limit on the size of its files (argv 1, bytes): a full disk, without root."""

import resource
import runpy
import signal
import sys

if __name__ == "__main__":
    size = int(sys.argv.pop(1))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    runpy.run_module("mattebridge_server.engine", run_name="__main__")
