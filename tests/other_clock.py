"""A clock that is years ahead: Debian's faketime, unpacked, not installed."""

import subprocess
from pathlib import Path


def other_clock(folder: Path) -> dict[str, str]:
    """Environment variables that make a program see May 2031.

    folder: for the library; it must not exist, and every user may read it afterwards.
    """
    folder.mkdir()
    subprocess.run(
        ["apt-get", "download", "libfaketime"], cwd=folder, check=True, capture_output=True
    )
    (package,) = folder.glob("libfaketime*.deb")
    subprocess.run(["dpkg", "-x", package, folder], check=True)
    (library,) = folder.rglob("libfaketimeMT.so.1")
    # A clock that stands still for timeouts, too, would let every wait last for ever.
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": "@2031-05-06 07:08:09",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
