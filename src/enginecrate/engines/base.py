"""The interfaces of backends and engines, and the values that they exchange."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from enginecrate.values import (
    LayerPrecision,
    PlanInfo,
    Precision,
    Profile,
    Progress,
    Tensors,
    TensorSpec,
    no_progress,
)

if TYPE_CHECKING:
    from enginecrate.graph.onnx.model import OnnxModel

__all__ = [
    "NO_AIDS",
    "Availability",
    "Backend",
    "BuildAids",
    "BuildOptions",
    "BuiltPlan",
    "Engine",
    "PartsEngine",
    "Plan",
    "RunOptions",
]


@dataclass(frozen=True, slots=True)
class Availability:
    """A backend on this machine: usable, or not, with the reason and the cure.

    usable: it can build plans here.
    devices: kinds of devices on which it can run plans here (`cpu`, `sm86`); may be empty where it
        can only build.
    """

    usable: bool
    version: str
    devices: tuple[str, ...]
    reason: str = ""
    cure: str = ""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """Options that change the bytes of a plan, and therefore its key in the cache.

    device: the kind of device that the plan is for: `cpu`, or a compute capability (`sm86`).
    precision: of the graph, which is typed already; `mixed` when its layers differ.
    layers, calibration_digest: what the sidecar says about the graph.
    """

    stack: str
    device: str = "cpu"
    precision: Precision = Precision.FP32
    layers: tuple[LayerPrecision, ...] = ()
    calibration_digest: str = ""
    profiles: Sequence[Profile] = ()
    graph_optimization: str = "all"
    """`disabled`, `basic`, `extended` or `all`."""
    tools: Mapping[str, str] = field(default_factory=dict)
    """Tools that shaped the graph before the backend got it, by name and version: in the sidecar's
    options, for example `{"simplifier": "enginecrate passes 1"}`."""
    workspace_bytes: int = 0
    """Most GPU memory for one layer's scratch; 0: no limit."""
    optimization_level: int = 3
    """The effort of the builder's search, 0..5 (TensorRT, `builder_optimization_level`)."""
    version_compatible: bool = False
    hardware_compatibility: Literal["none", "ampere_plus", "same_compute_capability"] = "none"
    strip_weights: bool = False


@dataclass(frozen=True, slots=True)
class BuildAids:
    """Aids that speed a build up without changing what it is asked for.

    timing_cache: bytes of an earlier build's timing cache; empty: none.
    require_timing_cache: fail when the cache does not answer every question of the builder, so
        that a rebuild gives the same bytes.
    """

    timing_cache: bytes = field(default=b"", repr=False)
    require_timing_cache: bool = False


NO_AIDS = BuildAids()


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of running a plan on this machine; they change no bytes of it."""

    threads: int = 0
    """Threads that one run may use; 0: as many as there are cores."""
    spin: bool = False
    """Idle threads wait actively: a lone caller is served sooner, and everything else on
    the machine later (`benchmarks/onnxruntime_options.py`)."""
    device: int = 0
    """Number of the GPU, for plans that run on one."""
    cuda_graph: bool = True
    """A GPU engine records its work once for each shape and plays it again."""
    tf32: bool = False
    """A GPU may multiply FP32 numbers in TF32: faster, with 10 bits of mantissa."""
    runtime_cache: Path | None = None
    """Folder where TensorRT-RTX keeps what it compiled for this GPU."""
    weights: Path | None = None
    """The ONNX graph, for a plan without weights."""


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """A plan fresh from a backend, still in memory.

    timing_cache: of this build, for the next one.
    notes: what people should know, one sentence each: memory figures, layers, warnings.
    files: other files of the plan, by the names that they get beside it (weights over 2 GB);
        their digests are in `info.files`.
    """

    data: bytes = field(repr=False)
    info: PlanInfo
    timing_cache: bytes = field(default=b"", repr=False)
    notes: tuple[str, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan on disk whose bytes were checked against its sidecar."""

    path: Path
    info: PlanInfo


class Engine(Protocol):
    """A plan that is loaded and ready to run. Not thread-safe unless it says so."""

    @property
    def inputs(self) -> Sequence[TensorSpec]: ...
    @property
    def outputs(self) -> Sequence[TensorSpec]: ...
    @property
    def max_batch(self) -> int:
        """Largest batch; 0 when the first dimension is not a batch."""
        ...

    def run(self, inputs: Tensors) -> Tensors:
        """Compute every output.

        Args:
            inputs: one array for each input, with the batch dimension in front.

        Raises:
            TensorMismatch: an input is missing, unknown, or of the wrong shape or datatype.
            EngineRunFailed: the backend failed.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds. A second call does nothing."""
        ...


class PartsEngine(Engine, Protocol):
    """An engine that takes the requests of a batch from where they lie, and answers in place."""

    def run_parts(self, parts: Sequence[Tensors], into: Sequence[Tensors | None]) -> list[Tensors]:
        """Compute every output of every request.

        Args:
            parts: the inputs of each request, alike but for their number of samples.
            into: C-contiguous arrays for the outputs of a request, which may be used; or `None`.

        Raises:
            TensorMismatch, EngineRunFailed: as `run`.
        """
        ...


class Backend(Protocol):
    """Code that can build plans and load them as engines."""

    @property
    def name(self) -> str: ...

    def probe(self) -> Availability: ...

    def plan_options(self, options: BuildOptions) -> dict[str, str | int | float | bool]:
        """The part of the options that this backend heeds: what `PlanInfo.options` will hold."""
        ...

    def build(
        self,
        model: OnnxModel,
        options: BuildOptions,
        progress: Progress = no_progress,
        aids: BuildAids = NO_AIDS,
    ) -> BuiltPlan:
        """Compile a typed graph.

        Raises:
            PlanBuildFailed: the backend refuses the model; the message names the node.
        """
        ...

    def load(self, plan: Plan, options: RunOptions) -> Engine:
        """Load a plan that was built by this backend.

        Raises:
            PlanMismatch: the plan was built for another backend, version, device or platform.
            PlanInvalid: the plan's bytes are damaged.
        """
        ...
