"""Calibration: the ranges that a model's activations take on photos of its app.

`run` obtains the table, `passes` look at the photos, `collectors` and `thresholds` choose ranges.
Builder, `enginecrate calibrate` and calibration on site use the names here; the modules are for
this room, but for `observer`, which the activations' statistics use, too.
"""

from enginecrate.builder.quantization.calibration.run import (
    FEW_PHOTOS,
    RECOMMENDED_PHOTOS,
    ObtainedTable,
    calibrate,
    obtain_table,
)
from enginecrate.builder.quantization.calibration.table import CalibrationTable, load_table

__all__ = [
    "FEW_PHOTOS",
    "RECOMMENDED_PHOTOS",
    "CalibrationTable",
    "ObtainedTable",
    "calibrate",
    "load_table",
    "obtain_table",
]
