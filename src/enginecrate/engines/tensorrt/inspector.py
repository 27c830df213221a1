"""What a plan consists of, where a runtime works: the engine inspector and its memory figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from enginecrate.engines.tensorrt.bindings import Library

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["describe_plan"]

_SHOWN = 400


def describe_plan(library: Library, logger: trt.ILogger, plan: bytes) -> list[str]:
    """Load the plan once and describe it: one sentence for memory, one line for each layer.

    Empty where the plan cannot be loaded, which is no fault of the plan.
    """
    api = library.api
    runtime = api.Runtime(logger)
    engine = cast("trt.ICudaEngine | None", runtime.deserialize_cuda_engine(plan))
    if engine is None:
        return []
    memory = int(getattr(engine, library.can.device_memory))
    notes = [f"plan of {engine.num_layers} layers after fusion; needs {memory:,} bytes on the GPU"]
    inspector = engine.create_engine_inspector()
    text = inspector.get_engine_information(api.LayerInformationFormat.ONELINE)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    notes += [f"layer: {line}" for line in lines[:_SHOWN]]
    if len(lines) > _SHOWN:
        notes.append(f"{len(lines) - _SHOWN} more layers are not listed")
    return notes
