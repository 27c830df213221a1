"""NVIDIA's libraries without a GPU: real shared libraries, compiled from `fixtures/driver`.

They check our calls: symbols, types of arguments, contexts of threads, handles; and they fail when
told to. They prove nothing about NVIDIA's own; `tests/gpu` does that.
"""

import ctypes
import subprocess
from pathlib import Path

from enginecrate.cuda.device import Device
from enginecrate.cuda.driver import Driver

SOURCES = Path(__file__).parent / "fixtures" / "driver"


def compiled(source: str, library: Path, *flags: str) -> Path:
    """A file of `fixtures/driver` as a shared library."""
    command = ["gcc", "-shared", "-fPIC", "-O1", *flags, "-o", library, SOURCES / source]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return library


class FakeDriver:
    """The driver with two GPUs of 1 GiB each, 9.0 and 9.1, and what it was asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fake = ctypes.CDLL(str(path))
        self._fake.fake_log.restype = ctypes.c_char_p
        self._fake.fake_used.restype = ctypes.c_ulong
        self._fake.fake_reset()

    def start(self) -> Driver:
        return Driver(str(self.path))

    def device(self, number: int = 0) -> Device:
        return Device(number, self.start())

    def has(self, devices: int) -> None:
        """So many GPUs."""
        self._fake.fake_devices(devices)

    def refuse_to_start(self, status: int) -> None:
        self._fake.fake_init(status)

    def fail(self, symbol: str, status: int) -> None:
        """The next call of this symbol fails."""
        self._fake.fake_fail(symbol.encode(), status)

    def lose(self, status: int) -> None:
        """From now on, everything fails."""
        self._fake.fake_break(status)

    def hold(self, on: bool) -> None:
        """Work stays unfinished; who waits for it longer than 5 s fails with status 702."""
        self._fake.fake_hold(int(on))

    @property
    def live(self) -> int:
        """Memory, streams, events, graphs and modules that were not given back."""
        return int(self._fake.fake_live())

    @property
    def used(self) -> int:
        """Bytes on the GPUs."""
        return int(self._fake.fake_used())

    @property
    def log(self) -> list[str]:
        return str(self._fake.fake_log().decode()).splitlines()
