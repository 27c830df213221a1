"""Everything that a model tells: its tensors, its graph, its metadata, and its numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from enginecrate.graph.describe.heads import OutputHead, output_heads
from enginecrate.graph.describe.metadata import ModelMetadata, read_metadata
from enginecrate.graph.describe.stem import InputStem, input_stem
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.values import DataType, PipelineSpec, Tensors, TensorSpec

__all__ = ["Evidence", "Observation", "Output", "Watch", "gather", "outputs_of"]


@dataclass(frozen=True, slots=True)
class Observation:
    """The raw outputs of a model for some photos, each with a batch of 1.

    failure: why there are none; empty when there are.
    """

    samples: tuple[Tensors, ...] = ()
    failure: str = ""


Watch = Callable[[PipelineSpec], Observation]
"""Runs the model on photos that are prepared as this section says."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What can be known without a run. frameworks: names of the exporter and its domains."""

    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    heads: Mapping[str, OutputHead] = field(default_factory=dict)
    stems: Mapping[str, InputStem] = field(default_factory=dict)
    metadata: ModelMetadata = field(default_factory=ModelMetadata)
    frameworks: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """One output: its promise, its head, and its arrays, if the model was run.

    shape: at run time where it was run, else as promised.
    """

    spec: TensorSpec
    head: OutputHead
    arrays: tuple[npt.NDArray[np.float64], ...]
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def runtime_spec(self) -> TensorSpec:
        """The promise with the sizes of the run."""
        return TensorSpec(self.spec.name, self.spec.datatype, self.shape)

    @property
    def is_float(self) -> bool:
        return self.spec.datatype in (DataType.FP16, DataType.BF16, DataType.FP32, DataType.FP64)

    @property
    def is_whole(self) -> bool:
        return self.spec.datatype in (DataType.INT32, DataType.INT64, DataType.UINT8)


def gather(model: OnnxModel) -> Evidence:
    """Look at a model's graph and its metadata."""
    proto = model.proto
    domains = [opset.domain for opset in proto.opset_import]
    return Evidence(
        model.inputs,
        model.outputs,
        output_heads(proto),
        {spec.name: input_stem(proto, spec.name) for spec in model.inputs},
        read_metadata(proto),
        " ".join([proto.producer_name, *domains]).lower(),
    )


def outputs_of(evidence: Evidence, observation: Observation) -> list[Output]:
    """The outputs in the model's order."""
    found = []
    for spec in evidence.outputs:
        head = evidence.heads.get(spec.name) or OutputHead(spec.name, (), "plain", False, False)
        arrays = [sample[spec.name] for sample in observation.samples if spec.name in sample]
        # Where nothing was found on a photo, the other one tells more, and so does the promise.
        shape = next((tuple(one.shape) for one in arrays if one.size), spec.shape)
        numeric = spec.datatype is not DataType.BYTES
        values = tuple(np.asarray(one, np.float64) for one in arrays) if numeric else ()
        found.append(Output(spec, head, values, shape))
    return found
