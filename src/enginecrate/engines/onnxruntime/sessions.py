"""Sessions of onnxruntime with the options that measured best."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from enginecrate.engines.base import RunOptions
from enginecrate.engines.cpu_cores import available_cores
from enginecrate.engines.onnxruntime.runtime import CPU, CUDA, cuda_refusal, load_runtime
from enginecrate.errors import BackendUnavailable

__all__ = [
    "CpuNode",
    "CudaTuning",
    "nodes_on_cpu",
    "open_cpu_session",
    "open_cuda_session",
    "value_dependent_nodes",
]

_log = logging.getLogger(__name__)
_FATAL = 4
_UNWANTED = "WeightBiasQuantization"
"""Quantises the weights of every layer that reads something quantised, with one scale for all of
them: also of the layers that a graph keeps in float on purpose."""

_VALUE_DEPENDENT = frozenset({"Compress", "NonMaxSuppression", "NonZero", "Unique"})
"""The shapes of their outputs depend on values. A CUDA graph that was recorded with one of them
reads and writes outside of its memory when it is replayed, and no error says so in time."""

_RECORD_NODES = "session.record_ep_graph_assignment_info"


class CudaTuning(NamedTuple):
    """Options of the CUDA provider (onnxruntime documentation, "CUDA Execution Provider").

    The defaults measured best (`benchmarks/onnxruntime_cuda.py`).

    nhwc: convolutions run on channels-last data, which is faster in FP16 and slower in FP32
        without TF32. `None`: in plans with FP16 or BF16 layers, where no CUDA graphs of several
        shapes are recorded. Both together are never done: with
        onnxruntime 1.31 on an H200, replaying the graph of an earlier shape then fails ("illegal
        memory access", "misaligned address"), probably because memory has moved.
    search: how cuDNN chooses its kernels: `EXHAUSTIVE`, `HEURISTIC` or `DEFAULT`.
    memory_bytes: most memory for the session's own arena; 0: no limit.
    """

    nhwc: bool | None = None
    search: str = "EXHAUSTIVE"
    memory_bytes: int = 0


class CpuNode(NamedTuple):
    """A node that a session for a GPU runs on the CPU."""

    name: str
    operator: str


def open_cpu_session(source: bytes | Path, graph_optimization: str, run: RunOptions) -> Any:
    """A session on the CPU. Raises whatever onnxruntime raises."""
    runtime = load_runtime()
    options = _options(graph_optimization, run)
    return runtime.InferenceSession(_source(source), options, providers=[CPU])


def open_cuda_session(
    source: bytes | Path,
    graph_optimization: str,
    run: RunOptions,
    tuning: CudaTuning,
    *,
    graph: bool,
) -> Any:
    """A session on a GPU.

    Args:
        source: the ONNX model.
        graph_optimization: `disabled`, `basic`, `extended` or `all`.
        run: its device and arithmetic.
        tuning: options of the CUDA provider.
        graph: whether runs may be recorded and replayed as CUDA graphs; onnxruntime refuses a
            model for which that cannot be.

    Raises:
        BackendUnavailable: the provider did not start, or runs none of the nodes; onnxruntime
            itself would run everything on the CPU without a word.
        Exception: whatever onnxruntime raises.
    """
    refusal = cuda_refusal()
    if refusal:
        raise BackendUnavailable(refusal)
    runtime = load_runtime()
    options = _options(graph_optimization, run)
    options.add_session_config_entry(_RECORD_NODES, "1")
    session = runtime.InferenceSession(
        _source(source),
        options,
        providers=[(CUDA, _provider_options(run, tuning, graph=graph)), CPU],
    )
    session.disable_fallback()
    if CUDA not in session.get_providers():
        raise BackendUnavailable(
            f"onnxruntime could not start its CUDA provider on GPU {run.device} and would run on "
            "the CPU; its log says why; compare CUDA and the driver with `enginecrate doctor`"
        )
    _check_nodes(session)
    return session


def nodes_on_cpu(session: Any) -> tuple[CpuNode, ...]:
    """Nodes that a session for a GPU runs on the CPU, in the graph's order."""
    return tuple(
        CpuNode(node.name, node.op_type)
        for part in _assignment(session)
        if part.ep_name != CUDA
        for node in part.get_nodes()
    )


def value_dependent_nodes(session: Any) -> tuple[str, ...]:
    """Operators of a session for a GPU whose outputs have shapes that depend on values."""
    found = {node.op_type for part in _assignment(session) for node in part.get_nodes()}
    return tuple(sorted(found & _VALUE_DEPENDENT))


def _check_nodes(session: Any) -> None:
    parts = _assignment(session)
    left = nodes_on_cpu(session)
    if parts and not any(part.ep_name == CUDA for part in parts):
        operators = ", ".join(sorted({node.operator for node in left}))
        raise BackendUnavailable(
            f"onnxruntime's CUDA provider runs none of the {len(left)} nodes ({operators}); use "
            "the plan for the CPU"
        )
    if left:
        names = ", ".join(f"{node.name or '?'} ({node.operator})" for node in left)
        _log.info("%d nodes run on the CPU: %s", len(left), names)


def _assignment(session: Any) -> Sequence[Any]:
    """The provider of each node; empty where onnxruntime was not asked to record it."""
    try:
        asked = session.get_session_options().get_session_config_entry(_RECORD_NODES)
    except RuntimeError:  # not among the options
        return ()
    return tuple(session.get_provider_graph_assignment_info()) if asked == "1" else ()


def _options(graph_optimization: str, run: RunOptions) -> Any:
    runtime = load_runtime()
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
    options.add_session_config_entry("optimization.disable_specified_optimizers", _UNWANTED)
    return options


def _provider_options(run: RunOptions, tuning: CudaTuning, *, graph: bool) -> dict[str, str]:
    found = {
        "device_id": str(run.device),
        "cudnn_conv_algo_search": tuning.search,
        "prefer_nhwc": "1" if tuning.nhwc else "0",
        "use_tf32": "1" if run.tf32 else "0",
        "enable_cuda_graph": "1" if graph else "0",
    }
    if tuning.memory_bytes:
        found["gpu_mem_limit"] = str(tuning.memory_bytes)
    return found


def _source(source: bytes | Path) -> bytes | str:
    return source if isinstance(source, bytes) else str(source)
