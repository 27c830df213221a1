#!/usr/bin/python3.11 -I
"""The program of an image. Packed as it is: `/opt/enginecrate/bin/enginecrate`.

The packages lie in `../lib`. As a container's first process it becomes init before anything is
imported, so that a signal ends the container while it still starts.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys


def main() -> int:
    """Run the program. Returns the exit code."""
    place = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    sys.path.append(os.path.join(place, "lib"))
    # Processes that this one starts look for packages where this one does, and nowhere else.
    os.environ["PYTHONNOUSERSITE"] = "1"
    if os.getpid() == 1:
        importlib.import_module("enginecrate.cli.init_process").become_init()
    # Ctrl-C while modules are imported is no error to show.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    run = importlib.import_module("enginecrate.cli.entrypoint").main
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code: int = run()
    return code


if __name__ == "__main__":
    sys.exit(main())
