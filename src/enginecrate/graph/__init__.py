"""ONNX in, ONNX out: read, check, describe and simplify a model."""
