import gc
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from enginecrate.engines.backends import get_backend
from enginecrate.engines.base import Backend, BuildOptions, Engine, Plan, RunOptions
from enginecrate.engines.cache.plans import PlanRequest, PlanStore
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.errors import (
    BackendUnknown,
    EngineRunFailed,
    PlanBuildFailed,
    PlanInvalid,
    PlanMismatch,
    TensorMismatch,
)
from enginecrate.graph.onnx.model import OnnxModel, graph_digest, read_model
from enginecrate.values import Digest, Precision, no_progress
from tiny_models import constant, identity, model, save, value, wordy_linear

OPTIONS = BuildOptions(stack="ort-cpu", tools={"simplifier": "none"})


def opened(proto: onnx.ModelProto, folder: Path) -> OnnxModel:
    return read_model(save(proto, folder / "m.onnx"))


def planned(proto: onnx.ModelProto, folder: Path, options: BuildOptions = OPTIONS) -> Plan:
    built = OnnxRuntimeBackend().build(opened(proto, folder), options, no_progress)
    path = folder / "plan.onnx"
    path.write_bytes(built.data)
    return Plan(path, built.info)


def loaded(proto: onnx.ModelProto, folder: Path) -> Engine:
    return OnnxRuntimeBackend().load(planned(proto, folder), RunOptions(threads=1))


def test_it_computes_what_the_reference_implementation_computes(tmp_path: Path):
    proto = wordy_linear()
    engine = loaded(proto, tmp_path)
    assert engine.max_batch == 32
    for batch in (1, 7, 32):
        x = np.random.default_rng(batch).standard_normal((batch, 3), dtype=np.float32)
        wanted = ReferenceEvaluator(proto).run(None, {"x": x})[0]
        np.testing.assert_allclose(engine.run({"x": x})["y"], wanted, rtol=1e-5, atol=1e-6)


def test_every_optimisation_level_gives_a_plan(tmp_path: Path):
    x = np.ones((2, 3), np.float32)
    results = []
    for level in ("disabled", "basic", "extended", "all"):
        plan = planned(wordy_linear(), tmp_path, replace(OPTIONS, graph_optimization=level))
        assert plan.info.options["graph_optimization"] == level
        results.append(OnnxRuntimeBackend().load(plan, RunOptions(spin=True)).run({"x": x})["y"])
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=1e-5)


def test_the_sidecar_says_from_what_and_for_what(tmp_path: Path):
    tiny = opened(wordy_linear(), tmp_path)
    built = OnnxRuntimeBackend().build(tiny, OPTIONS, no_progress)
    info = built.info
    assert (info.backend, info.stack, info.device) == ("onnxruntime", "ort-cpu", "cpu")
    assert info.platform.startswith("linux/")
    assert info.precision is Precision.FP32
    assert info.model_digest == tiny.source_digest
    assert info.plan_digest == info.graph_digest == Digest.of(built.data)
    assert info.plan_bytes == len(built.data)
    assert info.options == {"graph_optimization": "all", "simplifier": "none"}
    assert (info.inputs, info.outputs) == (tiny.inputs, tiny.outputs)


def test_weights_that_stayed_on_disk_lie_beside_the_plan(tmp_path: Path):
    """As those over 2 GB do (`OnnxModel.weights`)."""
    given = tmp_path / "given"
    given.mkdir()
    onnx.save(wordy_linear(), given / "m.onnx", save_as_external_data=True, size_threshold=0)
    tiny = read_model(given / "m.onnx")
    light = onnx.load(given / "m.onnx", load_external_data=False)
    large = replace(tiny, proto=light, weights=given)
    built = OnnxRuntimeBackend().build(large, OPTIONS)
    assert list(built.files) == list(built.info.files) == ["graph.weights"]
    assert built.info.graph_digest == graph_digest(large)
    plan = PlanStore(tmp_path).put(PlanStore.key(PlanRequest.of(built.info)), built)
    assert sorted(path.name for path in plan.path.parent.iterdir()) == [
        "graph.weights",
        "plan.json",
        "plan.onnx",
    ]
    temporary = next(iter(built.files.values())).parent
    del built
    gc.collect()
    assert not temporary.exists()
    x = np.ones((2, 3), np.float32)
    wanted = ReferenceEvaluator(wordy_linear()).run(None, {"x": x})[0]
    for engine in (
        OnnxRuntimeBackend().load(plan, RunOptions()),
        OnnxRuntimeBackend().load_model(large, RunOptions()),
    ):
        np.testing.assert_allclose(engine.run({"x": x})["y"], wanted, rtol=1e-5)
    flipped = plan.path.with_name("graph.weights")
    flipped.write_bytes(bytes(flipped.stat().st_size))
    with pytest.raises(PlanInvalid, match=r"graph.weights has other bytes"):
        OnnxRuntimeBackend().load(plan, RunOptions())


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (TensorProto.FLOAT16, np.float16),
        (TensorProto.DOUBLE, np.float64),
        (TensorProto.INT8, np.int8),
        (TensorProto.UINT64, np.uint64),
        (TensorProto.BOOL, np.bool_),
    ],
)
def test_datatypes_pass_through(tmp_path: Path, kind: int, dtype: type):
    x = np.array([[0, 1]], dtype)
    y = loaded(identity(kind), tmp_path).run({"x": x})["y"]
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, x)


