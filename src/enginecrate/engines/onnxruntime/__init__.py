"""onnxruntime on the CPU and on NVIDIA GPUs: one backend, two engines.

Inside: sessions and their options, buffers and memory on the device, recorded graphs.
`engines/backends.py` names the backend; `builder` also runs graphs here that are not plans yet.
"""
