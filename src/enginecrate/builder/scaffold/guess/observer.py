"""A model is run on the photos that ship with the program, before its pipeline is known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from enginecrate.builder.scaffold.guess.evidence import Observation, Watch
from enginecrate.builder.trial.samples import shipped_photos
from enginecrate.engines.base import Engine, RunOptions
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.errors import EnginecrateError
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.pipelines.base import Limits
from enginecrate.pipelines.image_input import ImageInput
from enginecrate.values import PipelineSpec

__all__ = ["observer"]


@contextmanager
def observer(model: OnnxModel) -> Iterator[Watch]:
    """A function that runs the model. onnxruntime is loaded when it is first called."""
    engines: list[Engine] = []

    def watch(spec: PipelineSpec) -> Observation:
        try:
            if not engines:
                engines.append(OnnxRuntimeBackend().load_model(model, RunOptions()))
            prepare = ImageInput.create(spec, model.inputs, Limits()).prepare
            samples = [engines[0].run(prepare(photo.payload)[0]) for photo in shipped_photos()]
        except EnginecrateError as exc:
            return Observation(failure=str(exc))
        return Observation(tuple(samples))

    try:
        yield watch
    finally:
        for engine in engines:
            engine.close()
