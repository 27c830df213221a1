"""Plans from the real builder of TensorRT-RTX, which needs no GPU."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from enginecrate.engines.base import BuildAids, BuiltPlan
from enginecrate.engines.tensorrt.backend import TensorRtBackend
from enginecrate.errors import BackendUnavailable, PlanBuildFailed
from enginecrate.graph.cast.cast import cast_nodes
from enginecrate.graph.onnx.names import name_nodes
from enginecrate.graph.typed import TypedGraph
from enginecrate.values import Digest, LayerPrecision, Precision
from tensorrt_helpers import BATCHES, RTX, built, no_gpus, one_gpu, opened, options
from tiny_models import color_classifier, constant, identity, model, value, wordy_linear

COLORS = ({"image": ((1, 3, 8, 8), (8, 3, 8, 8), (32, 3, 8, 8))},)


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> BuiltPlan:
    return built(wordy_linear(), tmp_path_factory.mktemp("linear"))


@pytest.mark.parametrize("device", ["sm80", "sm120"])
def test_a_plan_for_each_gpu_with_a_full_sidecar(
    tmp_path: Path, device: str, capfd: pytest.CaptureFixture[str]
):
    layers = (LayerPrecision("product", "MatMul", Precision.FP32, 12),)
    asked = options(device, layers=layers, calibration_digest="", tools={"simplifier": "none"})
    result = built(wordy_linear(), tmp_path, asked)
    info = result.info
    assert len(result.data) > 10_000
    assert (info.plan_digest, info.plan_bytes) == (Digest.of(result.data), len(result.data))
    assert (info.backend, info.stack, info.device) == ("tensorrt_rtx", "trtrtx17-cuda130", device)
    assert (info.backend_version, info.max_batch) == ("1.7.1.116", 32)
    assert info.profiles == tuple(dict(one) for one in BATCHES)
    assert info.options == {
        "optimization_level": 3, "workspace_bytes": 0, "simplifier": "none"
    }  # fmt: skip
    assert info.layers == layers
    assert (info.weights, info.version_compatible) == ("full", False)
    assert (info.gpu_name, info.timing_cache_digest, result.timing_cache) == ("", "", b"")
    assert any("layers before fusion" in note for note in result.notes)
    assert any("total weights memory" in note for note in result.notes)
    assert capfd.readouterr() == ("", "")


def test_two_profiles_make_another_plan(tmp_path: Path, linear: BuiltPlan):
    second = {"x": ((1, 3), (1, 3), (1, 3))}
    two = built(wordy_linear(), tmp_path, options(profiles=(*BATCHES, second)))
    assert len(two.data) > len(linear.data)
    assert len(two.info.profiles) == 2


AGAIN = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tensorrt_helpers import built
from tiny_models import wordy_linear
print(built(wordy_linear(), Path(sys.argv[2])).info.plan_digest)
"""


def test_the_same_build_gives_the_same_bytes(tmp_path: Path, linear: BuiltPlan):
    here = Path(__file__).parents[1]
    wanted = {linear.info.plan_digest}
    for number, environment in enumerate(
        ({"PYTHONHASHSEED": "5", "LC_ALL": "C.UTF-8"}, {"PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo"})
    ):
        folder = tmp_path / f"other{number}"
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", AGAIN, str(here), str(folder)],
            env=os.environ | environment | {"SOME_VARIABLE": "x" * 900 * number},
            cwd=folder,
            umask=0o077,
            capture_output=True,
            text=True,
            check=True,
        )
        wanted.add(done.stdout.strip())
    assert len(wanted) == 1


def test_builds_side_by_side_do_not_disturb_each_other(tmp_path: Path, linear: BuiltPlan):
    tiny = opened(wordy_linear(), tmp_path)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: RTX.build(tiny, options()).info.plan_digest, range(2)))
    assert set(found) == {linear.info.plan_digest}


def test_progress_reaches_the_end(tmp_path: Path):
    steps: list[tuple[str, int, int]] = []
    built(wordy_linear(), tmp_path, progress=lambda *step: steps.append(step))
    assert {step for step, _, _ in steps} == {"compile the plan"}
    assert steps[-1][1] == steps[-1][2] > 1


