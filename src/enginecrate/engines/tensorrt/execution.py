"""Run an engine: one context, one stream and fixed buffers for each instance."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from enginecrate.cuda.arrays import DeviceArray, Foreign
from enginecrate.cuda.memory import Buffer, PinnedBuffer
from enginecrate.cuda.streams import Stream
from enginecrate.engines.device_inputs import DeviceTensors, Given, take_inputs
from enginecrate.engines.tensorrt.bindings import Library
from enginecrate.engines.tensorrt.graph_cache import GraphCache
from enginecrate.engines.tensorrt.messages import Messages, plain
from enginecrate.engines.tensorrt.output_allocator import Allocated, make_allocator
from enginecrate.engines.tensorrt.profiles import choose_profile
from enginecrate.engines.tensorrt.runtime_cache import RuntimeCache
from enginecrate.errors import DeviceLost, EngineRunFailed
from enginecrate.values import PlanInfo, Tensors, TensorSpec

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["TensorRtEngine"]

Shape = tuple[int, ...]


class TensorRtEngine:
    """A plan that is loaded on a GPU.

    Calls are served one after the other. The arrays of `run_on_device` are overwritten by the
    next call, so each instance should have an engine of its own.
    """

    thread_safe = False

    def __init__(
        self,
        library: Library,
        loaded: tuple[trt.Runtime, trt.ICudaEngine, trt.ILogger],
        context: trt.IExecutionContext,
        info: PlanInfo,
        stream: Stream,
        *,
        cache: RuntimeCache | None = None,
        cuda_graph: bool = True,
    ) -> None:
        """Take over a loaded plan; `close` gives everything back.

        Args:
            library: the module.
            loaded: runtime, engine and logger, which the context needs.
            context: this instance's own.
            info: the plan's sidecar.
            stream: this instance's own, on the GPU.
            cache: of what is compiled at run time; saved after the first run and at the end.
            cuda_graph: whether work is recorded for each shape.
        """
        self.inputs: Sequence[TensorSpec] = info.inputs
        self.outputs: Sequence[TensorSpec] = info.outputs
        self.max_batch = info.max_batch
        self._library = library
        self._loaded: Any = loaded
        self._context: trt.IExecutionContext | None = context
        self._stream = stream
        self._device = stream.device
        self._cache = cache
        self._profiles = info.profiles
        self._active = 0
        self._lock = threading.Lock()
        names = [spec.name for spec in (*info.inputs, *info.outputs)]
        self._buffers = {name: Buffer(self._device) for name in names}
        self._pinned = {name: PinnedBuffer(self._device) for name in names}
        self._allocators: dict[str, trt.IOutputAllocator] = {}
        self._graphs = GraphCache(stream.capture, off="" if cuda_graph else "switched off")

    @property
    def without_graph(self) -> str:
        """The reason why no CUDA graphs are used; empty when they are."""
        return self._graphs.off

    def run(self, inputs: DeviceTensors) -> Tensors:
        """Compute every output, on the host.

        Args:
            inputs: NumPy arrays, or arrays on this GPU, with the batch dimension in front.

        Raises:
            TensorMismatch: an input is missing, unknown, or of the wrong shape, datatype or
                device; or no optimization profile allows the shapes.
            EngineRunFailed: TensorRT or CUDA failed; an exhausted memory is named.
        """
        with self._lock:
            shapes = self._run(inputs)
            staged = {}
            for spec in self.outputs:
                array = self._pinned[spec.name].array(shapes[spec.name], spec.datatype.numpy)
                pointer = self._buffers[spec.name].pointer
                self._stream.copy_out(array.ctypes.data, pointer, array.nbytes)
                staged[spec.name] = array
            self._stream.wait()
            return {name: array.copy() for name, array in staged.items()}

    def run_on_device(self, inputs: DeviceTensors) -> dict[str, DeviceArray]:
        """Compute every output, and leave it in the GPU's memory until the next run.

        Args:
            inputs: as `run`.

        Raises:
            TensorMismatch, EngineRunFailed: as `run`.
        """
        with self._lock:
            shapes = self._run(inputs)
            self._stream.wait()
            return {
                spec.name: DeviceArray(
                    self._buffers[spec.name].pointer,
                    shapes[spec.name],
                    spec.datatype.numpy,
                    self._device.number,
                    self._stream.copy_to_array,
                    self,
                )
                for spec in self.outputs
            }

    def close(self) -> None:
        with self._lock:
            if self._context is None:
                return
            with suppress(DeviceLost):
                self._device.activate()
            if self._cache is not None:
                self._cache.save()
            self._graphs.clear()
            # In this order: each needs the next one.
            self._context = None
            self._allocators.clear()
            self._loaded = None
            for name, buffer in self._buffers.items():
                buffer.free()
                self._pinned[name].free()
            self._stream.close()

    def _run(self, inputs: DeviceTensors) -> dict[str, Shape]:
        """Everything up to the outputs in their buffers; their shapes. Not waited for."""
        context = self._context
        if context is None:
            raise EngineRunFailed("the engine is closed; load its plan again")
        given, _ = take_inputs(self.inputs, inputs, self.max_batch, self._device.number)
        shapes = {name: tuple(value.shape) for name, value in given.items()}
        self._device.activate()
        cast(Messages, self._loaded[2]).errors.clear()
        moved = self._switch(context, shapes)
        self._set_shapes(context, shapes)
        found, allocated = self._prepare_outputs(context)
        moved |= self._fill(given)
        if moved:
            self._graphs.clear()
        self._bind(context, allocated)
        key = (self._active, tuple(sorted(shapes.items())))
        if allocated:
            self._execute(context)
            found.update(self._announced(allocated))
        else:
            self._graphs.run(key, lambda: self._execute(context))
        return found

    def _switch(self, context: trt.IExecutionContext, shapes: Mapping[str, Shape]) -> bool:
        """Choose the optimization profile for these shapes; whether another one was active."""
        wanted = choose_profile(self._profiles, shapes, self._active)
        if wanted == self._active:
            return False
        if not context.set_optimization_profile_async(wanted, self._stream.handle):
            raise self._failed(f"cannot switch to optimization profile {wanted}")
        self._stream.wait()
        self._active = wanted
        return True

    def _set_shapes(self, context: trt.IExecutionContext, shapes: Mapping[str, Shape]) -> None:
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise self._failed(f"refuses the shape {list(shape)} of input {name!r}")
        try:
            missing = context.infer_shapes()
        except RuntimeError as exc:
            raise self._failed("cannot find the outputs' shapes") from exc
        if missing:
            raise self._failed(f"needs the shape or values of {', '.join(missing)}")

    def _prepare_outputs(
        self, context: trt.IExecutionContext
    ) -> tuple[dict[str, Shape], dict[str, Allocated]]:
        """Room for outputs of known shapes, and allocators for the others."""
        found: dict[str, Shape] = {}
        allocated: dict[str, Allocated] = {}
        for spec in self.outputs:
            shape = tuple(int(size) for size in cast(Any, context.get_tensor_shape(spec.name)))
            if -1 not in shape:
                found[spec.name] = shape
                continue
            if spec.name not in self._allocators:
                buffer = self._buffers[spec.name]
                self._allocators[spec.name] = make_allocator(self._library.api, buffer)
            allocated[spec.name] = cast(Allocated, self._allocators[spec.name])
        for spec in self.outputs:
            if spec.name in found:
                size = _bytes(found[spec.name], spec)
                if self._buffers[spec.name].reserve(size):
                    self._graphs.clear()
        return found, allocated

    def _fill(self, given: Given) -> bool:
        """Copy the inputs in; whether one of them has a new address."""
        moved = False
        for name, value in given.items():
            buffer = self._buffers[name]
            moved |= buffer.reserve(value.nbytes)
            if isinstance(value, Foreign):
                self._stream.wait_for(value.stream)
                self._stream.copy_across(buffer.pointer, value.pointer, value.nbytes)
            else:
                staged = self._pinned[name].array(value.shape, value.dtype)
                np.copyto(staged, value)
                self._stream.copy_in(buffer.pointer, staged.ctypes.data, staged.nbytes)
        return moved

    def _bind(self, context: trt.IExecutionContext, allocated: Mapping[str, Allocated]) -> None:
        for name, buffer in self._buffers.items():
            if name in allocated:
                allocated[name].shape = allocated[name].failure = None
                bound = context.set_output_allocator(name, self._allocators[name])
            else:
                bound = context.set_tensor_address(name, buffer.pointer)
            if not bound:
                raise self._failed(f"refuses the memory for {name!r}")

    def _execute(self, context: trt.IExecutionContext) -> None:
        if not context.execute_async_v3(self._stream.handle):
            self._device.available()  # tells a lost GPU from what TensorRT itself cannot do
            failure = next(
                (one.failure for one in map(_allocated, self._allocators.values()) if one.failure),
                None,
            )
            raise failure or self._failed("failed while it ran")
        if self._cache is not None:
            self._cache.save_once()

    def _announced(self, allocated: Mapping[str, Allocated]) -> dict[str, Shape]:
        self._stream.wait()
        shapes = {}
        for name, one in allocated.items():
            if one.shape is None:
                raise self._failed(f"did not tell the shape of output {name!r}")
            shapes[name] = one.shape
        return shapes

    def _failed(self, what: str) -> EngineRunFailed:
        errors = cast(Messages, self._loaded[2]).errors
        said = "; ".join(dict.fromkeys(plain(text) for text in errors)) or "it gives no reason"
        return EngineRunFailed(f"{self._library.name} {what}: {said}")


def _allocated(allocator: trt.IOutputAllocator) -> Allocated:
    return cast(Allocated, allocator)


def _bytes(shape: Shape, spec: TensorSpec) -> int:
    return int(np.prod(shape, dtype=np.int64)) * spec.datatype.numpy.itemsize
