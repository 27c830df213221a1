"""Metadata, configuration and statistics of a model, as v2 tells them.

Field names follow Triton's, since its clients read them: `ModelConfig` of model_config.proto, and
the "statistics" extension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from enginecrate.server.model.served_model import ServedModel
from enginecrate.server.model.serving import LoadedModel
from enginecrate.server.statistics.view import Duration
from enginecrate.values import DataType, TensorSpec

__all__ = ["engine_parameters", "model_config", "model_metadata", "model_statistics"]

_PLATFORMS = {"onnxruntime": "onnxruntime_onnx", "tensorrt": "tensorrt_plan"}


def model_metadata(model: ServedModel, loaded: LoadedModel) -> dict[str, Any]:
    """The answer to `GET /v2/models/{model}`."""
    batched = bool(loaded.signature.max_batch)
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": _platform(loaded),
        "inputs": [_tensor(spec, batched) for spec in loaded.signature.inputs],
        "outputs": [_tensor(spec, batched) for spec in loaded.signature.outputs],
        "parameters": {"golden": model.golden_state, **engine_parameters(loaded)},
    }


def model_config(model: ServedModel, loaded: LoadedModel) -> dict[str, Any]:
    """The answer to `GET /v2/models/{model}/config`."""
    signature = loaded.signature
    config: dict[str, Any] = {
        "name": model.name,
        "platform": _platform(loaded),
        "backend": loaded.info.backend,
        "max_batch_size": signature.max_batch,
        "input": _configured(signature.inputs, signature.max_batch),
        "output": _configured(signature.outputs, signature.max_batch),
        "instance_group": [
            {
                "name": model.name,
                "kind": "KIND_CPU" if loaded.info.device == "cpu" else "KIND_GPU",
                "count": loaded.instances,
            }
        ],
        "version_policy": {"latest": {"num_versions": 1}},
        "model_transaction_policy": {"decoupled": False},
        "parameters": {
            name: {"string_value": text}
            for name, text in {**engine_parameters(loaded), **_one_by_one(loaded)}.items()
        },
    }
    if signature.max_batch > 1:
        delay = round(model.manifest.serve.max_queue_delay_ms * 1000)
        config["dynamic_batching"] = {
            "preferred_batch_size": [],
            "max_queue_delay_microseconds": delay,
        }
    return config


def model_statistics(model: ServedModel) -> dict[str, Any]:
    """One entry of the answer to `GET /v2/models/{model}/stats`."""
    totals = model.statistics.view.totals()
    parts = {
        name: _duration(totals.durations[name])
        for name in ("queue", "compute_input", "compute_infer", "compute_output")
    }
    nothing = _duration(Duration())
    return {
        "name": model.name,
        "version": model.version,
        "last_inference": totals.last_inference_ms,
        "inference_count": totals.inferences,
        "execution_count": totals.executions,
        "inference_stats": {
            "success": _duration(totals.success),
            "fail": _duration(totals.fail),
            **parts,
            "cache_hit": nothing,
            "cache_miss": nothing,
        },
        "batch_stats": [
            {"batch_size": size, "compute_infer": _duration(duration)}
            for size, duration in sorted(totals.batches.items())
        ],
    }


def engine_parameters(loaded: LoadedModel) -> dict[str, str]:
    """The engine that serves and its plan, as v2 parameters."""
    engine = loaded.engine
    return {"engine": f"{engine.backend} {engine.precision} {engine.device}", "plan": engine.plan}


def _one_by_one(loaded: LoadedModel) -> dict[str, str]:
    """Why no batches are formed, when they would spoil answers."""
    return {"one_by_one": loaded.one_by_one} if loaded.one_by_one else {}


def _platform(loaded: LoadedModel) -> str:
    return _PLATFORMS.get(loaded.info.backend, loaded.info.backend)


def _tensor(spec: TensorSpec, batched: bool) -> dict[str, Any]:
    shape = [-1, *spec.shape[1:]] if batched else list(spec.shape)
    return {"name": spec.name, "datatype": spec.datatype, "shape": shape}


def _configured(specs: Sequence[TensorSpec], max_batch: int) -> list[dict[str, Any]]:
    return [
        {
            "name": spec.name,
            "data_type": _config_type(spec.datatype),
            "dims": list(spec.shape[1:] if max_batch else spec.shape),
        }
        for spec in specs
    ]


def _config_type(datatype: DataType) -> str:
    return "TYPE_STRING" if datatype is DataType.BYTES else f"TYPE_{datatype}"


def _duration(duration: Duration) -> dict[str, int]:
    return {"count": duration.count, "ns": duration.ns}
