"""onnxruntime on the CPU.

A plan of this backend is the simplified ONNX model itself; onnxruntime optimises it for the
processor at hand each time it is loaded.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

from enginecrate import __version__
from enginecrate.engines.base import (
    NO_AIDS,
    Availability,
    BuildAids,
    BuildOptions,
    BuiltPlan,
    Plan,
    RunOptions,
)
from enginecrate.engines.batch import find_max_batch
from enginecrate.engines.check import check_inputs
from enginecrate.engines.cores import available_cores
from enginecrate.engines.texts import decode_texts, encode_texts
from enginecrate.errors import (
    BackendUnavailable,
    EngineRunFailed,
    PlanBuildFailed,
    PlanInvalid,
    PlanMismatch,
)
from enginecrate.graph.model import OnnxModel
from enginecrate.values import (
    DataType,
    Digest,
    PlanInfo,
    Progress,
    Tensors,
    TensorSpec,
    no_progress,
)

__all__ = ["OnnxRuntimeBackend", "OnnxRuntimeEngine", "current_platform"]

_PROVIDER = "CPUExecutionProvider"
_FATAL = 4
_ERROR = 3


def current_platform() -> str:
    """Operating system and architecture as the OCI image specification names them."""
    names = {"x86_64": "amd64", "aarch64": "arm64"}
    machine = platform.machine()
    return f"{sys.platform}/{names.get(machine, machine)}"


@cache
def _runtime() -> Any:
    """onnxruntime, imported late and with its telemetry off.

    The official builds send usage data to their maker unless this variable is set before the
    library starts (onnxruntime's Privacy.md, section "Disabling Telemetry").
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    ours = "onnxruntime" not in sys.modules
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError as exc:
        raise BackendUnavailable(
            f"onnxruntime cannot be imported ({exc}); install it with: pip install onnxruntime"
        ) from exc
    onnxruntime.disable_telemetry_events()
    if ours:  # whoever imported it before us has chosen a log level, or wants the default one
        onnxruntime.set_default_logger_severity(_ERROR)
    return onnxruntime


class OnnxRuntimeBackend:
    """Builds and loads plans for the CPU."""

    name = "onnxruntime"

    def probe(self) -> Availability:
        try:
            runtime = _runtime()
        except BackendUnavailable as exc:
            cure = "pip install onnxruntime"
            return Availability(False, "", (), reason=str(exc), cure=cure)
        if _PROVIDER not in runtime.get_available_providers():
            reason = f"onnxruntime {runtime.__version__} was built without {_PROVIDER}"
            cure = "install a build from the package index: pip install onnxruntime"
            return Availability(False, runtime.__version__, (), reason, cure)
        return Availability(True, runtime.__version__, ("cpu",))

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
        _refuse_bfloat16(model)
        max_batch = find_max_batch(model, options.profiles)
        data = model.proto.SerializeToString(deterministic=True)
        try:
            _session(data, options.graph_optimization, RunOptions(threads=1))
        except Exception as exc:  # onnxruntime's errors have no common base class
            raise PlanBuildFailed(
                f"onnxruntime refuses the model {model.source}: {_plain(exc)}"
            ) from exc
        progress("check that onnxruntime runs the model", 1, 1)
        digest = str(Digest.of(data))
        info = PlanInfo(
            backend=self.name,
            backend_version=_runtime().__version__,
            tool_version=__version__,
            stack=options.stack,
            platform=current_platform(),
            device="cpu",
            model_digest=str(model.source_digest),
            graph_digest=digest,
            plan_digest=digest,
            plan_bytes=len(data),
            precision=options.precision,
            inputs=model.inputs,
            outputs=model.outputs,
            max_batch=max_batch,
            profiles=[dict(profile) for profile in options.profiles],
            options=self.plan_options(options),
            layers=options.layers,
            calibration_digest=options.calibration_digest,
        )
        return BuiltPlan(data, info)

    def load(self, plan: Plan, options: RunOptions) -> OnnxRuntimeEngine:
        info = plan.info
        _check_plan(info)
        try:
            data = plan.path.read_bytes()
        except OSError as exc:
            raise PlanInvalid(f"cannot read the plan {plan.path}: {exc.strerror}") from exc
        if Digest.of(data) != info.plan_digest:
            raise PlanInvalid(
                f"the plan {plan.path} is damaged: its digest is not the one in its sidecar; "
                "build it again"
            )
        level = str(info.options.get("graph_optimization", "all"))
        try:
            session = _session(data, level, options)
        except Exception as exc:  # onnxruntime's errors have no common base class
            raise PlanInvalid(f"onnxruntime cannot load {plan.path}: {_plain(exc)}") from exc
        return OnnxRuntimeEngine(session, info.inputs, info.outputs, info.max_batch)

    def load_model(self, model: OnnxModel, options: RunOptions) -> OnnxRuntimeEngine:
        """Load a model as it is, without a plan and with every optimisation off.

        The reference that a plan's outputs are compared with.

        Raises:
            PlanBuildFailed: onnxruntime refuses the model.
        """
        try:
            data = model.proto.SerializeToString()
            session = _session(data, "disabled", options)
        except Exception as exc:  # onnxruntime's errors have no common base class
            raise PlanBuildFailed(
                f"onnxruntime refuses the model {model.source}: {_plain(exc)}"
            ) from exc
        return OnnxRuntimeEngine(session, model.inputs, model.outputs, find_max_batch(model, ()))


class OnnxRuntimeEngine:
    """A loaded plan. Thread-safe: `run` may be called from many threads, and frees the GIL."""

    thread_safe = True

    def __init__(
        self,
        session: Any,
        inputs: Sequence[TensorSpec],
        outputs: Sequence[TensorSpec],
        max_batch: int,
    ) -> None:
        self.inputs: Sequence[TensorSpec] = tuple(inputs)
        self.outputs: Sequence[TensorSpec] = tuple(outputs)
        self.max_batch = max_batch
        self._session = session
        self._names = [spec.name for spec in outputs]
        self._texts = [spec.name for spec in inputs if spec.datatype is DataType.BYTES]

    def run(self, inputs: Tensors) -> Tensors:
        session = self._session
        if session is None:
            raise EngineRunFailed("the engine is closed; load its plan again")
        check_inputs(self.inputs, inputs, self.max_batch)
        feed = dict(inputs)
        for name in self._texts:
            feed[name] = decode_texts(name, inputs[name])
        try:
            found = session.run(self._names, feed)
        except Exception as exc:  # onnxruntime's errors have no common base class
            raise EngineRunFailed(f"onnxruntime failed while it ran: {_plain(exc)}") from exc
        return {
            spec.name: encode_texts(array) if spec.datatype is DataType.BYTES else array
            for spec, array in zip(self.outputs, found, strict=True)
        }

    def close(self) -> None:
        self._session = None


def _session(data: bytes, graph_optimization: str, run: RunOptions) -> Any:
    runtime = _runtime()
    levels = runtime.GraphOptimizationLevel
    options = runtime.SessionOptions()
    options.graph_optimization_level = {
        "disabled": levels.ORT_DISABLE_ALL,
        "basic": levels.ORT_ENABLE_BASIC,
        "extended": levels.ORT_ENABLE_EXTENDED,
        "all": levels.ORT_ENABLE_ALL,
    }[graph_optimization]
    options.intra_op_num_threads = run.threads or available_cores()
    options.inter_op_num_threads = 1
    spin = "1" if run.spin else "0"
    options.add_session_config_entry("session.intra_op.allow_spinning", spin)
    options.log_severity_level = _FATAL  # every error comes as an exception, too
    return runtime.InferenceSession(data, options, providers=[_PROVIDER])


def _check_plan(info: PlanInfo) -> None:
    have = {
        "backend": OnnxRuntimeBackend.name,
        "backend version": _runtime().__version__,
        "platform": current_platform(),
        "device": "cpu",
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


def _plain(error: Exception) -> str:
    """The message without onnxruntime's prefix `[ONNXRuntimeError] : 1 : FAIL : `."""
    parts = str(error).split(" : ", 3)
    return parts[3] if parts[0] == "[ONNXRuntimeError]" and len(parts) == 4 else str(error)
