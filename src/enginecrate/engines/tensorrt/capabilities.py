"""Capabilities of each version of TensorRT. Versions differ nowhere else.

Every name here was compared with the real Python bindings of 8.6.1, 10.0, 10.3, 10.16, 11.4 and
RTX 1.7 (`tests/engines/tensorrt_api.json`); docs/tensorrt.md shows the table for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from enginecrate.errors import BackendUnavailable

__all__ = ["Capabilities", "capabilities_of"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One line of the table.

    network_flags: names of `NetworkDefinitionCreationFlag` for a network of explicit batches whose
        types are those of the graph.
    precision_flags: ONNX element type -> the `BuilderFlag` that permits it; empty where the graph
        alone decides (strongly typed networks).
    device_memory: the property of an engine with the bytes of memory that it needs on the device.
    hardware_levels: our names of the levels of hardware compatibility that it offers.
    version_compatible: newer versions can run plans that were built so.
    strip_plan: it can leave the weights out; `strip_needs_gpu`: only where there is a GPU.
    timing_cache: it measures kernels on the GPU while it builds, and can reuse the measurements.
    timing_cache_miss: it can fail by itself when the cache lacks a measurement.
    targets: a plan is built for named compute capabilities, without their GPU.
    progress_monitor: it tells how far it is, and can be stopped.
    node_names: parser errors carry the name of the node.
    validity_check: the header of a plan can be checked before it is loaded.
    runtime_cache: kernels that are compiled at run time can be kept in a file.
    """

    network_flags: tuple[str, ...]
    precision_flags: Mapping[str, str]
    device_memory: str
    hardware_levels: tuple[Literal["ampere_plus", "same_compute_capability"], ...]
    version_compatible: bool = True
    strip_plan: bool = True
    strip_needs_gpu: bool = False
    timing_cache: bool = True
    timing_cache_miss: bool = True
    targets: bool = False
    progress_monitor: bool = True
    node_names: bool = True
    validity_check: bool = False
    runtime_cache: bool = False


_TENSORRT_10 = Capabilities(
    network_flags=("STRONGLY_TYPED",),
    precision_flags={},
    device_memory="device_memory_size",
    hardware_levels=("ampere_plus", "same_compute_capability"),
)

# TensorRT 8.6, "Working with Quantized Types" and `BuilderFlag`: no strongly typed networks yet.
_TENSORRT_8 = replace(
    _TENSORRT_10,
    network_flags=("EXPLICIT_BATCH",),
    precision_flags={"FLOAT16": "FP16", "INT8": "INT8"},
    hardware_levels=("ampere_plus",),
    strip_plan=False,
    timing_cache_miss=False,
    progress_monitor=False,
    node_names=False,
)

# TensorRT 11, release notes: every network is strongly typed, and the flag does nothing.
_TENSORRT_11 = replace(_TENSORRT_10, network_flags=(), device_memory="device_memory_size_v2")

# TensorRT-RTX compiles for named GPUs and tunes on the customer's; its builder warns that
# hardware compatibility levels are unsupported, and has no lean runtime.
_TENSORRT_RTX = replace(
    _TENSORRT_11,
    hardware_levels=(),
    version_compatible=False,
    strip_needs_gpu=True,
    timing_cache=False,
    timing_cache_miss=False,
    targets=True,
    validity_check=True,
    runtime_cache=True,
)

_TABLE: Mapping[tuple[str, int], Capabilities] = {
    ("tensorrt", 8): _TENSORRT_8,
    ("tensorrt", 10): _TENSORRT_10,
    ("tensorrt", 11): _TENSORRT_11,
    ("tensorrt_rtx", 1): _TENSORRT_RTX,
}


def capabilities_of(backend: str, version: str) -> Capabilities:
    """The line for a module.

    Args:
        backend: `tensorrt` or `tensorrt_rtx`.
        version: the module's `__version__`, for example `10.16.1.11`.

    Raises:
        BackendUnavailable: this version of the tool does not know that version.
    """
    major, _, rest = version.partition(".")
    known = (backend, int(major)) if major.isdigit() else (backend, 0)
    old = known == ("tensorrt", 8) and int(rest.partition(".")[0] or 0) < 6
    if known not in _TABLE or old:
        takes = {"tensorrt": "8.6, 10 or 11", "tensorrt_rtx": "1"}[backend]
        raise BackendUnavailable(
            f"{backend} {version} is not supported; install version {takes}, or a stack's own "
            "packages (`enginecrate stacks`)"
        )
    return _TABLE[known]
