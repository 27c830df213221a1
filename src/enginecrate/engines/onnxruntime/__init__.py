"""onnxruntime on the CPU and on NVIDIA GPUs: one backend, two engines."""
