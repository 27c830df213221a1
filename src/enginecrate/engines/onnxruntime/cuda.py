"""onnxruntime on an NVIDIA GPU: fixed buffers and a CUDA graph for each shape, device arrays.

A CUDA graph is the recorded work of one run; it is replayed with a single call, which at small
batches takes half of the time (`benchmarks/onnxruntime_cuda.py`). It reads and writes the very
addresses of its recording, so each shape has buffers of its own, and the number of shapes is
bounded. Where a graph cannot be (outputs whose shape depends on values, nodes on the CPU, control
flow), the same engine runs without.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from enginecrate.cuda.arrays import DeviceArray, Foreign
from enginecrate.cuda.capture_lock import GPU_WORK
from enginecrate.engines.device_inputs import DeviceTensors, Given, take_inputs
from enginecrate.engines.onnxruntime.buffers import NO_GRAPH, DeviceSlot, Shapes
from enginecrate.engines.onnxruntime.engine_thread import OwnThread
from enginecrate.engines.onnxruntime.memory import DeviceMemory
from enginecrate.engines.onnxruntime.runtime import load_runtime, out_of_memory, plain_message
from enginecrate.engines.onnxruntime.sessions import CpuNode, nodes_on_cpu, value_dependent_nodes
from enginecrate.engines.onnxruntime.shapes import ShapeRule, padded_batch, padded_sizes
from enginecrate.engines.onnxruntime.string_tensors import decode_texts, encode_texts
from enginecrate.errors import (
    BackendUnavailable,
    DeviceLost,
    EngineOutOfMemory,
    EngineRunFailed,
    TensorMismatch,
)
from enginecrate.values import Array, DataType, Tensors, TensorSpec

__all__ = ["MAX_GRAPHS", "CudaEngine"]

MAX_GRAPHS = 16
"""Shapes that have a CUDA graph; more run without. Enough for each batch up to 192, padded."""

R = TypeVar("R")

OpenSession = Callable[[bool], Any]
"""Opens the plan's session; `True`: its runs may be recorded as CUDA graphs."""

_log = logging.getLogger(__name__)


