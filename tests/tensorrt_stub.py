"""Stands for TensorRT's runtime, to try what our side does around it without a GPU.

It records what it is told, and proves nothing about TensorRT: `StubContext` computes y = x + 1 in
the host's memory, and `HostGpu` is a GPU whose memory is the host's.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from enginecrate.engines.tensorrt.bindings import Library
from enginecrate.engines.tensorrt.capabilities import capabilities_of
from enginecrate.errors import EngineRunFailed


class HostGpu:
    """Has the methods of `cuda`'s `Stream` and of its `Device`. calls: what happened, in order."""

    number = 0
    handle = 77

    def __init__(self) -> None:
        self.device = self
        self.calls: list[str] = []
        self.buffers: dict[int, Any] = {}
        self.recordable = True
        self.limit = 10**9

    def activate(self) -> None:
        pass

    def available(self) -> int:
        return self.limit

    def allocate(self, size: int) -> int:
        if size > self.limit:
            raise EngineRunFailed(f"GPU 0 is out of memory: {size} bytes are needed")
        buffer = (ctypes.c_char * size)()
        self.buffers[ctypes.addressof(buffer)] = buffer
        return ctypes.addressof(buffer)

    allocate_pinned = allocate

    def free(self, pointer: int) -> None:
        del self.buffers[pointer]

    free_pinned = free

    def copy_in(self, pointer: int, source: int, size: int) -> None:
        ctypes.memmove(pointer, source, size)

    copy_out = copy_across = copy_in

    def copy_to_array(self, array: Any, pointer: int) -> None:
        ctypes.memmove(array.ctypes.data, pointer, array.nbytes)

    def wait(self) -> None:
        pass

    def wait_for(self, stream: int | None) -> None:
        self.calls.append(f"wait for {stream}")

    def capture(self, work: Callable[[], None]) -> "HostGraph":
        if not self.recordable:
            raise EngineRunFailed("the work cannot be recorded")
        self.calls.append("record")
        return HostGraph(self.calls, work)

    def close(self) -> None:
        self.calls.append("close")


@dataclass
class HostGraph:
    """Has the methods of `cuda.graphs.Graph`."""

    calls: list[str]
    work: Callable[[], None]

    def launch(self) -> None:
        self.calls.append("play")
        self.work()

    def close(self) -> None:
        self.calls.append("forget")


@dataclass
class StubContext:
    """y = x + 1 on FP32. `hidden`: y's shape is told only while it runs."""

    hidden: bool = False
    works: bool = True
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    addresses: dict[str, int] = field(default_factory=dict)
    profiles: list[int] = field(default_factory=list)
    runs: int = 0
    allocator: Any = None

    def set_optimization_profile_async(self, number: int, stream: int) -> bool:
        self.profiles.append(number)
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return True

    def infer_shapes(self) -> list[str]:
        return []

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, *self.shapes["x"][1:]) if self.hidden else self.shapes["x"]

    def set_tensor_address(self, name: str, pointer: int) -> bool:
        self.addresses[name] = pointer
        return pointer != 0

    def set_output_allocator(self, name: str, allocator: Any) -> bool:
        self.allocator = allocator
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if not self.works:
            return False
        self.runs += 1
        shape = self.shapes["x"]
        size = int(np.prod(shape)) * 4
        if self.hidden:
            self.addresses["y"] = self.allocator.reallocate_output_async("y", 0, size, 256, stream)
            if not self.addresses["y"]:
                return False
            self.allocator.notify_shape("y", shape)
        x, y = (
            np.frombuffer((ctypes.c_char * size).from_address(self.addresses[name]), np.float32)
            for name in ("x", "y")
        )
        y[:] = x + 1
        return True


class StubLogger:
    def __init__(self) -> None:
        self.errors: list[str] = []
        self.notes: list[str] = []


class StubApi:
    IOutputAllocator = object


def stub_library() -> Library:
    return Library("tensorrt", "10.16.1.11", StubApi, capabilities_of("tensorrt", "10.16.1.11"))  # type: ignore[arg-type]
