"""Engines for graphs that have no plan yet."""

from __future__ import annotations

from enginecrate.builder.accuracy.evaluation import Proof
from enginecrate.engines.base import Engine, RunOptions
from enginecrate.engines.batch_limit import find_max_batch
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.engines.onnxruntime.cpu import OnnxRuntimeEngine
from enginecrate.engines.onnxruntime.runtime import plain_message
from enginecrate.engines.onnxruntime.sessions import open_cpu_session
from enginecrate.errors import PlanBuildFailed
from enginecrate.graph.onnx.model import OnnxModel
from enginecrate.graph.typed import Scheme

__all__ = ["load_candidate", "proof_of"]


def proof_of(scheme: Scheme) -> Proof:
    """The proof that a graph of this scheme can get here: only CPU graphs run as they will."""
    return "measured" if scheme is Scheme.CPU else "simulated"


def load_candidate(model: OnnxModel, proof: Proof, threads: int = 1) -> Engine:
    """An engine for a graph.

    Args:
        model: a typed graph.
        proof: `measured` optimises it as a plan for the CPU is; `simulated` executes node by
            node as the graph says: pairs and casts in float.
        threads: of one run. With one, results do not depend on the number of cores.

    Raises:
        PlanBuildFailed: onnxruntime has no kernels for it.
    """
    options = RunOptions(threads=threads)
    if proof == "simulated" or model.weights is not None:
        return OnnxRuntimeBackend().load_model(model, options)
    try:
        data = model.proto.SerializeToString(deterministic=True)
        session = open_cpu_session(data, "all", options)
    except Exception as exc:  # onnxruntime's errors have no common base class
        raise PlanBuildFailed(
            f"onnxruntime refuses the graph made of {model.source}: {plain_message(exc)}"
        ) from exc
    return OnnxRuntimeEngine(session, model.inputs, model.outputs, find_max_batch(model, ()))
