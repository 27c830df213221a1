"""One GPU through cuda-python: memory, a stream, copies, recorded work; errors in CUDA's words.

Functions are of the CUDA Runtime API reference (docs.nvidia.com/cuda/cuda-runtime-api). Calls let
go of the GIL.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from enginecrate.errors import BackendUnavailable, EngineRunFailed
from enginecrate.values import Array

__all__ = ["Buffer", "Cuda", "Pinned", "cuda_runtime"]

_ALIGNED = 256


def cuda_runtime() -> Any:
    """The module `cuda.bindings.runtime`. Raises `BackendUnavailable`."""
    try:
        from cuda.bindings import runtime  # type: ignore[import-not-found,import-untyped,unused-ignore]  # fmt: skip
    except ImportError as exc:
        raise BackendUnavailable(
            f"cuda-python cannot be imported ({exc}); install it with: "
            "pip install 'enginecrate[tensorrt-rtx]'"
        ) from exc
    return runtime


class Cuda:
    """A GPU with one stream of ours. `close` gives the stream back; used by one thread at a time.

    Attributes:
        device: number of the GPU.
        stream: address of the stream.
    """

    def __init__(self, device: int, name: str) -> None:
        """Raises `BackendUnavailable` without cuda-python, `EngineRunFailed` when CUDA fails."""
        self.device = device
        self._name = name
        self._runtime = cuda_runtime()
        self._open = True
        self.activate()
        flags = self._runtime.cudaStreamNonBlocking
        self._stream = self.call("cudaStreamCreateWithFlags", flags)
        self.stream = int(self._stream)

    def activate(self) -> None:
        """Make this GPU the current one of the calling thread: every thread has its own."""
        self.call("cudaSetDevice", self.device)

    def call(self, name: str, *arguments: Any, wanted: int = 0) -> Any:
        """Call a function of the runtime; its one result, a tuple of several, or `None`.

        Args:
            name: of the function.
            arguments: for it.
            wanted: bytes that were asked for, for the message.

        Raises:
            EngineRunFailed: with CUDA's own words; an exhausted memory is named with figures.
        """
        try:
            status, *results = getattr(self._runtime, name)(*arguments)
        except RuntimeError as exc:  # cuda-python found no library to load
            raise EngineRunFailed(f"CUDA cannot be loaded: {exc}; install the driver") from exc
        if status == self._runtime.cudaError_t.cudaSuccess:
            return results[0] if len(results) == 1 else (tuple(results) or None)
        if status == self._runtime.cudaError_t.cudaErrorMemoryAllocation:
            raise EngineRunFailed(self._exhausted(wanted))
        raise EngineRunFailed(
            f"GPU {self.device} ({self._name}) failed in {name}: {self._words(status)}; run "
            "`enginecrate doctor`, and start the server again when it persists"
        )

    def copy_in(self, pointer: int, source: int, size: int) -> None:
        """From the host, in the stream."""
        self._copy(pointer, source, size, self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice)

    def copy_out(self, target: int, pointer: int, size: int) -> None:
        """To the host, in the stream."""
        self._copy(target, pointer, size, self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost)

    def copy_across(self, target: int, source: int, size: int) -> None:
        """Within the GPU, in the stream."""
        self._copy(target, source, size, self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToDevice)

    def copy_to_array(self, array: Array, pointer: int) -> None:
        """To an array on the host, finished when it returns."""
        self.activate()
        self.copy_out(array.ctypes.data, pointer, array.nbytes)
        self.wait()

    def wait(self) -> None:
        """Until everything in the stream is done."""
        self.call("cudaStreamSynchronize", self._stream)

    def wait_for(self, stream: int | None) -> None:
        """Until the work of somebody else's stream is done; `None`: there is none."""
        if stream is not None:
            self.call("cudaStreamSynchronize", stream)

    def record(self, work: Callable[[], None]) -> Any:
        """Record what `work` puts into the stream, without running it: an executable graph.

        Raises:
            EngineRunFailed: the work cannot be recorded; the stream is usable again.
        """
        mode = self._runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self.call("cudaStreamBeginCapture", self._stream, mode)
        graph = None
        try:
            try:
                work()
            finally:  # also ends a recording that a forbidden call has spoilt
                graph = self.call("cudaStreamEndCapture", self._stream)
            return self.call("cudaGraphInstantiate", graph, 0)
        finally:
            if graph is not None:
                self.call("cudaGraphDestroy", graph)

    def play(self, graph: Any) -> None:
        """Run a recorded graph in the stream."""
        self.call("cudaGraphLaunch", graph, self._stream)

    def forget(self, graph: Any) -> None:
        """Free a recorded graph."""
        self.call("cudaGraphExecDestroy", graph)

    def close(self) -> None:
        """Free the stream. A second call does nothing."""
        if self._open:
            self._open = False
            self.activate()
            self.call("cudaStreamDestroy", self._stream)

    def _copy(self, target: int, source: int, size: int, kind: Any) -> None:
        if size:
            self.call("cudaMemcpyAsync", target, source, size, kind, self._stream)

    def _words(self, status: Any) -> str:
        error, text = self._runtime.cudaGetErrorString(status)
        known = error == self._runtime.cudaError_t.cudaSuccess
        words = text.decode(errors="replace") if known and isinstance(text, bytes) else status.name
        return f"{words} ({status.name})"

    def _exhausted(self, wanted: int) -> str:
        # The error stays until it is read once more, and would be blamed on the next call.
        self._runtime.cudaGetLastError()
        error, *sizes = self._runtime.cudaMemGetInfo()
        known = error == self._runtime.cudaError_t.cudaSuccess
        state = f"{sizes[0]:,} of {sizes[1]:,} bytes are free" if known else "it is full"
        asked = f"{wanted:,} bytes are needed, and " if wanted else ""
        return (
            f"GPU {self.device} ({self._name}) is out of memory: {asked}{state}; use fewer "
            "instances or smaller batches, or end what else runs on it"
        )


