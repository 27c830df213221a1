"""ONNX in, ONNX out: models are read, described, simplified, cast and quantised as graphs.

`typed` defines the graph that carries its precision, `description` all that `enginecrate inspect`
tells. Builder and engines use it; no room here needs a GPU or a backend.
"""
