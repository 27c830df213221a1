"""Accuracy: how far a graph or a plan agrees with the model as it was given, and with the truth.

`evaluation_set` holds the photos; `evaluation` compares with the FP32 reference, `labelled` with
labelled photos. Graphs, quantization and proof use it; the report shows its figures.
"""
