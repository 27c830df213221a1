"""One adapter for TensorRT 8.6, 10 and 11, and for TensorRT-RTX."""
