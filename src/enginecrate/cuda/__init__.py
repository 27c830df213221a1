"""NVIDIA's driver and its management library (NVML), called by ctypes: no CUDA toolkit, no package.

Inside: the device and its context, memory, streams and events, modules, recorded graphs, lost GPUs.
It stands on the ground floor alone; `engines`, `pipelines`, `stacks`, `bench`, `server` may use it.
"""
