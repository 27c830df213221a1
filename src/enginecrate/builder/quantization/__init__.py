"""Quantisation with accuracy: calibration first, then recovery where the gate is failed.

`calibration` chooses ranges from photos, `recovery` makes the graph that passes, `speed` compares
it with FP32. Graphs use all of it; `enginecrate calibrate` uses calibration.
"""
