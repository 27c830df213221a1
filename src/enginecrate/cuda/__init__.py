"""NVIDIA's driver by ctypes: devices, memory, and its management library."""
