"""The TensorRT module: imported late, typed, with its line of the table."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from enginecrate.engines.tensorrt.capabilities import Capabilities, capabilities_of
from enginecrate.errors import BackendUnavailable

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["Api", "Library", "load_library"]

_MODULES: Mapping[str, tuple[str, ...]] = {
    "tensorrt": ("tensorrt",),
    # Without its meta-package, TensorRT-RTX bears the name of its bindings.
    "tensorrt_rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}
_EXTRAS: Mapping[str, str] = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}


class Api(Protocol):
    """The part of the module that is used, with the types of TensorRT 10.13 (`stubs/tensorrt`)."""

    __version__: str
    Builder: type[trt.Builder]
    BuilderFlag: type[trt.BuilderFlag]
    HardwareCompatibilityLevel: type[trt.HardwareCompatibilityLevel]
    ILogger: type[trt.ILogger]
    IOutputAllocator: type[trt.IOutputAllocator]
    IProgressMonitor: type[trt.IProgressMonitor]
    LayerInformationFormat: type[trt.LayerInformationFormat]
    MemoryPoolType: type[trt.MemoryPoolType]
    NetworkDefinitionCreationFlag: type[trt.NetworkDefinitionCreationFlag]
    OnnxParser: type[trt.OnnxParser]
    OnnxParserRefitter: type[trt.OnnxParserRefitter]
    ProfilingVerbosity: type[trt.ProfilingVerbosity]
    Refitter: Any
    Runtime: type[trt.Runtime]
    TensorIOMode: type[trt.TensorIOMode]

    def init_libnvinfer_plugins(self, logger: trt.ILogger, namespace: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Library:
    """A module with what it can do.

    api: the module, as the type checker sees it.
    only_rtx: the same module, for what TensorRT-RTX alone has and the stubs do not know.
    """

    name: str
    version: str
    api: Api
    can: Capabilities

    @property
    def only_rtx(self) -> Any:
        return self.api


def load_library(backend: str) -> Library:
    """Import the module of a backend, `tensorrt` or `tensorrt_rtx`.

    Raises:
        BackendUnavailable: it is not installed, does not load, or is of an unknown version.
    """
    cure = f"pip install 'enginecrate[{_EXTRAS[backend]}]'"
    problem = f"{backend} is not installed; install it with: {cure}"
    for name in _MODULES[backend]:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as exc:
            if exc.name != name:  # it is there, and something that it needs is not
                problem = f"{name} does not load ({exc}); install it again with: {cure}"
            continue
        except Exception as exc:  # a broken shared library raises whatever it likes
            problem = f"{name} does not load ({exc}); install it again with: {cure}"
            continue
        if hasattr(module, "Builder"):  # type stubs alone leave an empty namespace behind
            version = str(module.__version__)
            return Library(backend, version, cast(Api, module), capabilities_of(backend, version))
    raise BackendUnavailable(problem)
