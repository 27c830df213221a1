"""Tests that need an NVIDIA GPU: `python -m pytest tests/gpu -m gpu`. Others never collect them.

Without a GPU, its driver, or a build of onnxruntime for CUDA they fail, and say which it is.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # for tiny_models, running
sys.path.insert(0, str(Path(__file__).parents[1] / "server"))  # for server_process
sys.path.insert(0, str(Path(__file__).parent))  # for gpu_plans

from gpu_plans import Case, LoadEngine, plan_of
from resnet50 import resnet50

from enginecrate.builder.project.project import open_project
from enginecrate.cuda.device import Gpu, find_gpus
from enginecrate.engines.base import RunOptions
from enginecrate.engines.cache.plans import PlanStore
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.engines.onnxruntime.cuda import CudaEngine
from enginecrate.engines.onnxruntime.runtime import cuda_refusal
from enginecrate.engines.onnxruntime.sessions import CudaTuning
from enginecrate.graph.onnx.model import OnnxModel, read_model
from enginecrate.graph.rewrite.simplify import simplify
from enginecrate.settings import load_settings
from enginecrate.values import Precision
from running import SAMPLES
from tiny_models import save


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Only for those who ask: by CI and on machines without a GPU this folder is not seen."""
    asked = str(config.getoption("markexpr"))
    return None if "gpu" in asked and "not gpu" not in asked else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session", autouse=True)
def gpu() -> Gpu:
    """The GPU that everything runs on."""
    found = find_gpus()[0]
    assert cuda_refusal() == ""
    return found


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> PlanStore:
    return PlanStore(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", params=["detection", "classification", "resnet50"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Each sample, and a ResNet-50 with random weights, simplified."""
    if request.param == "resnet50":
        path = tmp_path_factory.mktemp("resnet") / "resnet50.onnx"
        return Case("resnet50", simplify(read_model(save(resnet50(), path))).model, None)
    project = open_project(SAMPLES / request.param, load_settings(environment={}))
    return Case(request.param, simplify(project.model).model, project)


@pytest.fixture
def load(store: PlanStore) -> Iterator[LoadEngine]:
    """Build a plan of a model, and load it on the GPU."""
    engines: list[CudaEngine] = []

    def load(
        model: OnnxModel,
        precision: Precision = Precision.FP32,
        tuning: CudaTuning | None = None,
        **run: object,
    ) -> CudaEngine:
        plan = plan_of(model, precision, store)
        options = RunOptions(**run)  # type: ignore[arg-type]
        engine = OnnxRuntimeBackend().load(plan, options, tuning or CudaTuning())
        assert isinstance(engine, CudaEngine)
        engines.append(engine)
        return engine

    yield load
    for engine in engines:
        engine.close()