def test_ctrl_c_ends_the_build_and_its_process(tmp_path: Path):
    def interrupt(step: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        built(wordy_linear(), tmp_path, progress=interrupt)
    assert workers() == []


def test_a_builder_that_dies_is_an_error_with_its_fate(tmp_path: Path):
    def kill(step: str, done: int, total: int) -> None:
        for pid in workers():
            os.kill(pid, signal.SIGKILL)

    with pytest.raises(PlanBuildFailed, match=r"was killed by signal 9; free some memory"):
        built(wordy_linear(), tmp_path, progress=kill)


def workers() -> list[int]:
    """Processes that build for us."""
    task = Path(f"/proc/{os.getpid()}/task")
    children = " ".join((one / "children").read_text() for one in task.iterdir()).split()
    return [pid for pid in map(int, children) if b"tensorrt.worker" in command(pid)]


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_turing_has_no_fp32_matrix_product_and_takes_it_in_fp16(tmp_path: Path):
    tiny = opened(color_classifier(), tmp_path)
    with pytest.raises(
        PlanBuildFailed, match=r"no FP32 matrix product for sm75.*'score'"
    ) as caught:
        RTX.build(tiny, options("sm75", COLORS))
    assert (caught.value.nodes, caught.value.needs_fp16) == (("score",), True)
    graph = cast_nodes(TypedGraph(tiny, Precision.FP32, ()), caught.value.nodes)
    assert RTX.build(graph.model, options("sm75", COLORS)).data


def test_all_matrix_products_that_turing_refuses_are_named_at_once(tmp_path: Path):
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"], "first"),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Gemm", ["r", "b"], ["y"], "second"),
    ]
    constants = [
        constant("a", np.ones((3, 5), np.float32)),
        constant("b", np.ones((5, 2), np.float32)),
    ]
    proto = model(nodes, [value("x", ["n", 3])], [value("y", ["n", 2])], constants)
    with pytest.raises(PlanBuildFailed) as caught:
        built(proto, tmp_path, options("sm75"))
    assert sorted(caught.value.nodes) == ["first", "second"]


def det() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"], "relu"),
        helper.make_node("Det", ["r"], ["y"], "the_culprit"),
    ]
    return model(nodes, [value("x", [3, 3])], [value("y", [])])


def unknown() -> onnx.ModelProto:
    node = helper.make_node("Anything", ["x"], ["y"], "odd_one", domain="com.example")
    return model([node], [value("x", [1])], [value("y", [1])], domains=["com.example"])


@pytest.mark.parametrize(
    ("proto", "node", "operator"),
    [(det(), "the_culprit", "Det"), (unknown(), "odd_one", "Anything")],
)
def test_a_refused_operator_is_named_with_its_node(
    tmp_path: Path,
    proto: onnx.ModelProto,
    node: str,
    operator: str,
    capfd: pytest.CaptureFixture[str],
):
    with pytest.raises(PlanBuildFailed) as caught:
        built(proto, tmp_path, options(profiles=()))
    assert caught.value.nodes == (node,)
    for word in (
        f"node {node!r} ({operator})",
        "does not know the operator",
        "replace it",
        "m.onnx",
    ):
        assert word in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("kind", "better"),
    [(TensorProto.DOUBLE, "FP32"), (TensorProto.UINT64, "INT32"), (TensorProto.STRING, "FP32"),
     (TensorProto.INT16, "INT32")],
)  # fmt: skip
def test_datatypes_that_the_plan_would_not_keep_are_refused(tmp_path: Path, kind: int, better: str):
    with pytest.raises(PlanBuildFailed, match=rf"input 'x' of .* does not take .*{better}"):
        built(identity(kind), tmp_path, options(profiles=TWO))


TWO = ({"x": ((1, 2), (8, 2), (32, 2))},)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.INT64, TensorProto.UINT8])
def test_other_datatypes_are_built(tmp_path: Path, kind: int):
    assert built(identity(kind), tmp_path, options(profiles=TWO)).data


def test_weights_in_files_beside_the_model(tmp_path: Path, linear: BuiltPlan):
    """As the graph has them that are too large for one ONNX file."""
    tiny = opened(wordy_linear(), tmp_path)
    beside = onnx.ModelProto()
    beside.CopyFrom(tiny.proto)
    onnx.external_data_helper.convert_model_to_external_data(
        beside, location="weights.bin", size_threshold=0
    )
    onnx.save(beside, tmp_path / "beside.onnx")
    proto = onnx.load(tmp_path / "beside.onnx", load_external_data=False)
    outside = replace(tiny, proto=proto, weights=tmp_path)
    result = RTX.build(outside, options())
    assert result.info.plan_bytes == linear.info.plan_bytes
    with pytest.raises(PlanBuildFailed, match="sm86; build there"):
        RTX.build(outside, options(strip_weights=True))


def test_an_input_that_decides_about_shapes_is_refused(tmp_path: Path):
    node = helper.make_node("Reshape", ["x", "shape"], ["y"], "reshape")
    inputs = [value("x", [4]), value("shape", [2], TensorProto.INT64)]
    with pytest.raises(PlanBuildFailed, match=r"input 'shape' .* holds a shape.*as a constant"):
        built(model([node], inputs, [value("y", [None, None])]), tmp_path, options(profiles=()))


