"""Backends by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from enginecrate.engines.base import Backend
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.engines.tensorrt.backend import tensorrt_backend, tensorrt_rtx_backend
from enginecrate.errors import BackendUnknown, nearest

__all__ = ["BACKENDS", "get_backend"]

BACKENDS: Mapping[str, Callable[[], Backend]] = {
    "onnxruntime": OnnxRuntimeBackend,
    "tensorrt": tensorrt_backend,
    "tensorrt_rtx": tensorrt_rtx_backend,
}
"""Backends that this version can build and run plans with."""


def get_backend(name: str) -> Backend:
    """The backend of this name.

    Raises:
        BackendUnknown: this version has none of this name.
    """
    try:
        make = BACKENDS[name]
    except KeyError:
        raise BackendUnknown(
            f"this version has no backend {name!r}{nearest(name, BACKENDS)}; "
            f"it has: {', '.join(sorted(BACKENDS))}"
        ) from None
    return make()
