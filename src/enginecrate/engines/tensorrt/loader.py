"""From a plan's bytes, and the weights of its ONNX graph, to an engine on a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from enginecrate.cuda.device import open_device
from enginecrate.cuda.streams import Stream
from enginecrate.engines.base import RunOptions
from enginecrate.engines.tensorrt.bindings import Library
from enginecrate.engines.tensorrt.execution import TensorRtEngine
from enginecrate.engines.tensorrt.messages import Messages, make_logger, plain
from enginecrate.engines.tensorrt.runtime_cache import open_context
from enginecrate.errors import EngineRunFailed, PlanInvalid, PlanMismatch
from enginecrate.values import Digest, PlanInfo

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["check_header", "load_engine", "read_weights", "refit_engine"]

_DIAGNOSES = {
    "VERSION_MISMATCH": "another version of TensorRT-RTX built it",
    "UNSUPPORTED_CC": "it is not for this GPU's compute capability",
    "OLD_CUDA_DRIVER": "the NVIDIA driver is too old for it",
    "OLD_CUDA_RUNTIME": "the CUDA runtime is too old for it",
    "INSUFFICIENT_GPU_MEMORY": "the GPU has too little memory for it",
    "MALFORMED_ENGINE": "its bytes are no plan",
    "CUDA_ERROR": "CUDA failed while it was checked",
}


def load_engine(
    library: Library, data: bytes, info: PlanInfo, options: RunOptions
) -> TensorRtEngine:
    """Load a plan whose sidecar and digest were checked.

    Args:
        library: the module.
        data: the plan.
        info: its sidecar.
        options: number of the GPU, CUDA graphs, runtime cache, weights.

    Raises:
        PlanMismatch: the library itself finds that it does not fit, or its weights are missing.
        PlanInvalid: the library refuses the bytes, or they hold other tensors than promised.
        EngineRunFailed: CUDA failed, or the GPU's memory does not suffice.
    """
    weights = read_weights(info, options.weights) if info.weights == "stripped" else b""
    device = open_device(options.device)
    device.activate()
    stream = Stream(device)
    try:
        api, logger = library.api, make_logger(library.api)
        api.init_libnvinfer_plugins(logger, "")
        runtime = api.Runtime(logger)
        runtime.engine_host_code_allowed = False  # a plan must never bring code of its own
        if library.can.validity_check:
            check_header(library, runtime, data)
        engine = cast("trt.ICudaEngine | None", runtime.deserialize_cuda_engine(data))
        if engine is None:
            raise PlanInvalid(f"{library.name} refuses the plan: {_said(logger)}; build it again")
        if weights:
            refit_engine(library, engine, logger, weights)
        _check_tensors(library, engine, info)
        context, cache = open_context(library, engine, info, options.runtime_cache)
        if context is None:
            raise EngineRunFailed(
                f"{library.name} cannot make an execution context: {_said(logger)}; free memory "
                "on the GPU, or use fewer instances"
            )
        return TensorRtEngine(
            library,
            (runtime, engine, logger),
            context,
            info,
            stream,
            cache=cache,
            cuda_graph=options.cuda_graph,
        )
    except BaseException:
        stream.close()
        raise


def check_header(library: Library, runtime: trt.Runtime, data: bytes) -> None:
    """Ask TensorRT-RTX whether a plan is for this machine, before it is loaded.

    Raises:
        PlanMismatch: it is not; the message lists the library's reasons.
        PlanInvalid: the bytes are no plan.
    """
    only_rtx: Any = runtime
    verdict, found = only_rtx.get_engine_validity(data)
    if verdict != library.only_rtx.EngineValidity.INVALID:
        return
    kinds = library.only_rtx.EngineInvalidityDiagnostics.__members__
    reasons = [name for name, kind in kinds.items() if int(found) & int(kind.value)]
    words = "; ".join(_DIAGNOSES.get(name, name) for name in reasons) or "it gives no reason"
    if reasons == ["MALFORMED_ENGINE"]:
        raise PlanInvalid(f"TensorRT-RTX refuses the plan: {words}; build it again")
    raise PlanMismatch(f"TensorRT-RTX refuses the plan: {words}; build it for this machine")


def _check_tensors(library: Library, engine: trt.ICudaEngine, info: PlanInfo) -> None:
    names: dict[str, list[str]] = {"INPUT": [], "OUTPUT": []}
    for number in range(engine.num_io_tensors):
        name = engine.get_tensor_name(number)
        mode = (
            "INPUT" if engine.get_tensor_mode(name) == library.api.TensorIOMode.INPUT else "OUTPUT"
        )
        names[mode].append(name)
    for mode, specs in (("INPUT", info.inputs), ("OUTPUT", info.outputs)):
        if sorted(names[mode]) != sorted(spec.name for spec in specs):
            raise PlanInvalid(
                f"the plan has the {mode.lower()}s {', '.join(names[mode])}, and its sidecar "
                f"promises {', '.join(spec.name for spec in specs)}; build it again"
            )


def _said(logger: trt.ILogger) -> str:
    errors = cast(Messages, logger).errors
    return "; ".join(dict.fromkeys(plain(text) for text in errors)) or "it gives no reason"


def read_weights(info: PlanInfo, path: Path | None) -> bytes:
    """The ONNX graph that a plan without weights was built from; checked by its digest.

    Raises:
        PlanMismatch: there is none, or it is another one.
        PlanInvalid: it cannot be read.
    """
    if path is None:
        raise PlanMismatch(
            "the plan has no weights of its own, and no ONNX graph was given with it; keep the "
            "graph beside the plan, or build with build.strip_weights = false"
        )
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise PlanInvalid(f"cannot read the plan's weights from {path}: {exc.strerror}") from exc
    if Digest.of(data) != info.graph_digest:
        raise PlanMismatch(
            f"the plan's weights come from the graph {info.graph_digest}, and {path} is another "
            "one; build the plan again"
        )
    return data


def refit_engine(
    library: Library, engine: trt.ICudaEngine, logger: trt.ILogger, model: bytes
) -> None:
    """Put the weights of a serialized ONNX model into an engine. Raises `PlanInvalid`."""
    refitter = library.api.Refitter(engine, logger)
    parser = library.api.OnnxParserRefitter(refitter, logger)
    if parser.refit_from_bytes(model) and refitter.refit_cuda_engine():
        return
    said = [plain(text) for text in cast(Messages, logger).errors]
    said += [parser.get_error(number).desc() for number in range(parser.num_errors)]
    raise PlanInvalid(
        f"the weights do not fit the plan: {'; '.join(said) or 'no reason given'}; build it again"
    )