@pytest.mark.parametrize(
    ("profiles", "words"),
    [
        ((), r"input 'x' has dynamic dimensions \[-1,3\].*model.profiles"),
        (({"z": ((1, 3), (1, 3), (1, 3))},), r"profile 0 names the input 'z'"),
        (({},), r"profile 0 has no shapes for the dynamic input 'x'"),
        ((*BATCHES, {"x": ((8, 3), (4, 3), (32, 3))}), r"profile 1, input 'x': .*out of order"),
        (({"x": ((1, 4), (8, 4), (32, 4))},), r"the min shape \[1,4\] does not fit .*\[-1,3\]"),
        (({"x": ((1,), (8,), (32,))},), r"the min shape \[1\] does not fit"),
    ],
)
def test_profiles_are_checked_before_the_builder_starts(
    tmp_path: Path, profiles: tuple[dict, ...], words: str
):
    with pytest.raises(PlanBuildFailed, match=words):
        built(wordy_linear(), tmp_path, options(profiles=profiles))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version_compatible": True}, "no version-compatible plans"),
        ({"hardware_compatibility": "ampere_plus"}, "hardware compatibility 'ampere_plus'"),
        ({"strip_weights": True}, "only on a machine with a GPU sm86"),
    ],
)
def test_what_this_builder_cannot_do_is_said(tmp_path: Path, changes: dict, words: str):
    with pytest.raises(PlanBuildFailed, match=words):
        built(wordy_linear(), tmp_path, options(**changes))


def test_gpus_that_it_has_no_code_for(tmp_path: Path):
    with pytest.raises(PlanBuildFailed, match=r"does not build for sm90, but for sm75, .*sm120"):
        built(wordy_linear(), tmp_path, options("sm90"))
    with pytest.raises(BackendUnavailable, match="'cpu' is no compute capability"):
        built(wordy_linear(), tmp_path, options("cpu"))


def test_fp8_needs_a_gpu_that_has_it(tmp_path: Path):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], "quantize"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], "dequantize"),
        helper.make_node("MatMul", ["d", "w"], ["y"], "product"),
    ]
    zero = helper.make_tensor("zero", TensorProto.FLOAT8E4M3FN, [], b"\0", raw=True)
    constants = [constant("scale", np.array(0.1, np.float32)), zero,
                 constant("w", np.ones((3, 4), np.float32))]  # fmt: skip
    proto = model(nodes, [value("x", ["n", 3])], [value("y", ["n", 4])], constants, opset=19)
    with pytest.raises(PlanBuildFailed, match=r"sm86 with FP8, .*compute capability 8\.9"):
        built(proto, tmp_path)
    assert built(proto, tmp_path, options("sm89")).data


def test_a_required_timing_cache_is_no_obstacle_where_nothing_is_timed(tmp_path: Path):
    aids = BuildAids(timing_cache=b"of another builder", require_timing_cache=True)
    result = built(wordy_linear(), tmp_path, aids=aids)
    assert result.info.timing_cache_digest == ""
    assert any("nothing is timed" in note for note in result.notes)


def test_probing_without_and_with_a_gpu():
    found = RTX.probe()
    assert (found.usable, found.version, found.devices) == (True, "1.7.1.116", ())
    assert (found.reason, found.cure) == ("there is no NVIDIA driver here", "install one")
    ampere = TensorRtBackend("tensorrt_rtx", lambda: one_gpu(8, 6)).probe()
    assert (ampere.usable, ampere.devices, ampere.reason) == (True, ("sm86",), "")
    hopper = TensorRtBackend("tensorrt_rtx", lambda: one_gpu(9, 0)).probe()
    assert (hopper.usable, hopper.devices) == (True, ())
    assert "does not run on the GPU of this machine" in hopper.reason
    absent = TensorRtBackend("tensorrt", no_gpus).probe()
    assert (absent.usable, absent.reason) == (False, "tensorrt is not installed")
    assert "pip install 'enginecrate[tensorrt]'" in absent.cure


def test_names_given_by_the_graph_come_back_in_refusals(tmp_path: Path):
    proto = det()
    for node in proto.graph.node:
        node.name = ""
    tiny = opened(proto, tmp_path)
    name_nodes(tiny.proto)
    with pytest.raises(PlanBuildFailed) as caught:
        RTX.build(tiny, options(profiles=()))
    assert caught.value.nodes == (tiny.proto.graph.node[1].name,) != ("",)
