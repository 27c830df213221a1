"""What an engine on a GPU does: graphs, device arrays, threads, failures."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from gpu_plans import LoadEngine
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from resnet50 import resnet50

from enginecrate.cuda.arrays import DeviceArray
from enginecrate.cuda.device import Gpu
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.engines.onnxruntime.cuda import CudaEngine
from enginecrate.engines.onnxruntime.memory import CudaMemory
from enginecrate.engines.onnxruntime.sessions import CudaTuning
from enginecrate.errors import BackendUnavailable, EngineRunFailed, TensorMismatch
from enginecrate.graph.onnx.model import OnnxModel, read_model
from tiny_models import constant, identity, model, save, value, wordy_linear


def opened(proto: onnx.ModelProto, folder: Path) -> OnnxModel:
    return read_model(save(proto, folder / "m.onnx"))


@pytest.fixture
def linear(tmp_path: Path, load: LoadEngine) -> CudaEngine:
    return load(opened(wordy_linear(), tmp_path))


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3), dtype=np.float32)


def wanted(x: np.ndarray) -> np.ndarray:
    return ReferenceEvaluator(wordy_linear()).run(None, {"x": x})[0]


def test_the_probe_names_the_gpu(gpu: Gpu):
    found = OnnxRuntimeBackend().probe()
    assert found.devices == ("cpu", "cuda")
    assert gpu.memory_bytes > 2**30
    assert gpu.name


def test_graphs_are_replayed_over_many_batches(linear: CudaEngine):
    for turn in range(3):
        for batch in (1, 32, 2, 5, 6, 31, 8, 3, 1, 17):
            x = rows(batch, seed=100 * turn + batch)
            y = linear.run({"x": x})["y"]
            np.testing.assert_allclose(y, wanted(x), rtol=1e-5, atol=1e-5)
            np.testing.assert_array_equal(linear.run({"x": x})["y"], y)
    assert linear.without_graph == ""
    assert linear.graphs == 6  # 1, 2, 3, 6, 8, 32: 17 rows are padded to what is there


def test_a_large_model_is_replayed(tmp_path: Path, load: LoadEngine):
    engine = load(opened(resnet50(), tmp_path))
    images = np.random.default_rng(1).standard_normal((4, 3, 224, 224)).astype(np.float32)
    first = engine.run({"image": images})["logits"]
    for number in (3, 0, 2, 1):
        alone = engine.run({"image": images[number : number + 1]})["logits"]
        np.testing.assert_allclose(alone[0], first[number], rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(engine.run({"image": images})["logits"], first)


class OnlyInterface:
    """An array that is handed over by `__cuda_array_interface__` alone."""

    def __init__(self, array: DeviceArray, **changes: Any) -> None:
        self.array = array
        self.__cuda_array_interface__ = {**array.__cuda_array_interface__, **changes}


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_what_one_engine_leaves_on_the_gpu_another_takes(
    tmp_path: Path, load: LoadEngine, cuda_graph: bool
):
    first = load(opened(identity(TensorProto.FLOAT), tmp_path), cuda_graph=cuda_graph)
    second = load(opened(identity(TensorProto.FLOAT), tmp_path), cuda_graph=cuda_graph)
    x = rows(5)[:, :2].copy()
    y = first.run_on_device({"x": x})["y"]
    assert (y.shape, y.dtype, y.device) == ((5, 2), np.float32, 0)
    np.testing.assert_array_equal(y.numpy(), x)
    for given in (y, OnlyInterface(y), OnlyInterface(y, version=2)):
        np.testing.assert_array_equal(second.run({"x": given})["y"], x)
        np.testing.assert_array_equal(second.run_on_device({"x": given})["y"].numpy(), x)
    with pytest.raises(TensorMismatch, match="expected datatype FP32"):
        second.run({"x": OnlyInterface(y, typestr="<i4")})


def test_outputs_that_depend_on_values_run_without_graphs(tmp_path: Path, load: LoadEngine):
    node = helper.make_node("NonZero", ["x"], ["y"])
    out = value("y", [2, None], TensorProto.INT64)
    engine = load(opened(model([node], [value("x", ["n", 3])], [out]), tmp_path))
    assert "depend on values" in engine.without_graph
    for seed in range(3):
        x = np.maximum(rows(4, seed), 0)
        np.testing.assert_array_equal(engine.run({"x": x})["y"], np.nonzero(x))
        on_gpu = engine.run_on_device({"x": x})["y"]
        np.testing.assert_array_equal(on_gpu.numpy(), np.nonzero(x))


def test_values_inside_a_graph_that_depend_on_values(tmp_path: Path, load: LoadEngine):
    """Its outputs have known shapes, so that only recording finds out."""
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"]),
        helper.make_node("Cast", ["places"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["numbers"], ["y"], keepdims=1),
    ]
    proto = model(nodes, [value("x", [4, 3])], [value("y", [1, 1])])
    engine = load(opened(proto, tmp_path))
    for seed in range(4):
        x = np.maximum(rows(4, seed), 0)
        assert engine.run({"x": x})["y"] == sum(map(np.sum, np.nonzero(x)))


def test_control_flow_runs_without_graphs(tmp_path: Path, load: LoadEngine):
    def branch(name: str, factor: float) -> onnx.GraphProto:
        node = helper.make_node("Mul", ["x", f"{name}_factor"], [name])
        weights = [constant(f"{name}_factor", np.array([factor], np.float32))]
        return helper.make_graph([node], name, [], [value(name, ["n", 3])], weights)

    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], then_branch=branch("a", 2.0),
                         else_branch=branch("b", -1.0)),
    ]  # fmt: skip
    zero = constant("zero", np.array(0, np.float32))
    proto = model(nodes, [value("x", ["n", 3])], [value("y", ["n", 3])], [zero])
    engine = load(opened(proto, tmp_path))
    assert engine.without_graph
    ones = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(engine.run({"x": ones})["y"], 2 * ones)
    np.testing.assert_array_equal(engine.run({"x": -ones})["y"], ones)


def test_nodes_without_a_kernel_run_on_the_cpu_and_are_listed(tmp_path: Path, load: LoadEngine):
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["squares"], "square"),
        helper.make_node("Det", ["squares"], ["y"], "determinant"),
    ]
    proto = model(nodes, [value("x", [4, 3, 3])], [value("y", [4])])
    engine = load(opened(proto, tmp_path))
    assert ("determinant", "Det") in engine.cpu_nodes
    assert engine.without_graph
    x = np.random.default_rng(0).standard_normal((4, 3, 3)).astype(np.float32)
    np.testing.assert_allclose(
        engine.run({"x": x})["y"], np.linalg.det(x * x), rtol=1e-3, atol=1e-4
    )


def test_a_model_for_which_the_gpu_has_nothing_is_refused(tmp_path: Path, load: LoadEngine):
    node = helper.make_node("Det", ["x"], ["y"], "determinant")
    proto = model([node], [value("x", [4, 3, 3])], [value("y", [4])])
    with pytest.raises(BackendUnavailable, match=r"runs none of the 1 nodes \(Det\)"):
        load(opened(proto, tmp_path))


def test_threads_with_an_engine_each_and_threads_that_share_one(tmp_path: Path, load: LoadEngine):
    tiny = opened(wordy_linear(), tmp_path)
    shared = load(tiny)
    engines = [load(tiny), load(tiny), shared, shared, shared]
    wrong: list[int] = []

    def work(number: int, engine: CudaEngine) -> None:
        try:
            for turn in range(50):
                x = rows(1 + (turn + number) % 9, seed=1000 * number + turn)
                if not np.allclose(engine.run({"x": x})["y"], wanted(x), rtol=1e-4, atol=1e-5):
                    wrong.append(number)
        except EngineRunFailed:
            wrong.append(number)

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(engines)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_running_out_of_memory_is_named(tmp_path: Path, load: LoadEngine, gpu: Gpu):
    with pytest.raises(EngineRunFailed, match=r"out of memory: .* bytes are needed.*free"):
        CudaMemory(0).allocate(2 * gpu.memory_bytes)
    tuning = CudaTuning(memory_bytes=32 * 2**20)
    with pytest.raises(EngineRunFailed, match=r"GPU 0 is out of memory.*smaller batches"):
        load(opened(resnet50(), tmp_path), tuning=tuning)


def test_memory_is_given_back(tmp_path: Path, load: LoadEngine):
    memory, tiny = CudaMemory(0), opened(resnet50(), tmp_path)
    image = np.zeros((8, 3, 224, 224), np.float32)

    def use() -> int:
        engine = load(tiny)
        engine.run({"image": image})
        engine.close()
        return memory.available()

    use()  # what libraries keep for good is loaded now
    before = use()
    assert before - use() < 64 * 2**20


def test_a_gpu_that_is_not_there(tmp_path: Path, load: LoadEngine):
    with pytest.raises(BackendUnavailable, match=r"there is no GPU 99; this process may use \d+"):
        load(opened(wordy_linear(), tmp_path), device=99)


HIDDEN = """
from enginecrate.cuda.device import find_gpus
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.errors import BackendUnavailable
assert OnnxRuntimeBackend().probe().devices == ("cpu",)
try:
    find_gpus()
except BackendUnavailable as exc:
    print(exc)
"""


def test_hidden_gpus_are_not_used():
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "finds no GPU" in done.stdout


def test_an_engine_outlives_the_threads_that_use_it(tmp_path: Path, load: LoadEngine):
    """What one thread has recorded is replayed in others, after it has ended."""
    engine = load(opened(wordy_linear(), tmp_path))
    wrong: list[int] = []

    def work(turn: int) -> None:
        x = rows(1 + turn % 5, seed=turn)
        if not np.allclose(engine.run({"x": x})["y"], wanted(x), rtol=1e-4, atol=1e-5):
            wrong.append(turn)

    for turn in range(20):
        thread = threading.Thread(target=work, args=(turn,))
        thread.start()
        thread.join()
    assert wrong == []
    assert not engine.without_graph


def test_channels_last_convolutions_of_several_shapes_run_without_graphs(
    tmp_path: Path, load: LoadEngine
):
    """Earlier recordings would read memory that has moved."""
    engine = load(opened(wordy_linear(), tmp_path), tuning=CudaTuning(nhwc=True))
    assert engine.without_graph
