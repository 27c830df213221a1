"""onnxruntime, on the CPU and on NVIDIA GPUs.

A plan of this backend is the typed ONNX graph itself; onnxruntime optimises it for the processor
at hand each time it is loaded. So plans for GPUs can be built anywhere, and run on every GPU that
the library supports: their device is `cuda`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from enginecrate.cuda.capture_lock import GPU_WORK
from enginecrate.cuda.device import find_gpus
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
from enginecrate.engines.cache.plan_files import TemporaryFiles, check_files
from enginecrate.engines.onnxruntime.cpu import OnnxRuntimeEngine
from enginecrate.engines.onnxruntime.cuda import CudaEngine
from enginecrate.engines.onnxruntime.memory import CudaMemory
from enginecrate.engines.onnxruntime.runtime import CPU, cuda_refusal, load_runtime, plain_message
from enginecrate.engines.onnxruntime.sessions import CudaTuning, open_cpu_session, open_cuda_session
from enginecrate.errors import (
    BackendUnavailable,
    EngineError,
    PlanBuildFailed,
    PlanInvalid,
    PlanMismatch,
)
from enginecrate.graph.onnx.model import OnnxModel, graph_digest
from enginecrate.graph.onnx.writer import write_model
from enginecrate.values import (
    DataType,
    Digest,
    PlanInfo,
    Precision,
    Progress,
    current_platform,
    no_progress,
)
from enginecrate.version import __version__

__all__ = ["OnnxRuntimeBackend"]

_DEVICES = ("cpu", "cuda")
_DEFAULT_TUNING = CudaTuning()
_NARROW = frozenset({Precision.FP16, Precision.BF16})


class OnnxRuntimeBackend:
    """Builds and loads plans for the devices `cpu` and `cuda`."""

    name = "onnxruntime"

    def probe(self) -> Availability:
        try:
            runtime = load_runtime()
        except BackendUnavailable as exc:
            cure = "pip install onnxruntime"
            return Availability(False, "", (), reason=str(exc), cure=cure)
        if CPU not in runtime.get_available_providers():
            reason = f"onnxruntime {runtime.__version__} was built without {CPU}"
            cure = "install a build from the package index: pip install onnxruntime"
            return Availability(False, runtime.__version__, (), reason, cure)
        return Availability(True, runtime.__version__, ("cpu", *_gpu_devices()))

    def plan_options(self, options: BuildOptions) -> dict[str, str | int | float | bool]:
        return {"graph_optimization": options.graph_optimization, **options.tools}

    def build(
        self,
        model: OnnxModel,
        options: BuildOptions,
        progress: Progress = no_progress,
        aids: BuildAids = NO_AIDS,
    ) -> BuiltPlan:
        progress("check that onnxruntime runs the model", 0, 1)
        _check_device(options.device)
        _refuse_bfloat16(model)
        max_batch = find_max_batch(model, options.profiles)
        data, files = _plan_bytes(model)
        notes = _try(files.beside(data), model, options)
        progress("check that onnxruntime runs the model", 1, 1)
        info = PlanInfo(
            backend=self.name,
            backend_version=load_runtime().__version__,
            tool_version=__version__,
            stack=options.stack,
            platform=current_platform(),
            device=options.device,
            model_digest=str(model.source_digest),
            graph_digest=str(graph_digest(model)),
            plan_digest=str(Digest.of(data)),
            plan_bytes=len(data),
            files=files.digests(),
            precision=options.precision,
            inputs=model.inputs,
            outputs=model.outputs,
            max_batch=max_batch,
            profiles=[dict(profile) for profile in options.profiles],
            options=self.plan_options(options),
            layers=options.layers,
            calibration_digest=options.calibration_digest,
        )
        return BuiltPlan(data, info, notes=notes, files=files)

    def load(self, plan: Plan, options: RunOptions, tuning: CudaTuning = _DEFAULT_TUNING) -> Engine:
        """Load a plan (`Backend.load`).

        A plan for `cuda` becomes a `CudaEngine`, which also takes and gives arrays on the GPU.

        Raises:
            PlanMismatch, PlanInvalid: the plan is not for this machine, or damaged.
            BackendUnavailable: there is no driver, no such GPU, or no CUDA provider.
            EngineRunFailed: the GPU's memory does not suffice.
        """
        info = plan.info
        _check_plan(info)
        source = _read(plan)
        level = str(info.options.get("graph_optimization", "all"))
        try:
            if info.device == "cuda":
                return _load_cuda(source, info, level, options, tuning)
            session = open_cpu_session(source, level, options)
        except EngineError:
            raise
        except Exception as exc:  # onnxruntime's errors have no common base class
            raise PlanInvalid(f"onnxruntime cannot load {plan.path}: {plain_message(exc)}") from exc
        return OnnxRuntimeEngine(session, info.inputs, info.outputs, info.max_batch)

    def load_model(self, model: OnnxModel, options: RunOptions) -> OnnxRuntimeEngine:
        """Load a model as it is, without a plan and with every optimisation off.

        The reference that a plan's outputs are compared with.

        Raises:
            PlanBuildFailed: onnxruntime refuses the model.
        """
        try:
            data, files = _plan_bytes(model)
            session = open_cpu_session(files.beside(data), "disabled", options)
        except Exception as exc:  # onnxruntime's errors have no common base class
            raise _refused(model, exc) from exc
        return OnnxRuntimeEngine(session, model.inputs, model.outputs, find_max_batch(model, ()))


def _gpu_devices() -> tuple[str, ...]:
    """`cuda` where plans for it run."""
    try:
        gpus = find_gpus()
    except BackendUnavailable:
        return ()
    return ("cuda",) if gpus and not cuda_refusal() else ()


def _plan_bytes(model: OnnxModel) -> tuple[bytes, TemporaryFiles]:
    """The graph, and in temporary files the weights that protobuf cannot hold."""
    files = TemporaryFiles()
    if model.weights is None:
        return model.proto.SerializeToString(deterministic=True), files
    path = write_model(model, files.folder())
    files.take_all(besides=path)
    return path.read_bytes(), files


def _try(source: bytes | Path, model: OnnxModel, options: BuildOptions) -> tuple[str, ...]:
    """Let onnxruntime take the graph on the CPU, which every machine has.

    Returns:
        What could not be tried.

    Raises:
        PlanBuildFailed: it refuses the graph.
    """
    try:
        open_cpu_session(source, options.graph_optimization, RunOptions(threads=1))
    except Exception as exc:  # onnxruntime's errors have no common base class
        if options.device == "cuda" and type(exc).__name__ == "NotImplemented":
            return (f"not tried before it is loaded on a GPU: {plain_message(exc)}",)
        raise _refused(model, exc) from exc
    return ()


def _refused(model: OnnxModel, error: Exception) -> PlanBuildFailed:
    return PlanBuildFailed(f"onnxruntime refuses the model {model.source}: {plain_message(error)}")


def _load_cuda(
    source: bytes | Path, info: PlanInfo, level: str, options: RunOptions, tuning: CudaTuning
) -> CudaEngine:
    one_shape = all(-1 not in spec.shape for spec in info.inputs)
    graphs = options.cuda_graph
    if tuning.nhwc is None:
        narrow = any(layer.precision in _NARROW for layer in info.layers)
        tuning = tuning._replace(nhwc=narrow and (one_shape or not graphs))
    elif tuning.nhwc and not one_shape:
        graphs = False
    with GPU_WORK.working():  # first: without a driver, nothing else matters
        memory = CudaMemory(options.device)

    def open_session(graph: bool) -> Any:
        return open_cuda_session(source, level, options, tuning, graph=graph)

    return CudaEngine(
        open_session,
        info.inputs,
        info.outputs,
        info.max_batch,
        memory,
        cuda_graph=graphs,
    )


def _read(plan: Plan) -> bytes | Path:
    """The plan's bytes; its path when weights lie beside it. Raises `PlanInvalid`."""
    try:
        data = plan.path.read_bytes()
        check_files(plan.info, plan.path.parent)
    except OSError as exc:
        raise PlanInvalid(f"cannot read the plan {plan.path}: {exc.strerror}") from exc
    if Digest.of(data) != plan.info.plan_digest:
        raise PlanInvalid(
            f"the plan {plan.path} is damaged: its digest is not the one in its sidecar; "
            "build it again"
        )
    return plan.path if plan.info.files else data


