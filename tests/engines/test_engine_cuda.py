"""The engine for GPUs, with the host's memory in the place of the GPU's; tests/gpu has the rest."""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from enginecrate.cuda.device import find_gpus
from enginecrate.engines.base import BuildOptions, Plan, RunOptions
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.engines.onnxruntime.cuda import MAX_GRAPHS, CudaEngine
from enginecrate.engines.onnxruntime.memory import HostMemory
from enginecrate.engines.onnxruntime.runtime import cuda_refusal, out_of_memory
from enginecrate.engines.onnxruntime.sessions import CudaTuning, open_cpu_session, open_cuda_session
from enginecrate.errors import (
    BackendUnavailable,
    DeviceLost,
    EngineRunFailed,
    PlanBuildFailed,
    PlanMismatch,
    TensorMismatch,
)
from enginecrate.graph.onnx.model import read_model
from tiny_models import identity, model, save, value, wordy_linear

RUN = RunOptions(threads=1)


def opener(proto: onnx.ModelProto) -> Callable[[bool], Any]:
    return lambda graph: open_cpu_session(proto.SerializeToString(), "all", RUN)


def engine_of(
    proto: onnx.ModelProto, folder: Path, max_batch: int = 32, **options: Any
) -> tuple[CudaEngine, HostMemory]:
    specs, memory = read_model(save(proto, folder / "m.onnx")), HostMemory()
    opens = options.pop("opens", opener(proto))
    return CudaEngine(opens, specs.inputs, specs.outputs, max_batch, memory, **options), memory


@pytest.fixture
def linear(tmp_path: Path) -> tuple[CudaEngine, HostMemory]:
    return engine_of(wordy_linear(), tmp_path)


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3), dtype=np.float32)


def wanted(x: np.ndarray) -> np.ndarray:
    return ReferenceEvaluator(wordy_linear()).run(None, {"x": x})[0]


class OnDevice:
    """An array in memory that is called a device's here, as other libraries hand theirs over."""

    def __init__(self, array: np.ndarray, **changes: object) -> None:
        self.array = array
        self.__cuda_array_interface__ = {
            "version": 3,
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.ctypes.data, False),
            "strides": None if array.flags.c_contiguous else array.strides,
            "stream": None,
            **changes,
        }


def test_few_buffers_serve_every_batch(linear: tuple[CudaEngine, HostMemory]):
    engine, memory = linear
    for batch in [*range(1, 33), 5, 1]:
        x = rows(batch, seed=batch)
        y = engine.run({"x": x})["y"]
        assert y.shape == (batch, 4)
        np.testing.assert_allclose(y, wanted(x), rtol=1e-5, atol=1e-6)
    assert engine.graphs == 10  # 1, 2, 3, 4, 6, 8, 12, 16, 24, 32
    assert engine.without_graph == ""
    assert memory.allocated == sum((1, 2, 3, 4, 6, 8, 12, 16, 24, 32)) * (3 + 4) * 4
    engine.close()
    engine.close()
    assert memory.allocated == 0
    with pytest.raises(EngineRunFailed, match="closed"):
        engine.run({"x": rows(1)})


@pytest.mark.parametrize("graph", [True, False])
def test_parts_of_a_batch_are_computed_where_they_lie(tmp_path: Path, graph: bool):
    engine, _ = engine_of(wordy_linear(), tmp_path, cuda_graph=graph)
    for batches in ([1], [2, 1, 4], [1] * 11, [16, 16]):
        parts = [{"x": rows(batch, seed=7 * batch + n)} for n, batch in enumerate(batches)]
        expected = [wanted(part["x"]) for part in parts]
        into = [{"y": np.empty_like(each)} if n % 2 else None for n, each in enumerate(expected)]
        outputs = engine.run_parts(parts, into)
        for found, right, given in zip(outputs, expected, into, strict=True):
            np.testing.assert_allclose(found["y"], right, rtol=1e-5, atol=1e-6)
            if given is not None and graph:
                assert found["y"] is given["y"]


def test_a_warm_engine_records_nothing_at_load(linear: tuple[CudaEngine, HostMemory]):
    engine, memory = linear
    assert engine.warm(16, 60.0) == 8  # 1, 16, 2, 4, 8, 3, 6, 12
    allocated = memory.allocated
    for batch in range(1, 17):
        np.testing.assert_allclose(engine.run({"x": rows(batch)})["y"], wanted(rows(batch)),
                                   rtol=1e-5, atol=1e-6)  # fmt: skip
    assert engine.graphs == 8
    assert memory.allocated == allocated
    engine.run({"x": rows(17)})
    assert engine.graphs == 9


