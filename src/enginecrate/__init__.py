"""Enginecrate: from an ONNX model to a proven, deployable inference server."""

__version__ = "0.1.0"
