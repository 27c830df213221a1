"""The backends `tensorrt` and `tensorrt_rtx`: probe, build, load."""

from __future__ import annotations

from collections.abc import Callable

from enginecrate.cuda.device import Gpu, find_gpus
from enginecrate.engines.base import (
    NO_AIDS,
    Availability,
    BuildAids,
    BuildOptions,
    BuiltPlan,
    Engine,
    Plan,
    RunOptions,
)
from enginecrate.engines.batch_limit import find_max_batch
from enginecrate.engines.tensorrt.bindings import Library, load_library
from enginecrate.engines.tensorrt.child import ChildResult, build_in_child, visible_name
from enginecrate.engines.tensorrt.compatibility import check_plan
from enginecrate.engines.tensorrt.loader import load_engine
from enginecrate.engines.tensorrt.parser_errors import explain
from enginecrate.engines.tensorrt.profiles import check_profiles
from enginecrate.engines.tensorrt.protocol import Answer, Refusal, Request
from enginecrate.engines.tensorrt.requests import check_interface, check_options, element_types
from enginecrate.errors import BackendUnavailable, PlanInvalid, PlanMismatch
from enginecrate.graph.onnx.model import OnnxModel, graph_digest
from enginecrate.values import (
    ComputeCapability,
    Digest,
    PlanInfo,
    Progress,
    current_platform,
    no_progress,
)
from enginecrate.version import __version__

__all__ = ["TensorRtBackend", "tensorrt_backend", "tensorrt_rtx_backend"]

_LARGEST = 2**31 - 1
_TITLES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
_UNTIMED = "nothing is timed while it builds, so no timing cache is needed"
_UNFIXED = (
    "this machine forbids fixed addresses (personality(2)), so another build may give other bytes"
)

_QUANTISED = (
    "the builder's threads number the values of quantised graphs in whichever order they finish, "
    "so another build of the same graph may give other bytes"
)


class TensorRtBackend:
    """One adapter for TensorRT 8.6, 10 and 11, and for TensorRT-RTX."""

    def __init__(self, name: str, gpus: Callable[[], tuple[Gpu, ...]] = find_gpus) -> None:
        """Nothing is imported before it is asked.

        Args:
            name: `tensorrt` or `tensorrt_rtx`.
            gpus: finds the GPUs, or raises `BackendUnavailable`.
        """
        self.name = name
        self._gpus = gpus

    def probe(self) -> Availability:
        try:
            library = load_library(self.name)
        except BackendUnavailable as exc:
            reason, _, cure = str(exc).rpartition("; ")
            return Availability(False, "", (), reason, cure)
        try:
            gpus = self._gpus()
        except BackendUnavailable as exc:
            reason, _, cure = str(exc).rpartition("; ")
            # RTX builds for GPUs that are elsewhere; the others measure on the one that is here.
            return Availability(library.can.targets, library.version, (), reason, cure)
        if library.can.targets:
            gpus = tuple(gpu for gpu in gpus if hasattr(_targets(library), _target(gpu)))
        devices = tuple(dict.fromkeys(gpu.compute_capability.sm for gpu in gpus))
        if devices or not library.can.targets:
            return Availability(True, library.version, devices)
        reason = f"{_TITLES[self.name]} {library.version} does not run on the GPU of this machine"
        cure = "use a stack of TensorRT or onnxruntime here (`enginecrate stacks`)"
        return Availability(True, library.version, (), reason, cure)

    def plan_options(self, options: BuildOptions) -> dict[str, str | int | float | bool]:
        return {
            "optimization_level": options.optimization_level,
            "workspace_bytes": options.workspace_bytes,
            **options.tools,
        }

    def build(
        self,
        model: OnnxModel,
        options: BuildOptions,
        progress: Progress = no_progress,
        aids: BuildAids = NO_AIDS,
    ) -> BuiltPlan:
        """Compile a typed graph, in a process of its own that ends with this call.

        Raises:
            PlanBuildFailed: the model, the profiles or the options cannot be built; `nodes` names
                what is refused, and `needs_fp16` says that FP16 would be taken.
            BackendUnavailable: the library is missing, or it needs a GPU that is not here.
        """
        library = load_library(self.name)
        profiles = check_profiles(model, options.profiles)
        gpu = self._building_gpu(library, options)
        check_options(library, options, model, on_gpu=gpu is not None)
        check_interface(model, library)
        request = Request(
            backend=self.name,
            device=options.device,
            profiles=profiles,
            element_types=element_types(model) if library.can.precision_flags else (),
            workspace_bytes=options.workspace_bytes,
            optimization_level=options.optimization_level,
            version_compatible=options.version_compatible,
            hardware_compatibility=options.hardware_compatibility,
            strip_weights=options.strip_weights,
            require_timing_cache=aids.require_timing_cache and library.can.timing_cache,
            on_gpu=gpu is not None,
            weights_beside=str(model.weights / model.source.name) if model.weights else "",
        )
        visible = visible_name(gpu.number) if gpu is not None else ""
        cache = aids.timing_cache if library.can.timing_cache else b""
        found = build_in_child(request, _serialized(model), cache, visible, progress)
        if isinstance(found.answer, Refusal):
            builder = f"{_TITLES[self.name]} {library.version}"
            raise explain(found.answer, model, builder, options.device)
        info = self._sidecar(model, options, library, found, gpu)
        notes = _notes(found.answer, library, aids, model)
        return BuiltPlan(found.plan, info, found.timing_cache, notes)

    def load(self, plan: Plan, options: RunOptions) -> Engine:
        """Load a plan on a GPU of this machine.

        Raises:
            BackendUnavailable: the library, the driver or the GPU is missing.
            PlanMismatch: the plan was built for something else; the message lists what.
            PlanInvalid: the plan is not what its sidecar promises.
        """
        if plan.info.backend != self.name:
            raise PlanMismatch(
                f"the plan was built for {plan.info.backend}, here is {self.name}; "
                "load it with its own backend"
            )
        library = load_library(self.name)
        gpus = self._gpus()
        if not 0 <= options.device < len(gpus):
            raise BackendUnavailable(
                f"there is no GPU {options.device}; this machine has {len(gpus)}, from number 0; "
                "correct the setting"
            )
        gpu = gpus[options.device]
        check_plan(plan.info, library, current_platform(), gpu.compute_capability, gpu.name)
        return load_engine(library, _read_plan(plan), plan.info, options)

    def _building_gpu(self, library: Library, options: BuildOptions) -> Gpu | None:
        """The GPU to build on: one of the target's compute capability; RTX needs none."""
        wanted = _capability(options.device)
        try:
            gpus = self._gpus()
        except BackendUnavailable as exc:
            if library.can.targets:
                return None
            raise BackendUnavailable(
                f"{_TITLES[self.name]} measures on the GPU while it builds, and there is none "
                f"here: {exc}"
            ) from exc
        for gpu in gpus:
            if gpu.compute_capability == wanted:
                return gpu
        if library.can.targets:
            return None
        have = ", ".join(f"{gpu.name} ({gpu.compute_capability.sm})" for gpu in gpus)
        raise BackendUnavailable(
            f"{_TITLES[self.name]} builds for {options.device} on such a GPU only, and here is "
            f"{have}; build on a machine with that GPU, or with a stack of TensorRT-RTX"
        )

    def _sidecar(
        self,
        model: OnnxModel,
        options: BuildOptions,
        library: Library,
        found: ChildResult,
        gpu: Gpu | None,
    ) -> PlanInfo:
        cache = found.timing_cache
        return PlanInfo(
            backend=self.name,
            backend_version=library.version,
            tool_version=__version__,
            stack=options.stack,
            platform=current_platform(),
            device=options.device,
            model_digest=str(model.source_digest),
            graph_digest=str(graph_digest(model)),
            plan_digest=str(Digest.of(found.plan)),
            plan_bytes=len(found.plan),
            precision=options.precision,
            inputs=model.inputs,
            outputs=model.outputs,
            max_batch=find_max_batch(model, options.profiles),
            profiles=tuple(dict(profile) for profile in options.profiles),
            options=self.plan_options(options),
            layers=options.layers,
            calibration_digest=options.calibration_digest,
            # RTX builds the same plan with and without the GPU.
            gpu_name=gpu.name if gpu is not None and library.can.timing_cache else "",
            hardware_compatibility=options.hardware_compatibility,
            version_compatible=options.version_compatible,
            weights="stripped" if options.strip_weights else "full",
            timing_cache_digest=str(Digest.of(cache)) if cache else "",
        )


