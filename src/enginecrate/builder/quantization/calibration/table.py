"""The calibration table: a file that says what was seen, of what, and how ranges were chosen."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

import msgspec

from enginecrate.errors import CalibrationInvalid
from enginecrate.graph.ranges import Range
from enginecrate.values import Digest

__all__ = ["FORMAT", "CalibrationTable", "Method", "TableKey", "load_table"]

FORMAT = 1
"""Raised when tables change their meaning: older ones are then made again."""

Method = Literal["minmax", "entropy", "percentile"]
Ends = tuple[float, float]


class TableKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a table was made of: equal keys give equal tables.

    model: the file that the vendor gave. graph: what was executed, after simplification.
    pipeline: the `[pipeline]` section, and the files of the vendor's own class.
    photos: all photos together; names and order do not count.
    percentile: 0 for other methods.
    """

    format: int = FORMAT
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
        """For `graph.quantize.quantize`."""
        return {name: Range(*ends) for name, ends in self.chosen.items()}

    @property
    def observed(self) -> dict[str, Range]:
        """For `graph.overflow.overflowing`."""
        unknown = (-math.inf, math.inf)
        return {name: Range(*(ends or unknown)) for name, ends in self.seen.items()}

    @cached_property
    def digest(self) -> Digest:
        """Of the table's file."""
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
    if table.key.format != FORMAT:
        raise CalibrationInvalid(
            f"{path} has the format {table.key.format}, and this version reads {FORMAT}; "
            "calibrate again"
        )
    return table