class CudaEngine:
    """A plan that is loaded on a GPU.

    Calls are served one after the other, whoever makes them; the arrays of `run_on_device` are
    overwritten by the next call, so each instance should have an engine of its own. All of the
    work is done in a thread of the engine, as a precaution: onnxruntime keeps GPU state by thread.

    Attributes:
        cpu_nodes: nodes that run on the CPU, since the GPU has no kernel for them.
        without_graph: why no CUDA graphs are used; empty when they are.
    """

    thread_safe = False

    def __init__(
        self,
        open_session: OpenSession,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        max_batch: int,
        memory: DeviceMemory,
        *,
        cuda_graph: bool = True,
    ) -> None:
        """Open the session.

        Raises:
            EngineRunFailed: the GPU's memory does not suffice.
            Exception: whatever `open_session` raises when it is asked for no graphs.
        """
        self.inputs: Sequence[TensorSpec] = tuple(inputs)
        self.outputs: Sequence[TensorSpec] = tuple(outputs)
        self.max_batch = max_batch
        self._open = open_session
        self._memory = memory
        self._slots: dict[Shapes, DeviceSlot] = {}
        self._kept: DeviceSlot | None = None
        self._session: Any = None
        self.without_graph = ""
        self.cpu_nodes: tuple[CpuNode, ...] = ()
        self._closed = False
        self._warming = False
        self._thread = OwnThread("cuda-engine")
        try:
            self._thread.call(self._prepare, cuda_graph)
        except BaseException:
            self._thread.call(self._release)
            self._thread.end()
            raise

    @property
    def graphs(self) -> int:
        """Shapes whose work is recorded."""
        return len(self._slots)

    def run(self, inputs: DeviceTensors) -> Tensors:
        """Compute every output, on the host.

        Args:
            inputs: NumPy arrays, or arrays on this GPU, with the batch dimension in front.

        Raises:
            TensorMismatch: an input is missing, unknown, of the wrong shape, datatype or device.
            EngineRunFailed: the GPU failed, or is out of memory.
        """
        return self._call(self._run, inputs)

    def run_parts(self, parts: Sequence[Tensors], into: Sequence[Tensors | None]) -> list[Tensors]:
        """Compute a batch whose parts lie in several places, without joining them on the host.

        Args:
            parts: the inputs of each request, alike but for their number of samples.
            into: C-contiguous arrays for the outputs of a request, which may be used; or `None`.

        Returns:
            The outputs of each request.

        Raises:
            TensorMismatch, EngineRunFailed: as `run`.
        """
        if self._closed:
            raise EngineRunFailed("the engine is closed; load its plan again")
        checked = [self._check(part) for part in parts]
        total = sum(batch for _, batch in checked)
        if self.max_batch and total > self.max_batch:
            raise TensorMismatch(
                f"{total} samples are more than the largest batch, {self.max_batch}"
            )
        return self._thread.call(self._run_parts, checked, into)

    def run_on_device(self, inputs: DeviceTensors) -> dict[str, DeviceArray]:
        """Compute every output, and leave it in the GPU's memory until the next run.

        Args:
            inputs: as `run`.

        Raises:
            TensorMismatch, EngineRunFailed: as `run`.
        """
        return self._call(self._run_on_device, inputs)

    def warm(self, largest: int, seconds: float) -> int:
        """Search kernels and record work for the batches that will come, so that none waits for it.

        Args:
            largest: batch that will be formed.
            seconds: no other size is begun after this.

        Returns:
            How many sizes are ready; the others are made ready when they come.
        """
        open_shapes = any(size < 0 for spec in self.inputs for size in spec.shape[1:])
        if self.without_graph or not self.max_batch or open_shapes or self._closed:
            return 0
        until = time.monotonic() + seconds
        self._warming = True
        try:
            for size in padded_sizes(min(largest or self.max_batch, self.max_batch))[:MAX_GRAPHS]:
                if time.monotonic() > until or self.without_graph:
                    break
                self.run({spec.name: _zeros(spec, size) for spec in self.inputs})
        finally:
            self._warming = False
        return self.graphs

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._thread.call(self._release)
            self._thread.end()

    def _call(self, work: Callable[[Given, int], R], inputs: DeviceTensors) -> R:
        """Device arrays are looked at in the caller's thread, whose stream they belong to."""
        if self._closed:
            raise EngineRunFailed("the engine is closed; load its plan again")
        return self._thread.call(work, *self._check(inputs))

    # -- in the engine's own thread -------------------------------------------------------------

    def _run(self, given: Given, batch: int) -> Tensors:
        return self._run_parts([(given, batch)], [None])[0]

    def _run_parts(
        self, parts: Sequence[tuple[Given, int]], into: Sequence[Tensors | None]
    ) -> list[Tensors]:
        batches = [batch for _, batch in parts]
        if not self.without_graph:
            slot = self._run_slot([given for given, _ in parts], sum(batches))
            with GPU_WORK.working():
                return slot.copy_outputs(batches, into)
        given = parts[0][0] if len(parts) == 1 else _joined([each for each, _ in parts])
        with GPU_WORK.working():
            if any(isinstance(value, Foreign) for value in given.values()):
                outputs = {name: one.numpy() for name, one in self._run_bound(given).items()}
            else:
                outputs = dict(self._run_plain(given))
        return [outputs] if len(parts) == 1 else _parted(outputs, batches)

    def _run_on_device(self, given: Given, batch: int) -> dict[str, DeviceArray]:
        if not self.without_graph:
            return self._run_slot([given], batch).device_outputs(batch)
        with GPU_WORK.working():
            return self._run_bound(given)

    def _release(self) -> None:
        with GPU_WORK.working():
            self._session = None
            self._free_slots()
            self._memory.close()

    # -- sessions -------------------------------------------------------------------------------

    def _prepare(self, cuda_graph: bool) -> None:
        with GPU_WORK.working():
            self._session, self.without_graph = self._start(cuda_graph)
            self._rule = self._shape_rule(self._session)
            inner = value_dependent_nodes(self._session)
            if not self.without_graph and not self._rule.known:
                self._restart("the shapes of its outputs depend on values")
            elif not self.without_graph and inner:
                self._restart(f"shapes inside depend on values ({', '.join(inner)})")
            self.cpu_nodes = nodes_on_cpu(self._session)

    def _start(self, cuda_graph: bool) -> tuple[Any, str]:
        reason = "" if cuda_graph else "switched off"
        if any(spec.datatype is DataType.BYTES for spec in (*self.inputs, *self.outputs)):
            reason = "the model takes or gives text"
        if not reason:
            try:
                return self._open(True), ""
            except BackendUnavailable:
                raise
            except Exception as exc:  # onnxruntime's errors have no common base class
                if out_of_memory(exc):
                    raise self._translated(exc) from exc
                reason = plain_message(exc)
                _log.info("no CUDA graphs for this plan: %s", reason)
        return self._open_plain(), reason

    def _open_plain(self) -> Any:
        try:
            return self._open(False)
        except Exception as exc:  # onnxruntime's errors have no common base class
            if out_of_memory(exc):
                raise self._translated(exc) from exc
            raise

    def _restart(self, reason: str) -> None:
        """Go on without CUDA graphs."""
        _log.info("no CUDA graphs for this plan: %s", reason)
        self._session = None
        self._free_slots()
        self.without_graph = reason
        self._session = self._open_plain()

    def _free_slots(self) -> None:
        for slot in self._slots.values():
            slot.free()
        self._slots.clear()
        if self._kept is not None:
            self._kept.free()
            self._kept = None

    def _shape_rule(self, session: Any) -> ShapeRule:
        inputs = {entry.name: entry.shape for entry in session.get_inputs()}
        outputs = {entry.name: entry.shape for entry in session.get_outputs()}
        return ShapeRule(inputs, outputs, batched=bool(self.max_batch))

    # -- runs -----------------------------------------------------------------------------------

    def _check(self, inputs: DeviceTensors) -> tuple[Given, int]:
        if self._session is None:
            raise EngineRunFailed("the engine is closed; load its plan again")
        given, batch = take_inputs(
            self.inputs,
            inputs,
            self.max_batch,
            self._memory.device,
            host_is_device=self._memory.kind == "cpu",
        )
        return given, batch if self.max_batch else 0

    def _run_slot(self, parts: Sequence[Given], batch: int) -> DeviceSlot:
        shapes = self._padded(parts[0], batch)
        with GPU_WORK.working():
            slot = self._slot(shapes)
            _fill(slot, parts)
        gate = GPU_WORK.working() if slot.proven else GPU_WORK.recording()
        try:
            if not slot.proven:
                with GPU_WORK.working():
                    slot.search(self._session)
            with gate:
                slot.run(self._session)
        except Exception as exc:  # onnxruntime's errors have no common base class
            with GPU_WORK.working():
                failure = self._translated(exc)
                if out_of_memory(exc) or slot.proven or isinstance(failure, DeviceLost):
                    raise failure from exc
                self._restart(f"recording failed: {plain_message(exc)}")
                return self._without_graph(shapes, parts)
        return slot

    def _padded(self, given: Given, batch: int) -> dict[str, tuple[int, ...]]:
        """The shapes that are run: a batch is padded, if it can be to a size that is recorded."""
        if not batch:
            return {name: tuple(value.shape) for name, value in given.items()}
        padded = padded_batch(batch, self.max_batch)
        sizes = [padded, min(padded_batch(padded + 1, self.max_batch), 2 * batch)]
        found = [{name: (size, *value.shape[1:]) for name, value in given.items()}
                 for size in sizes]  # fmt: skip
        if self._warming:
            return found[0]
        ready = (each for each in found if tuple(sorted(each.items())) in self._slots)
        return next(ready, found[0])

    def _slot(self, shapes: Mapping[str, tuple[int, ...]]) -> DeviceSlot:
        key = tuple(sorted(shapes.items()))
        found = self._slots.get(key)
        if found is not None:
            return found
        recorded = len(self._slots) < MAX_GRAPHS
        slot = self._new_slot(shapes, graph=len(self._slots) + 1 if recorded else NO_GRAPH)
        if recorded:
            self._slots[key] = slot
        return slot

    def _new_slot(self, shapes: Mapping[str, tuple[int, ...]], graph: int) -> DeviceSlot:
        """Buffers for one shape; those without a graph live until the next shape without one."""
        outputs = self._rule.outputs(shapes)
        if graph == NO_GRAPH and self._kept is not None:
            self._kept.free()
            self._kept = None
        dtypes = {spec.name: spec.datatype.numpy for spec in (*self.inputs, *self.outputs)}
        binding = self._session.io_binding()
        slot = DeviceSlot(binding, self._memory, shapes, outputs, dtypes, graph)
        if graph == NO_GRAPH:
            self._kept = slot
        return slot

    def _without_graph(
        self, shapes: Mapping[str, tuple[int, ...]], parts: Sequence[Given]
    ) -> DeviceSlot:
        slot = self._new_slot(shapes, NO_GRAPH)
        _fill(slot, parts)
        try:
            slot.run(self._session)
        except Exception as exc:  # onnxruntime's errors have no common base class
            raise self._translated(exc) from exc
        return slot

    def _run_plain(self, given: Mapping[str, Any]) -> Tensors:
        feed = {
            spec.name: decode_texts(spec.name, given[spec.name])
            if spec.datatype is DataType.BYTES
            else given[spec.name]
            for spec in self.inputs
        }
        try:
            found = self._session.run([spec.name for spec in self.outputs], feed)
        except Exception as exc:  # onnxruntime's errors have no common base class
            raise self._translated(exc) from exc
        return {
            spec.name: encode_texts(array) if spec.datatype is DataType.BYTES else array
            for spec, array in zip(self.outputs, found, strict=True)
        }

    def _run_bound(self, given: Given) -> dict[str, DeviceArray]:
        """Outputs of any shape, which onnxruntime allocates on the device."""
        text = [
            spec.name for spec in (*self.inputs, *self.outputs) if spec.datatype is DataType.BYTES
        ]
        if text:
            raise EngineRunFailed(f"{text[0]!r} is text, which a GPU cannot hold; call run instead")
        memory, binding = self._memory, self._session.io_binding()
        for name, value in given.items():
            if isinstance(value, Foreign):
                memory.wait_for(value.stream)
                binding.bind_input(
                    name, memory.kind, memory.device, value.dtype, value.shape, value.pointer
                )
            else:
                binding.bind_cpu_input(name, np.ascontiguousarray(value))
        for spec in self.outputs:
            binding.bind_output(spec.name, memory.kind, memory.device)
        try:
            self._session.run_with_iobinding(binding)
        except Exception as exc:  # onnxruntime's errors have no common base class
            raise self._translated(exc) from exc
        return {
            spec.name: DeviceArray(
                value.data_ptr(),
                tuple(value.shape()),
                spec.datatype.numpy,
                memory.device,
                memory.copy_out,
                value,
            )
            for spec, value in zip(self.outputs, binding.get_outputs(), strict=True)
        }

    def _translated(self, error: Exception) -> EngineRunFailed:
        if isinstance(error, EngineRunFailed):
            return error
        words = plain_message(error)
        try:
            self._memory.available()
        except DeviceLost as lost:
            return DeviceLost(f"{lost}; onnxruntime says: {words}")
        except EngineRunFailed:  # what onnxruntime says tells more
            pass
        if out_of_memory(error):
            return EngineOutOfMemory(
                f"GPU {self._memory.device} is out of memory: {words}; use fewer instances or "
                "smaller batches, or end what else runs on it"
            )
        version = load_runtime().__version__
        return EngineRunFailed(f"onnxruntime {version} failed on the GPU: {words}")


def _fill(slot: DeviceSlot, parts: Sequence[Given]) -> None:
    """Copy the inputs of all parts in, and wait for it."""
    kept = []  # until the copies are done
    for name in parts[0]:
        values = [part[name] for part in parts]
        values = [
            each if isinstance(each, Foreign) else np.ascontiguousarray(each) for each in values
        ]
        slot.fill(name, values)
        kept.append(values)
    slot.settle()


def _joined(parts: Sequence[Given]) -> dict[str, Any]:
    return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}


def _parted(outputs: Tensors, batches: Sequence[int]) -> list[Tensors]:
    ends = np.cumsum(batches).tolist()
    return [
        {name: array[end - batch : end] for name, array in outputs.items()}
        for batch, end in zip(batches, ends, strict=True)
    ]


def _zeros(spec: TensorSpec, batch: int) -> Array:
    return np.zeros((batch, *spec.shape[1:]), spec.datatype.numpy)
