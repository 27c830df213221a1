"""INT8 and FP8: quantise/dequantise pairs are placed, scaled and written, and weights are rounded.

`quantize` is the entry for the builder, with `ranges` from calibration; `refinement` and `rounding`
make weights that lose less.
"""
