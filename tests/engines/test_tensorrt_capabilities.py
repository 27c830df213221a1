"""The table of capabilities against what the real bindings of each version offer."""

import json
from pathlib import Path

import pytest

from enginecrate.engines.tensorrt.bindings import load_library
from enginecrate.engines.tensorrt.capabilities import capabilities_of
from enginecrate.errors import BackendUnavailable

API = json.loads((Path(__file__).parent / "tensorrt_api.json").read_text(encoding="utf-8"))
RTX = "1.7.1.116"
VERSIONS = [("tensorrt_rtx" if version == RTX else "tensorrt", version) for version in API]

ALWAYS = {
    "Builder": ["build_serialized_network", "create_builder_config", "create_network",
                "create_optimization_profile", "max_threads"],
    "IBuilderConfig": ["add_optimization_profile", "builder_optimization_level", "set_flag",
                       "hardware_compatibility_level", "set_memory_pool_limit"],
    "ICudaEngine": ["create_engine_inspector", "create_execution_context", "get_tensor_mode",
                    "get_tensor_name", "num_io_tensors", "num_layers"],
    "IExecutionContext": ["execute_async_v3", "get_tensor_shape", "infer_shapes",
                          "set_input_shape", "set_optimization_profile_async",
                          "set_output_allocator", "set_tensor_address"],
    "EngineInspector": ["get_engine_information"],
    "ILogger": ["ERROR", "INFO", "INTERNAL_ERROR", "Severity", "log"],
    "INetworkDefinition": ["get_input", "get_layer", "num_inputs", "num_layers"],
    "IOptimizationProfile": ["set_shape"],
    "LayerInformationFormat": ["ONELINE"],
    "MemoryPoolType": ["WORKSPACE"],
    "OnnxParser": ["get_error", "num_errors", "parse"],
    "ParserError": ["desc", "node"],
    "Runtime": ["deserialize_cuda_engine", "engine_host_code_allowed"],
    "TensorIOMode": ["INPUT", "OUTPUT"],
}  # fmt: skip

WHEN = {
    "timing_cache": {"IBuilderConfig": ["create_timing_cache", "set_timing_cache"],
                     "ITimingCache": ["serialize"]},
    "timing_cache_miss": {"BuilderFlag": ["ERROR_ON_TIMING_CACHE_MISS"]},
    "version_compatible": {"BuilderFlag": ["VERSION_COMPATIBLE"]},
    "strip_plan": {"BuilderFlag": ["STRIP_PLAN"], "Refitter": ["refit_cuda_engine"],
                   "OnnxParserRefitter": ["get_error", "num_errors", "refit_from_bytes"]},
    "targets": {"IBuilderConfig": ["num_compute_capabilities", "set_compute_capability"],
                "ComputeCapability": ["SM75", "SM80", "SM86", "SM89", "SM120"]},
    "progress_monitor": {"IBuilderConfig": ["progress_monitor"],
                         "IProgressMonitor": ["phase_finish", "phase_start", "step_complete"]},
    "node_names": {"ParserError": ["node_name", "node_operator"]},
    "validity_check": {"Runtime": ["get_engine_validity"], "EngineValidity": ["INVALID"],
                       "EngineInvalidityDiagnostics": ["MALFORMED_ENGINE", "UNSUPPORTED_CC"]},
    "runtime_cache": {"ICudaEngine": ["create_runtime_config"],
                      "IRuntimeConfig": ["create_runtime_cache", "set_runtime_cache"],
                      "IRuntimeCache": ["deserialize", "serialize"]},
}  # fmt: skip


def missing(version: str, wanted: dict[str, list[str]]) -> list[str]:
    return [
        f"{kind}.{name}"
        for kind, names in wanted.items()
        for name in names
        if name not in API[version].get(kind, ())
    ]


@pytest.mark.parametrize(("backend", "version"), VERSIONS)
def test_every_name_that_the_adapter_uses_is_there(backend: str, version: str):
    can = capabilities_of(backend, version)
    assert missing(version, ALWAYS) == []
    for capability, wanted in WHEN.items():
        if getattr(can, capability):
            assert missing(version, wanted) == [], capability
    assert missing(version, {"NetworkDefinitionCreationFlag": list(can.network_flags)}) == []
    assert missing(version, {"BuilderFlag": list(can.precision_flags.values())}) == []
    assert can.device_memory in API[version]["ICudaEngine"]


@pytest.mark.parametrize(("backend", "version"), VERSIONS)
def test_what_the_table_denies_is_not_there(backend: str, version: str):
    can = capabilities_of(backend, version)
    for capability in ("targets", "progress_monitor", "node_names", "validity_check"):
        if not getattr(can, capability):
            assert missing(version, WHEN[capability]), capability
    if not can.strip_plan:
        assert "STRIP_PLAN" not in API[version]["BuilderFlag"]
    if not can.precision_flags and version.startswith(("11", "1.")):
        assert not {"FP16", "INT8"} & set(API[version]["BuilderFlag"])


def test_the_module_that_is_installed_is_the_one_that_was_recorded():
    library = load_library("tensorrt_rtx")
    for kind, names in API[RTX].items():
        found = [name for name in dir(getattr(library.api, kind)) if name[0] != "_"]
        assert found == names, kind


@pytest.mark.parametrize(
    ("backend", "version"),
    [("tensorrt", "7.2.3"), ("tensorrt", "8.5.3"), ("tensorrt", "9.1"), ("tensorrt_rtx", "2.0"),
     ("tensorrt", "nonsense")],
)  # fmt: skip
def test_other_versions_are_refused(backend: str, version: str):
    with pytest.raises(BackendUnavailable, match=f"{backend} {version} is not supported; install"):
        capabilities_of(backend, version)


def test_type_stubs_alone_are_no_library():
    """Here the package tensorrt-stubs leaves a folder `tensorrt` that imports as an empty one."""
    with pytest.raises(BackendUnavailable, match=r"pip install 'enginecrate\[tensorrt\]'"):
        load_library("tensorrt")