class Buffer:
    """Memory on the GPU that grows when needed. Its content does not survive that."""

    def __init__(self, cuda: Cuda) -> None:
        """Nothing is allocated yet."""
        self._cuda = cuda
        self.pointer = 0
        self.size = 0

    def reserve(self, size: int) -> bool:
        """Make room for `size` bytes; whether the address has changed.

        Raises:
            EngineRunFailed: the memory does not suffice.
        """
        if self.pointer and size <= self.size:
            return False
        self.free()
        rounded = max(_ALIGNED, -(-size // _ALIGNED) * _ALIGNED)  # an empty tensor has an address
        self.pointer = int(self._cuda.call("cudaMalloc", rounded, wanted=rounded))
        self.size = rounded
        return True

    def free(self) -> None:
        """Give it back. A second call does nothing."""
        if self.pointer:
            pointer, self.pointer, self.size = self.pointer, 0, 0
            self._cuda.call("cudaFree", pointer)


class Pinned:
    """Page-locked memory of the host, for copies that run beside other work; grows when needed."""

    def __init__(self, cuda: Cuda) -> None:
        """Nothing is allocated yet."""
        self._cuda = cuda
        self.pointer = 0
        self._size = 0

    def reserve(self, size: int) -> None:
        """Make room for `size` bytes. Raises `EngineRunFailed`."""
        if self.pointer and size <= self._size:
            return
        self.free()
        rounded = max(_ALIGNED, size)
        self.pointer = int(self._cuda.call("cudaMallocHost", rounded, wanted=rounded))
        self._size = rounded

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Its bytes as an array, valid until the next `reserve` or `free`."""
        count = int(np.prod(shape, dtype=np.int64))
        self.reserve(count * dtype.itemsize)
        raw: Any = (ctypes.c_char * (count * dtype.itemsize)).from_address(self.pointer)
        array: Array = np.frombuffer(raw, np.uint8).view(dtype).reshape(shape)
        return array

    def free(self) -> None:
        """Give it back. A second call does nothing."""
        if self.pointer:
            pointer, self.pointer, self._size = self.pointer, 0, 0
            self._cuda.call("cudaFreeHost", pointer)
