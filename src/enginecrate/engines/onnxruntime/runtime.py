"""The library onnxruntime: imported late, quiet, without telemetry, with CUDA where it is."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from enginecrate.errors import BackendUnavailable

__all__ = ["CPU", "CUDA", "cuda_refusal", "load_runtime", "out_of_memory", "plain_message"]

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"

_FATAL = 4
"""Every error comes as an exception, too; cuDNN's search logs each kernel that does not fit."""
_LIBRARIES = ("cudart", "nvrtc", "cublasLt", "cublas", "curand", "cufft", "cudnn")
"""Libraries that the CUDA provider is linked with, each after those that it needs itself."""

_MEMORY = re.compile(
    r"out of memory|failed to allocate memory|bad_alloc|STATUS_ALLOC_FAILED"
    r"|MEMORY_ALLOCATION|available memory of .* is smaller than requested",
    re.IGNORECASE,
)


@cache
def load_runtime() -> Any:
    """onnxruntime, imported late and with its telemetry off.

    The official builds send usage data to their maker unless this variable is set before the
    library starts (onnxruntime's Privacy.md, section "Disabling Telemetry").

    Raises:
        BackendUnavailable: it is not installed, or cannot be loaded.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    ours = "onnxruntime" not in sys.modules
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError as exc:
        raise BackendUnavailable(
            f"onnxruntime cannot be imported ({exc}); install it with: pip install onnxruntime"
        ) from exc
    onnxruntime.disable_telemetry_events()
    if ours:  # whoever imported it before us has chosen a log level, or wants the default one
        onnxruntime.set_default_logger_severity(_FATAL)
    return onnxruntime


@cache
def cuda_refusal() -> str:
    """The reason why onnxruntime's CUDA provider cannot be loaded, and the cure; empty when it can.

    CUDA's and cuDNN's libraries are loaded from the Python packages `nvidia-*` where these are
    installed; else the system's loader finds them, or not. onnxruntime itself would only log the
    failure, and run everything on the CPU.
    """
    runtime = load_runtime()
    if CUDA not in runtime.get_available_providers():
        return (
            f"onnxruntime {runtime.__version__} was built without CUDA; replace it: pip uninstall "
            "onnxruntime && pip install 'enginecrate[cuda]'"
        )
    _preload(_site_folders())
    capi = Path(runtime.__file__).parent / "capi"
    try:
        ctypes.CDLL(str(capi / "libonnxruntime_providers_shared.so"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(capi / "libonnxruntime_providers_cuda.so"))
    except OSError as exc:
        need = getattr(runtime, "cuda_version", "")
        return (
            f"the CUDA provider of onnxruntime {runtime.__version__} cannot be loaded: {exc}; it "
            f"needs CUDA {need} and cuDNN 9: install the packages nvidia-cudnn-cu{need[:2]}, "
            "nvidia-cublas, nvidia-cufft, nvidia-curand, nvidia-cuda-nvrtc and "
            "nvidia-cuda-runtime, or add their folder to LD_LIBRARY_PATH"
        )
    return ""


def plain_message(error: Exception) -> str:
    """The message on one line, without the prefix `[ONNXRuntimeError] : 1 : FAIL : `."""
    text = " ".join(str(error).split())
    parts = text.split(" : ", 3)
    return parts[3] if parts[0] == "[ONNXRuntimeError]" and len(parts) == 4 else text


def out_of_memory(error: Exception) -> bool:
    """True when onnxruntime, CUDA, cuDNN or cuBLAS ran out of memory."""
    return isinstance(error, MemoryError) or bool(_MEMORY.search(str(error)))


def _site_folders() -> list[Path]:
    """Folders of libraries in the Python packages `nvidia-*`."""
    return [
        folder
        for entry in sys.path
        for folder in sorted((Path(entry or ".") / "nvidia").glob("*/lib"))
    ]


def _preload(folders: list[Path]) -> None:
    for path in _candidates(folders):
        try:
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue  # the provider itself then says what is missing


def _candidates(folders: list[Path]) -> Iterator[Path]:
    for library in _LIBRARIES:
        for folder in folders:
            yield from sorted(folder.glob(f"lib{library}.so.*"))[:1]
