"""The files of a calibration: its table, and the state that an interrupted one goes on from."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from enginecrate.builder.quantization.calibration.collectors import Collector
from enginecrate.errors import CalibrationInvalid
from enginecrate.files.private_folder import write_ours
from enginecrate.graph.quantize.ranges import Range
from enginecrate.values import Digest

__all__ = ["CalibrationTable", "Method", "StateFile", "TableKey", "load_table"]

_FORMAT = 1
"""Raised when tables change their meaning: older ones are then made again."""

Method = Literal["minmax", "entropy", "percentile"]
Ends = tuple[float, float]


class TableKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The inputs of a table: equal keys give equal tables.

    model: the file that the vendor gave. graph: what was executed, after simplification.
    pipeline: the `[pipeline]` section, and the files of the vendor's own class.
    photos: all photos together; names and order do not count.
    percentile: 0 for other methods.
    """

    format: int = _FORMAT
    model: str
    graph: str
    pipeline: str
    photos: str
    method: Method
    percentile: float = 0.0

    @property
    def digest(self) -> Digest:
        """The table's name in the cache."""
        return Digest.of(msgspec.json.encode(self, order="sorted"))


class CalibrationTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True,
                       dict=True):  # fmt: skip
    """The ranges of one model on one set of photos.

    photos: how many were used. copies: how many of them are changed copies of others.
    chosen: for each activation that can be quantised, the range that the method chose.
    seen: for each FP32 activation its smallest and largest value; `None`: NaN or infinity.
    """

    key: TableKey
    photos: int
    copies: int
    chosen: Mapping[str, Ends]
    seen: Mapping[str, Ends | None]

    @property
    def ranges(self) -> dict[str, Range]:
        """For `graph.quantize.quantize.quantize`."""
        return {name: Range(*ends) for name, ends in self.chosen.items()}

    @property
    def observed(self) -> dict[str, Range]:
        """For `graph.cast.overflow.overflowing`."""
        unknown = (-math.inf, math.inf)
        return {name: Range(*(ends or unknown)) for name, ends in self.seen.items()}

    @cached_property
    def digest(self) -> Digest:
        """The digest of the table's file."""
        return Digest.of(self.encode())

    def encode(self) -> bytes:
        """The file: JSON with sorted keys, every number in as few digits as give it back."""
        document = msgspec.to_builtins(self)
        return (json.dumps(document, sort_keys=True, indent=1) + "\n").encode("ascii")

    def check(self, *, graph: Digest, pipeline: Digest) -> None:
        """Refuse a table that was made for something else.

        Raises:
            CalibrationInvalid: the model, its simplified graph or the pipeline is another one.
        """
        for what, mine, other in (
            ("graph", self.key.graph, graph),
            ("pipeline", self.key.pipeline, pipeline),
        ):
            if mine != other:
                raise CalibrationInvalid(
                    f"the calibration table was made for another {what} ({mine[:19]}..., here "
                    f"{other[:19]}...); calibrate again: enginecrate calibrate"
                )


def load_table(path: Path) -> CalibrationTable:
    """Read a table.

    Raises:
        CalibrationInvalid: there is no such file, or it is not a table of this format.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise CalibrationInvalid(
            f"cannot read the calibration table {path}: {exc.strerror}; make it with: "
            "enginecrate calibrate --output FILE"
        ) from exc
    try:
        table = msgspec.json.decode(data, type=CalibrationTable)
    except msgspec.DecodeError as exc:
        raise CalibrationInvalid(
            f"{path} is not a calibration table, or is damaged: {exc}; calibrate again"
        ) from exc
    if table.key.format != _FORMAT:
        raise CalibrationInvalid(
            f"{path} has the format {table.key.format}, and this version reads {_FORMAT}; "
            "calibrate again"
        )
    return table


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
        saved = self._passes.get(_name(collector))
        sizes = [array.nbytes for array in collector.arrays]
        if saved is None or [len(data) for data in saved.arrays] != sizes:
            return 0
        for array, data in zip(collector.arrays, saved.arrays, strict=True):
            array[...] = np.frombuffer(data, array.dtype).reshape(array.shape)
        return saved.done

    def save(self, collector: Collector, done: int) -> None:
        """Write all passes down.

        Raises:
            CacheUnusable: the file cannot be written; as `CacheFull` when the disk is full.
        """
        arrays = tuple(array.tobytes() for array in collector.arrays)
        self._passes[_name(collector)] = _Pass(_name(collector), done, arrays)
        data = msgspec.msgpack.encode(list(self._passes.values()))
        write_ours(self._path, data, "the calibration so far")

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