def test_an_engine_without_time_records_the_first_sizes(linear: tuple[CudaEngine, HostMemory]):
    engine, _ = linear
    assert engine.warm(16, -1.0) == 0
    engine.run({"x": rows(4)})
    engine.run({"x": rows(3)})  # padded to what is there
    assert engine.graphs == 1


def test_parts_that_are_too_many_or_wrong_are_refused(linear: tuple[CudaEngine, HostMemory]):
    engine, _ = linear
    with pytest.raises(TensorMismatch, match="33 samples"):
        engine.run_parts([{"x": rows(32)}, {"x": rows(1)}], [None, None])
    with pytest.raises(TensorMismatch):
        engine.run_parts([{"x": rows(1)}, {"z": rows(1)}], [None, None])


def test_answers_are_the_callers_own(linear: tuple[CudaEngine, HostMemory]):
    engine, _ = linear
    first = engine.run({"x": rows(2, seed=1)})["y"]
    copy = first.copy()
    engine.run({"x": rows(2, seed=2)})
    np.testing.assert_array_equal(first, copy)


def test_device_arrays_go_in_and_come_out(linear: tuple[CudaEngine, HostMemory]):
    engine, _ = linear
    x = rows(5)
    for given in (x, OnDevice(x), linear_view(x)):
        y = engine.run_on_device({"x": given})["y"]
        assert (y.shape, y.dtype, y.nbytes) == ((5, 4), np.float32, 80)
        np.testing.assert_allclose(y.numpy(), wanted(x), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(y.numpy(), engine.run({"x": given})["y"])
    described = y.__cuda_array_interface__
    assert described["shape"] == (5, 4)
    seen = (ctypes.c_float * 20).from_address(described["data"][0])
    np.testing.assert_array_equal(np.array(seen).reshape(5, 4), y.numpy())
    again = engine_of_outputs(engine, y)
    assert again.shape == (5, 4)


def linear_view(x: np.ndarray) -> Any:
    """A tensor with DLPack alone."""

    class View:
        def __dlpack__(self, **_: object) -> object:
            return x.__dlpack__()

        def __dlpack_device__(self) -> tuple[int, int]:
            return x.__dlpack_device__()

    return View()


def engine_of_outputs(engine: CudaEngine, y: Any) -> np.ndarray:
    """What an engine leaves on the device is an input like any other."""
    with pytest.raises(TensorMismatch, match=r"expected shape \[-1,3\], found \[5,4\]"):
        engine.run({"x": y})
    return y.numpy()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (OnDevice(np.zeros((2, 4), np.float32)), r"expected shape \[-1,3\], found \[2,4\]"),
        (OnDevice(np.zeros((2, 3), np.float16)), "expected datatype FP32, found FP16"),
        (OnDevice(np.zeros((3, 2), np.float32).T), "is not C-contiguous"),
        (OnDevice(np.zeros((33, 3), np.float32)), "a batch of 1 to 32, found 33"),
        ([[1, 2, 3]], "found list"),
    ],
)
def test_device_arrays_are_checked(
    linear: tuple[CudaEngine, HostMemory], given: object, message: str
):
    with pytest.raises(TensorMismatch, match=message):
        linear[0].run({"x": given})


def test_arrays_of_other_kinds_of_devices_are_refused(linear: tuple[CudaEngine, HostMemory]):
    class OnMetal:
        def __dlpack__(self, **_: object) -> object:
            raise AssertionError

        def __dlpack_device__(self) -> tuple[int, int]:
            return 8, 0

    with pytest.raises(TensorMismatch, match="on a device of DLPack's kind 8, not on an NVIDIA"):
        linear[0].run({"x": OnMetal()})


def test_the_number_of_recorded_shapes_is_bounded(tmp_path: Path):
    node = helper.make_node("Relu", ["x"], ["y"])
    proto = model([node], [value("x", ["n", "width"])], [value("y", ["n", "width"])])
    engine, memory = engine_of(proto, tmp_path)
    for width in range(1, 31):
        x = np.full((2, width), -1, np.float32)
        np.testing.assert_array_equal(engine.run({"x": x})["y"], np.zeros((2, width), np.float32))
    assert engine.graphs == MAX_GRAPHS
    kept = sum(2 * width * 4 * 2 for width in (*range(1, MAX_GRAPHS + 1), 30))
    assert memory.allocated == kept


def test_outputs_of_unknown_shape_run_without_graphs(tmp_path: Path):
    node = helper.make_node("NonZero", ["x"], ["y"])
    out = value("y", [2, None], TensorProto.INT64)
    engine, memory = engine_of(model([node], [value("x", ["n", 3])], [out]), tmp_path, 0)
    assert "depend on values" in engine.without_graph
    x = np.array([[0, 1, 0], [2, 0, 3]], np.float32)
    for given in (x, OnDevice(x)):
        np.testing.assert_array_equal(engine.run({"x": given})["y"], np.nonzero(x))
        on_device = engine.run_on_device({"x": given})["y"]
        np.testing.assert_array_equal(on_device.numpy(), np.nonzero(x))
    assert (engine.graphs, memory.allocated) == (0, 0)


