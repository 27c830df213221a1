"""Calibration: the values that a model's activations take on photos of its app."""

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