def _check_device(device: str) -> None:
    if device not in _DEVICES:
        raise PlanBuildFailed(
            f"onnxruntime builds plans for {' and '.join(_DEVICES)}, not for {device!r}; its "
            "plans for cuda run on every GPU"
        )


def _check_plan(info: PlanInfo) -> None:
    """A plan for `cuda` is built anywhere, so the builder's version may be another."""
    version = load_runtime().__version__
    have = {
        "backend": OnnxRuntimeBackend.name,
        "backend version": info.backend_version if info.device == "cuda" else version,
        "platform": current_platform(),
        "device": info.device if info.device in _DEVICES else "cpu or cuda",
    }
    want = {
        "backend": info.backend,
        "backend version": info.backend_version,
        "platform": info.platform,
        "device": info.device,
    }
    wrong = [
        f"{name} {want[name]}, here is {have[name]}" for name in have if want[name] != have[name]
    ]
    if wrong:
        raise PlanMismatch(f"the plan was built for {'; for '.join(wrong)}; build it again here")


def _refuse_bfloat16(model: OnnxModel) -> None:
    for spec in (*model.inputs, *model.outputs):
        if spec.datatype is DataType.BF16:
            raise PlanBuildFailed(
                f"tensor {spec.name!r} of {model.source} is BF16, which onnxruntime takes from no "
                "NumPy array; export the model with FP32 inputs and outputs"
            )