def tensorrt_backend() -> TensorRtBackend:
    """The backend `tensorrt`."""
    return TensorRtBackend("tensorrt")


def tensorrt_rtx_backend() -> TensorRtBackend:
    """The backend `tensorrt_rtx`."""
    return TensorRtBackend("tensorrt_rtx")


def _capability(device: str) -> ComputeCapability:
    try:
        return ComputeCapability.parse(device)
    except ValueError as exc:
        raise BackendUnavailable(
            f"TensorRT builds for a GPU, and {device!r} is no compute capability such as sm86; "
            "choose a GPU with targets.gpus in the manifest"
        ) from exc


def _targets(library: Library) -> object:
    return library.only_rtx.ComputeCapability


def _target(gpu: Gpu) -> str:
    return gpu.compute_capability.sm.upper()


def _serialized(model: OnnxModel) -> bytes:
    """The model with its weights inside. Deterministic: same graph, same bytes."""
    data: bytes = model.proto.SerializeToString(deterministic=True)
    return data


def _read_plan(plan: Plan) -> bytes:
    try:
        data = plan.path.read_bytes()
    except OSError as exc:
        raise PlanInvalid(f"cannot read the plan {plan.path}: {exc.strerror}") from exc
    if len(data) != plan.info.plan_bytes or Digest.of(data) != plan.info.plan_digest:
        raise PlanInvalid(
            f"the plan {plan.path} is damaged: its bytes are not those that its sidecar promises; "
            "build it again"
        )
    return data


def _notes(answer: Answer, library: Library, aids: BuildAids, model: OnnxModel) -> tuple[str, ...]:
    notes = list(answer.notes)
    if aids.require_timing_cache and not library.can.timing_cache:
        notes.append(_UNTIMED)
    if not answer.fixed_addresses:
        notes.append(_UNFIXED)
    if any(node.op_type == "QuantizeLinear" for node in model.proto.graph.node):
        notes.append(_QUANTISED)
    return tuple(notes)
