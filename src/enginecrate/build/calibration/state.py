"""What a calibration that was interrupted goes on from."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec
import numpy as np

from enginecrate.builder.quantization.calibration.collectors import Collector
from enginecrate.files.atomic import write_atomic
from enginecrate.files.disk_errors import write_refused
from enginecrate.values import Digest

__all__ = ["StateFile"]


class _Pass(msgspec.Struct, frozen=True):
    """A pass over the photos, how many of them it has behind it, and what it collected."""

    what: str
    done: int
    arrays: tuple[bytes, ...]


class StateFile:
    """The finished passes of one calibration, and the one that is under way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._passes = self._load()

    def restore(self, collector: Collector) -> int:
        """Fill a collector with what was collected before.

        Returns:
            How many photos that comes from.
        """
        found = self._passes.get(_name(collector))
        sizes = [array.nbytes for array in collector.arrays]
        if found is None or [len(data) for data in found.arrays] != sizes:
            return 0
        for array, data in zip(collector.arrays, found.arrays, strict=True):
            array[...] = np.frombuffer(data, array.dtype).reshape(array.shape)
        return found.done

    def save(self, collector: Collector, done: int) -> None:
        """Write all passes down.

        Raises:
            CacheUnusable: the file cannot be written; as `CacheFull` when the disk is full.
        """
        arrays = tuple(array.tobytes() for array in collector.arrays)
        self._passes[_name(collector)] = _Pass(_name(collector), done, arrays)
        data = msgspec.msgpack.encode(list(self._passes.values()))
        try:
            write_atomic(self._path, data)
        except OSError as exc:
            folder = self._path.parent
            raise write_refused("the calibration so far", folder, exc, len(data)) from exc

    def remove(self) -> None:
        """The calibration is finished."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _load(self) -> dict[str, _Pass]:
        try:
            passes = msgspec.msgpack.decode(self._path.read_bytes(), type=list[_Pass])
        except (OSError, msgspec.DecodeError):  # none, or not readable: begin anew
            return {}
        return {one.what: one for one in passes}


def _name(collector: Collector) -> str:
    return str(Digest.of(collector.what.encode()))
