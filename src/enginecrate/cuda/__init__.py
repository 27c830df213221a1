"""NVIDIA's driver and its management library, called by ctypes: no CUDA toolkit, no package."""
