"""ONNX models as files: read, checked, written, with external weights, names, types and shapes.

`model` reads one and gives it a digest. All of `graph`, engines and builder use this room.
"""
