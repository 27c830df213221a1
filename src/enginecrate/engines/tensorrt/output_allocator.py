"""Outputs whose shapes depend on values: TensorRT asks for their memory while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from enginecrate.cuda.memory import Buffer
from enginecrate.engines.tensorrt.bindings import Api
from enginecrate.errors import EngineRunFailed

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["Allocated", "make_allocator"]


class Allocated(Protocol):
    """An allocator of ours. shape: as TensorRT announced it; failure: why there was no memory."""

    shape: tuple[int, ...] | None
    failure: EngineRunFailed | None


def make_allocator(api: Api, buffer: Buffer) -> trt.IOutputAllocator:
    """An allocator for one output, an `Allocated`, too. It puts the output into `buffer`."""
    base: Any = api.IOutputAllocator

    class Allocator(base):  # type: ignore[misc]  # the base is known when it runs
        def __init__(self) -> None:
            base.__init__(self)
            self.shape: tuple[int, ...] | None = None
            self.failure: EngineRunFailed | None = None

        def reallocate_output(self, name: str, memory: int, size: int, alignment: int) -> int:
            try:
                buffer.reserve(size)
            except EngineRunFailed as exc:  # through C++, an exception would end the process
                self.failure = exc
                return 0
            return buffer.pointer

        def reallocate_output_async(
            self, name: str, memory: int, size: int, alignment: int, stream: int
        ) -> int:
            return int(self.reallocate_output(name, memory, size, alignment))

        def notify_shape(self, name: str, shape: Any) -> None:
            self.shape = tuple(int(size) for size in shape)

    allocator: trt.IOutputAllocator = Allocator()
    return allocator