def test_fixed_shapes_and_several_inputs(tmp_path: Path):
    node = helper.make_node("Add", ["a", "b"], ["c"])
    proto = model([node], [value("a", ["h", 2]), value("b", ["h", 2])], [value("c", ["h", 2])])
    engine, _ = engine_of(proto, tmp_path, 0)
    a, b = np.ones((3, 2), np.float32), np.full((3, 2), 2, np.float32)
    np.testing.assert_array_equal(engine.run({"a": a, "b": OnDevice(b)})["c"], a + b)
    with pytest.raises(TensorMismatch, match=r"'b' has h = 1, but input 'a' has 3"):
        engine.run({"a": a, "b": b[:1].copy()})


def test_texts_stay_on_the_host(tmp_path: Path):
    engine, _ = engine_of(identity(TensorProto.STRING), tmp_path)
    assert "text" in engine.without_graph
    x = np.array([[b"a", "ä".encode()]], object)
    np.testing.assert_array_equal(engine.run({"x": x})["y"], x)
    with pytest.raises(EngineRunFailed, match="'x' is text"):
        engine.run_on_device({"x": x})


def test_a_session_that_cannot_be_recorded_is_opened_without(tmp_path: Path):
    proto, asked = wordy_linear(), []

    def opens(graph: bool) -> Any:
        asked.append(graph)
        if graph:
            raise RuntimeError("[ONNXRuntimeError] : 1 : FAIL : has control flow nodes")
        return opener(proto)(graph)

    engine, _ = engine_of(proto, tmp_path, opens=opens)
    assert asked == [True, False]
    assert engine.without_graph == "has control flow nodes"
    x = rows(3)
    np.testing.assert_allclose(engine.run({"x": x})["y"], wanted(x), rtol=1e-5, atol=1e-6)
    switched_off, _ = engine_of(proto, tmp_path, opens=opens, cuda_graph=False)
    assert switched_off.without_graph == "switched off"
    assert asked == [True, False, False]


class Failing:
    """A session whose next runs fail."""

    def __init__(self, session: Any, *errors: Exception | None) -> None:
        self.session, self.errors = session, list(errors)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def run_with_iobinding(self, *arguments: Any) -> None:
        if self.errors and (error := self.errors.pop(0)):
            raise error
        self.session.run_with_iobinding(*arguments)


def test_a_recording_that_fails_is_given_up_for_good(tmp_path: Path):
    proto = wordy_linear()

    def opens(graph: bool) -> Any:
        session = opener(proto)(graph)
        return Failing(session, RuntimeError("operation not permitted")) if graph else session

    engine, memory = engine_of(proto, tmp_path, opens=opens)
    x = rows(3)
    for _ in range(2):
        np.testing.assert_allclose(engine.run({"x": x})["y"], wanted(x), rtol=1e-5, atol=1e-6)
    assert engine.without_graph == "recording failed: operation not permitted"
    engine.close()
    assert memory.allocated == 0


@pytest.mark.parametrize(
    "words",
    [
        "CUDA failure 2: out of memory ; GPU=0 ; hostname=h",
        "BFCArena: Failed to allocate memory for requested buffer of size 1024",
        "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED",
    ],
)
def test_running_out_of_memory_is_named(tmp_path: Path, words: str):
    proto = wordy_linear()
    engine, _ = engine_of(
        proto, tmp_path, opens=lambda graph: Failing(opener(proto)(graph), RuntimeError(words))
    )
    with pytest.raises(EngineRunFailed, match=r"GPU 0 is out of memory: .*fewer instances"):
        engine.run({"x": rows(1)})
    assert engine.without_graph == ""
    np.testing.assert_allclose(engine.run({"x": rows(1)})["y"], wanted(rows(1)), rtol=1e-5)

    def refuses(graph: bool) -> Any:
        raise RuntimeError(words)

    with pytest.raises(EngineRunFailed, match="out of memory"):
        engine_of(proto, tmp_path, opens=refuses)
    assert not out_of_memory(RuntimeError("invalid argument"))


