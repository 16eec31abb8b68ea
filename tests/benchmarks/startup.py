"""How long ``import mattebridge`` and ``mattebridge --help`` take: medians over fresh processes, beside a bare Python.

    python tests/benchmarks/startup.py [--runs N]

Limits: the import 60 ms, help 200 ms in all. Imports are timed inside the process, which is what a host application
pays; help as a whole process, which is what a person waits for.
"""

import argparse
import statistics
import subprocess
import sys
import time

IMPORT = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
IMPORTS = {
    "import mattebridge": "import mattebridge",
    "from mattebridge import Client": "from mattebridge import Client",
    "the same, and zmq with msgpack": "from mattebridge import Client; import zmq, msgpack",
}
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "mattebridge --help": ["-m", "mattebridge", "--help"],
    "mattebridge matte --help": ["-m", "mattebridge", "matte", "--help"],
}


def imported(statement):
    code = IMPORT.format(statement)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout) * 1000


def ran(arguments):
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    return (time.perf_counter() - started) * 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    figures = {name: [] for name in (*IMPORTS, *COMMANDS)}
    for _ in range(runs):  # in turn, so that noise falls on all alike
        for name, statement in IMPORTS.items():
            figures[name].append(imported(statement))
        for name, arguments in COMMANDS.items():
            figures[name].append(ran(arguments))
    bare = statistics.median(figures["python -c pass"])
    for name, times in figures.items():
        middle = statistics.median(times)
        print(f"{name:<34} {middle:7.1f} ms   {middle / bare:5.2f} of a bare Python   (best {min(times):.1f})")


if __name__ == "__main__":
    main()