def test_texts_are_bytes_outside(tmp_path: Path):
    engine = loaded(identity(TensorProto.STRING), tmp_path)
    x = np.array([[b"plain", "größer 大".encode()], [b"", b" "]], object)
    np.testing.assert_array_equal(engine.run({"x": x})["y"], x)
    with pytest.raises(TensorMismatch, match="'x': an element is not UTF-8"):
        engine.run({"x": np.array([[b"\xff", b"a"]], object)})


def test_an_answer_that_is_no_text_is_named(tmp_path: Path):
    text = helper.make_tensor("text", TensorProto.STRING, [1, 1], [b"\xff\xd8"])
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Expand", ["text", "shape"], ["y"]),
    ]
    ends = [value("x", ["n", 2])], [value("y", ["n", 2], TensorProto.STRING)]
    engine = loaded(model(nodes, *ends, [text]), tmp_path)
    with pytest.raises(EngineRunFailed, match="a text that is not UTF-8"):
        engine.run({"x": np.zeros((1, 2), np.float32)})


def test_bfloat16_inputs_are_refused_when_the_plan_is_built(tmp_path: Path):
    with pytest.raises(PlanBuildFailed, match=r"'x' of .* is BF16"):
        planned(identity(TensorProto.BFLOAT16), tmp_path)


def test_nan_and_infinity_pass_through(tmp_path: Path):
    x = np.array([[np.nan, np.inf]], np.float32)
    engine = loaded(identity(TensorProto.FLOAT), tmp_path)
    np.testing.assert_array_equal(engine.run({"x": x})["y"], x)


def test_inputs_are_checked(tmp_path: Path):
    engine = loaded(wordy_linear(), tmp_path)
    with pytest.raises(TensorMismatch, match="'x': expected datatype FP32, found FP64"):
        engine.run({"x": np.ones((1, 3))})


def test_strided_inputs_are_taken(tmp_path: Path):
    x = np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2]
    engine = loaded(wordy_linear(), tmp_path)
    np.testing.assert_array_equal(
        engine.run({"x": x})["y"], engine.run({"x": np.ascontiguousarray(x)})["y"]
    )


def test_a_model_that_onnxruntime_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    node = helper.make_node("Add", ["x", "w"], ["y"], "the_culprit")
    wrong = constant("w", np.zeros((5, 7), np.float32))
    proto = model([node], [value("x", ["n", 3])], [value("y", ["n", 3])], [wrong])
    with pytest.raises(PlanBuildFailed, match=r"refuses the model .*m.onnx.*the_culprit"):
        planned(proto, tmp_path)
    assert capfd.readouterr() == ("", "")


def test_an_operator_that_nobody_knows(tmp_path: Path):
    node = helper.make_node("Anything", ["x"], ["y"], domain="com.example")
    proto = model([node], [value("x", [1])], [value("y", [1])], domains=["com.example"])
    with pytest.raises(PlanBuildFailed, match=r"com.example:Anything"):
        planned(proto, tmp_path)


def failing() -> onnx.ModelProto:
    """Fails when it runs, not when it is loaded: y = reshape(x, shape)."""
    node = helper.make_node("Reshape", ["x", "shape"], ["y"], "bad_reshape")
    inputs = [value("x", [4]), value("shape", [1], TensorProto.INT64)]
    return model([node], inputs, [value("y", [None])])