class Counting(HostMemory):
    """Counts how often it is closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_what_copies_need_is_freed_when_an_engine_ends_or_cannot_start(tmp_path: Path):
    proto, memory = wordy_linear(), Counting()
    specs = read_model(save(proto, tmp_path / "m.onnx"))
    CudaEngine(opener(proto), specs.inputs, specs.outputs, 32, memory).close()
    assert memory.closed == 1

    def refuses(graph: bool) -> Any:
        raise RuntimeError("out of memory")

    with pytest.raises(EngineRunFailed):
        CudaEngine(refuses, specs.inputs, specs.outputs, 32, memory)
    assert memory.closed == 2


class Lost(HostMemory):
    """A device's memory that is lost as soon as somebody asks."""

    def available(self) -> int:
        raise DeviceLost("GPU 0 is lost to this process: cuMemGetInfo_v2: 700")


@pytest.mark.parametrize("runs", [0, 1])
def test_a_lost_gpu_is_told_and_no_session_is_opened_on_it_again(tmp_path: Path, runs: int):
    """In the search for a shape, which comes before its recording, as well as later."""
    proto, asked = wordy_linear(), []
    specs = read_model(save(proto, tmp_path / "m.onnx"))

    def opens(graph: bool) -> Any:
        asked.append(graph)
        return Failing(opener(proto)(graph), *[None] * 2 * runs, RuntimeError("CUDA failure 700"))

    engine = CudaEngine(opens, specs.inputs, specs.outputs, 32, Lost())
    for _ in range(runs):
        engine.run({"x": rows(3)})
    with pytest.raises(DeviceLost, match=r"GPU 0 is lost .*; onnxruntime says: CUDA failure 700"):
        engine.run({"x": rows(3)})
    assert asked == [True]
    engine.close()


# -- without a GPU ------------------------------------------------------------------------------


def test_plans_for_cuda_are_built_anywhere(tmp_path: Path):
    tiny = read_model(save(wordy_linear(), tmp_path / "m.onnx"))
    built = OnnxRuntimeBackend().build(tiny, BuildOptions(stack="ort-cuda130", device="cuda"))
    assert (built.info.device, built.info.backend) == ("cuda", "onnxruntime")
    assert built.notes == ()
    with pytest.raises(PlanBuildFailed, match="plans for cpu and cuda, not for 'sm86'"):
        OnnxRuntimeBackend().build(tiny, BuildOptions(stack="ort-cuda130", device="sm86"))


def test_a_kernel_that_only_gpus_have_is_noted(tmp_path: Path):
    """NhwcConv is an operator of the CUDA provider alone."""
    weight = helper.make_tensor("w", TensorProto.FLOAT16, [1, 1, 1, 1], [1.0])
    node = helper.make_node("NhwcConv", ["x", "w"], ["y"], "conv", domain="com.microsoft")
    shape = ["n", 4, 4, 1]
    kind = TensorProto.FLOAT16
    proto = model(
        [node], [value("x", shape, kind)], [value("y", shape, kind)], [weight],
        domains=["com.microsoft"],
    )  # fmt: skip
    tiny = read_model(save(proto, tmp_path / "m.onnx"))
    built = OnnxRuntimeBackend().build(tiny, BuildOptions(stack="ort-cuda130", device="cuda"))
    assert len(built.notes) == 1
    assert "not tried before it is loaded on a GPU" in built.notes[0]
    with pytest.raises(PlanBuildFailed, match="NhwcConv"):
        OnnxRuntimeBackend().build(tiny, BuildOptions(stack="ort-cpu"))


def cuda_plan(folder: Path) -> Plan:
    tiny = read_model(save(wordy_linear(), folder / "m.onnx"))
    built = OnnxRuntimeBackend().build(tiny, BuildOptions(stack="ort-cuda130", device="cuda"))
    (folder / "plan.onnx").write_bytes(built.data)
    return Plan(folder / "plan.onnx", built.info)


def test_without_a_driver_a_plan_for_cuda_says_so(tmp_path: Path):
    with pytest.raises(BackendUnavailable, match=r"NVIDIA driver.*--gpus all"):
        find_gpus()
    with pytest.raises(BackendUnavailable, match="NVIDIA driver"):
        OnnxRuntimeBackend().load(cuda_plan(tmp_path), RunOptions())


def test_without_the_provider_nothing_falls_back_to_the_cpu():
    assert "was built without CUDA" in cuda_refusal()
    data = wordy_linear().SerializeToString()
    with pytest.raises(BackendUnavailable, match="was built without CUDA"):
        open_cuda_session(data, "all", RUN, CudaTuning(), graph=True)


def test_a_plan_for_another_platform(tmp_path: Path):
    plan = cuda_plan(tmp_path)
    foreign = Plan(plan.path, type(plan.info)(**{**_fields(plan), "platform": "linux/riscv64"}))
    with pytest.raises(PlanMismatch, match="linux/riscv64, here is"):
        OnnxRuntimeBackend().load(foreign, RunOptions())


def _fields(plan: Plan) -> dict[str, Any]:
    return {name: getattr(plan.info, name) for name in plan.info.__struct_fields__}
