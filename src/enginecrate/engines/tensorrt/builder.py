"""From an ONNX graph to a plan, with the TensorRT module that is given.

Runs in a process of its own (`worker.py`), so it imports nothing heavy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from enginecrate.engines.tensorrt.bindings import Api, Library
from enginecrate.engines.tensorrt.messages import Messages, make_logger
from enginecrate.engines.tensorrt.protocol import Refusal, RefusedNode, Request

if TYPE_CHECKING:
    import tensorrt as trt

__all__ = ["Compiled", "Refused", "Report", "builder_flags", "compile_plan", "network_flags"]

Report = Callable[[str, int, int], bool]
"""`report(step, done, total)`; `False` stops the build."""

_SHOWN = 400  # layers
_LEVELS = {
    "ampere_plus": "AMPERE_PLUS",
    "same_compute_capability": "SAME_COMPUTE_CAPABILITY",
}


class Refused(Exception):
    """TensorRT gave no plan."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.stage)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A plan's bytes, the timing cache that the builder ended with, and what people should know."""

    plan: bytes
    timing_cache: bytes
    notes: tuple[str, ...]


def compile_plan(
    library: Library, request: Request, model: bytes, timing_cache: bytes, report: Report
) -> Compiled:
    """Parse, configure, build.

    Args:
        library: the module and what it can do.
        request: what to build; its profiles have been checked against the model.
        model: a serialized ONNX model with its weights inside.
        timing_cache: of an earlier build; empty: none.
        report: is told how far the build is.

    Raises:
        Refused: TensorRT refuses the model or the options.
    """
    api = library.api
    logger = make_logger(api)
    said = cast(Messages, logger)
    api.init_libnvinfer_plugins(logger, "")
    builder = api.Builder(logger)
    builder.max_threads = 1  # more would make the bytes depend on who was quicker
    network = builder.create_network(network_flags(library))
    _parse(library, network, logger, model, request.weights_beside)
    config = _configure(library, builder, request)
    _add_profiles(builder, config, network, request.profiles, said)
    cache = _timing_cache(library, config, timing_cache)
    if library.can.progress_monitor:
        config.progress_monitor = _monitor(api, report)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise Refused(Refusal("build", errors=tuple(said.errors)))
    plan = bytes(cast(Any, serialized))
    after = bytes(cast(Any, cache.serialize())) if cache is not None else b""
    if request.require_timing_cache and not library.can.timing_cache_miss and after != timing_cache:
        raise Refused(Refusal("timing_cache"))
    notes = [_layers(network), *_memory(said)]
    if request.on_gpu:
        notes += _describe_plan(library, logger, plan)
    return Compiled(plan, after, tuple(note for note in notes if note))


def network_flags(library: Library) -> int:
    """The flags of a network whose batch is explicit and whose types are those of the graph."""
    kinds = library.api.NetworkDefinitionCreationFlag
    return sum(1 << int(getattr(kinds, name)) for name in library.can.network_flags)


def builder_flags(library: Library, request: Request) -> tuple[str, ...]:
    """Names of the `BuilderFlag`s that a request needs, in a fixed order."""
    can = library.can
    flags = [flag for kind, flag in can.precision_flags.items() if kind in request.element_types]
    if request.version_compatible:
        flags.append("VERSION_COMPATIBLE")
    if request.strip_weights:
        flags.append("STRIP_PLAN")
    if request.require_timing_cache and can.timing_cache_miss:
        flags.append("ERROR_ON_TIMING_CACHE_MISS")
    return tuple(flags)


def _parse(
    library: Library,
    network: trt.INetworkDefinition,
    logger: trt.ILogger,
    model: bytes,
    weights_beside: str,
) -> None:
    parser = library.api.OnnxParser(network, logger)
    if parser.parse(model, weights_beside) if weights_beside else parser.parse(model):
        return
    errors: list[trt.ParserError] = [
        parser.get_error(number) for number in range(parser.num_errors)
    ]
    named = library.can.node_names
    nodes = tuple(
        RefusedNode(
            error.node(),
            error.node_name() if named else "",
            error.node_operator() if named else "",
            error.desc(),
        )
        for error in errors
    )
    raise Refused(Refusal("parse", nodes, tuple(cast(Messages, logger).errors)))


def _configure(library: Library, builder: trt.Builder, request: Request) -> trt.IBuilderConfig:
    api = library.api
    config = builder.create_builder_config()
    config.builder_optimization_level = request.optimization_level
    if request.workspace_bytes:
        config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, request.workspace_bytes)
    for name in builder_flags(library, request):
        config.set_flag(getattr(api.BuilderFlag, name))
    if request.hardware_compatibility != "none":
        level = _LEVELS[request.hardware_compatibility]
        config.hardware_compatibility_level = getattr(api.HardwareCompatibilityLevel, level)
    if library.can.targets:
        only_rtx: Any = config
        only_rtx.num_compute_capabilities = 1
        kinds = library.only_rtx.ComputeCapability
        only_rtx.set_compute_capability(getattr(kinds, request.device.upper()), 0)
    return config


def _add_profiles(
    builder: trt.Builder,
    config: trt.IBuilderConfig,
    network: trt.INetworkDefinition,
    profiles: Sequence[Any],
    said: Messages,
) -> None:
    for number in range(network.num_inputs):
        tensor: Any = network.get_input(number)
        if tensor.is_shape_tensor and tensor.shape:
            raise Refused(Refusal("interface", errors=(tensor.name,)))
    for shapes in profiles:
        profile = builder.create_optimization_profile()
        for name, (low, best, high) in shapes.items():
            profile.set_shape(name, cast(Any, low), cast(Any, best), cast(Any, high))
        if not profile or config.add_optimization_profile(profile) < 0:
            raise Refused(Refusal("profile", errors=tuple(said.errors)))


def _timing_cache(
    library: Library, config: trt.IBuilderConfig, data: bytes
) -> trt.ITimingCache | None:
    if not library.can.timing_cache:
        return None
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        # Of another version or GPU: begin with an empty one, as if none had been given.
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _monitor(api: Api, report: Report) -> trt.IProgressMonitor:
    base: Any = api.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]  # the base is known when it runs
        """Reports the outermost phase; the others begin and end by the hundred."""

        def __init__(self) -> None:
            base.__init__(self)
            self.phase, self.total, self.going = "", 0, True

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            if not parent:
                self.phase, self.total = phase, steps

        def step_complete(self, phase: str, step: int) -> bool:
            if phase == self.phase:
                self.going = report("compile the plan", step + 1, self.total)
            return self.going

        def phase_finish(self, phase: str) -> None:
            if phase == self.phase:
                report("compile the plan", self.total, self.total)

    monitor: trt.IProgressMonitor = Monitor()
    return monitor


def _layers(network: trt.INetworkDefinition) -> str:
    kinds: Counter[str] = Counter()
    for number in range(network.num_layers):
        layer: Any = network.get_layer(number)
        kinds[str(layer.type).rpartition(".")[2].lower()] += 1
    rows = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    listed = ", ".join(f"{count} {kind}" for kind, count in rows)
    return f"network of {network.num_layers} layers before fusion: {listed}"


def _memory(said: Messages) -> list[str]:
    """The builder's own figures; those of the last profile, when there are several."""
    figures = dict(line.split(": ", 1) for line in said.notes if ": " in line)
    listed = "; ".join(f"{name.lower()} {amount}" for name, amount in figures.items())
    return [f"memory as the builder reckons it: {listed}"] if listed else []


def _describe_plan(library: Library, logger: trt.ILogger, plan: bytes) -> list[str]:
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