def test_a_failure_while_running_is_translated_and_quiet(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    engine = loaded(failing(), tmp_path)
    assert engine.max_batch == 0
    x = np.ones(4, np.float32)
    with pytest.raises(EngineRunFailed, match=r"failed while it ran: .*bad_reshape") as caught:
        engine.run({"x": x, "shape": np.array([3])})
    assert caught.value.__cause__ is not None
    assert "[ONNXRuntimeError]" not in str(caught.value)
    assert engine.run({"x": x, "shape": np.array([4])})["y"].shape == (4,)
    assert capfd.readouterr() == ("", "")


def test_a_closed_engine_says_so(tmp_path: Path):
    engine = loaded(wordy_linear(), tmp_path)
    engine.close()
    engine.close()
    with pytest.raises(EngineRunFailed, match="closed"):
        engine.run({"x": np.ones((1, 3), np.float32)})


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("backend", "tensorrt"),
        ("backend_version", "1.0.0"),
        ("platform", "linux/riscv64"),
        ("device", "sm86"),
    ],
)
def test_a_plan_for_something_else(tmp_path: Path, field: str, text: str):
    plan = planned(wordy_linear(), tmp_path)
    foreign = Plan(plan.path, msgspec.structs.replace(plan.info, **{field: text}))
    with pytest.raises(PlanMismatch, match=f"{text}, here is"):
        OnnxRuntimeBackend().load(foreign, RunOptions())


def test_a_damaged_plan(tmp_path: Path):
    plan = planned(wordy_linear(), tmp_path)
    data = bytearray(plan.path.read_bytes())
    data[-3] ^= 1
    plan.path.write_bytes(data)
    with pytest.raises(PlanInvalid, match=r"is damaged.*build it again"):
        OnnxRuntimeBackend().load(plan, RunOptions())
    plan.path.unlink()
    with pytest.raises(PlanInvalid, match="cannot read the plan"):
        OnnxRuntimeBackend().load(plan, RunOptions())


def test_many_threads_share_one_engine(tmp_path: Path):
    proto = wordy_linear()
    engine = loaded(proto, tmp_path)
    assert engine.thread_safe  # type: ignore[attr-defined]
    rng = np.random.default_rng(3)
    inputs = [rng.standard_normal((1 + n % 5, 3), dtype=np.float32) for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(lambda x: engine.run({"x": x})["y"], inputs))
    for x, y in zip(inputs, outputs, strict=True):
        wanted = ReferenceEvaluator(proto).run(None, {"x": x})[0]
        np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)


def test_other_threads_run_while_it_computes(tmp_path: Path):
    """A run that held the GIL would not let the main thread take a single step."""
    size = 900
    nodes = [helper.make_node("MatMul", ["x", "x"], ["y"])]
    proto = model(nodes, [value("x", [size, size])], [value("y", [size, size])])
    engine = loaded(proto, tmp_path)
    x = np.ones((size, size), np.float32)
    started, done, steps = threading.Event(), threading.Event(), 0

    def compute() -> None:
        started.set()
        for _ in range(3):
            engine.run({"x": x})
        done.set()

    before = sys.getswitchinterval()
    sys.setswitchinterval(60)  # only a GIL that is let go of changes hands now
    try:
        thread = threading.Thread(target=compute)
        thread.start()
        started.wait()
        while not done.wait(0.001):
            steps += 1
        thread.join()
    finally:
        sys.setswitchinterval(before)
    assert steps > 3


def test_the_reference_is_the_model_as_it_is(tmp_path: Path):
    tiny = opened(wordy_linear(), tmp_path)
    engine = OnnxRuntimeBackend().load_model(tiny, RunOptions())
    x = np.ones((1, 3), np.float32)
    wanted = ReferenceEvaluator(tiny.proto).run(None, {"x": x})[0]
    np.testing.assert_allclose(engine.run({"x": x})["y"], wanted, rtol=1e-5)


def test_backends_by_name():
    backend: Backend = get_backend("onnxruntime")
    found = backend.probe()
    assert found.usable
    assert found.devices == ("cpu",)
    with pytest.raises(BackendUnknown, match=r"'onxruntime'; did you mean 'onnxruntime'\?"):
        get_backend("onxruntime")


TELEMETRY = """
import sys
from pathlib import Path
import numpy as np
from enginecrate.engines.base import RunOptions
from enginecrate.engines.onnxruntime.backend import OnnxRuntimeBackend
from enginecrate.graph.onnx.model import read_model
engine = OnnxRuntimeBackend().load_model(read_model(Path(sys.argv[1])), RunOptions())
engine.run({"x": np.ones((1, 3), np.float32)})
"""


def test_onnxruntime_sends_and_stores_nothing_about_its_use(tmp_path: Path):
    """With telemetry on, it makes a device id and a database of events in the cache folder."""
    path = save(wordy_linear(), tmp_path / "m.onnx")
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: text for name, text in os.environ.items() if not name.startswith("ORT_")}
    done = subprocess.run(
        [sys.executable, "-c", TELEMETRY, str(path)],
        env=environment | {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(home.iterdir()) == []
