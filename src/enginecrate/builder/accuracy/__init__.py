"""Accuracy: how far a graph or a plan agrees with the model as it was given, and with the truth.

`exam` is what each must pass: `evaluation` against the FP32 reference, `labelled` against labelled
photos. Graphs, quantization and proof use it; the report shows its figures.
"""
