"""What a backend and an engine are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from enginecrate.graph.model import OnnxModel
from enginecrate.values import PlanInfo, Precision, Profile, Progress, Tensors, TensorSpec

__all__ = [
    "Availability",
    "Backend",
    "BuildOptions",
    "BuiltPlan",
    "Engine",
    "Plan",
    "RunOptions",
]


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a backend works here; when it does not, why not and what to do."""

    usable: bool
    version: str
    devices: tuple[str, ...]
    reason: str = ""
    cure: str = ""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What changes the bytes of a plan, and therefore its place in the cache."""

    stack: str
    precision: Precision = Precision.FP32
    profiles: Sequence[Profile] = ()
    graph_optimization: str = "all"
    """`disabled`, `basic`, `extended` or `all`."""
    tools: Mapping[str, str] = field(default_factory=dict)
    """What shaped the graph before the backend got it, by name and version: in the sidecar's
    options, for example `{"simplifier": "onnxslim 0.1.98"}`."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a plan is run on this machine; changes no bytes of it."""

    threads: int = 0
    """Threads that one run may use; 0: as many as there are cores."""
    spin: bool = False
    """Whether idle threads wait actively: a lone caller is served sooner, and everything else on
    the machine later (`benchmarks/onnxruntime_options.py`)."""
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class BuiltPlan:
    """A plan fresh from a backend, still in memory."""

    data: bytes = field(repr=False)
    info: PlanInfo


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


class Backend(Protocol):
    """Code that can build plans and load them as engines."""

    @property
    def name(self) -> str: ...

    def probe(self) -> Availability: ...

    def build(self, model: OnnxModel, options: BuildOptions, progress: Progress) -> BuiltPlan:
        """Compile a model.

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
