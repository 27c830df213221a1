"""`enginecrate inspect`."""

import json
from pathlib import Path

import onnx
import pytest
from onnx import helper

from enginecrate.cli.main import main
from tiny_models import color_classifier, model, save, value

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")

    def run_main(*arguments: object) -> tuple[int, str, str]:
        code = main(["inspect", *map(str, arguments)])
        return (code, *capfd.readouterr())

    return run_main


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return save(color_classifier(), tmp_path / "m.onnx")


def test_a_model_as_json(run, path: Path):
    code, out, _ = run(path, "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["facts"]["nodes"] == 4
    assert answer["facts"]["parameters"] == 12
    assert answer["facts"]["inputs"][0] == {
        "name": "image", "datatype": "FP32", "shape": [-1, 3, 8, 8],
    }  # fmt: skip
    assert sum(answer["simplified"].values()) == 3
    assert answer["weights"] == {"FLOAT": 12}
    assert answer["precision"] == "fp32"
    assert [cost["batch"] for cost in answer["costs"]] == [1, 8, 32]
    assert [cost["macs"] for cost in answer["costs"]] == [9, 72, 288]
    assert [cost["flops"] for cost in answer["costs"]] == [18, 144, 576]
    assert [layer["operator"] for layer in answer["layers"]] == ["Gemm"]
    assert answer["obstacles"] == []


def test_a_model_for_people(run, path: Path):
    code, out, _ = run(path, "--batch", "4", "--batch", "16")
    assert code == 0
    assert str(path) in out
    assert "image FP32 [-1,3,8,8]" in out
    assert "axis 0 batch: image, logits" in out
    assert "4, after simplification 3" in out
    assert "No backend refuses anything" in out
    lines = [line.split() for line in out.splitlines()]
    assert [line[:3] for line in lines if line and line[0] in ("4", "16")] == [
        ["4", "36", "72"], ["16", "144", "288"],
    ]  # fmt: skip


def test_what_backends_refuse(run, tmp_path: Path):
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "first"),
        helper.make_node("NonZero", ["a"], ["places"], "search"),
        helper.make_node("Unique", ["a"], ["y"], "unique"),
    ]
    outputs = [value("places", [2, None], onnx.TensorProto.INT64), value("y", [None])]
    proto = model(nodes, [value("x", ["n", 3])], outputs)
    code, out, _ = run(save(proto, tmp_path / "m.onnx"))
    assert code == 0
    assert "What backends will not take" in out
    assert "Unique: unique" in out
    assert out.count("refused") == 2
    assert "tensorrt_rtx" in out
    assert "-> export the model without its postprocessing" in out
    assert "not counted (shape unknown, or a subgraph): search" in out


@pytest.mark.parametrize("name", ["detection", "detection/enginecrate.toml"])
def test_a_project(run, name: str):
    code, out, _ = run(SAMPLES / name, "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["facts"]["opsets"]["ai.onnx"] == 13
    assert answer["costs"][0]["macs"] == 2_090_083_840
    assert len(answer["layers"]) == 34


def test_a_fixed_batch_is_the_only_one(run, tmp_path: Path):
    node = helper.make_node("Relu", ["x"], ["y"])
    path = save(model([node], [value("x", [2, 3])], [value("y", [2, 3])]), tmp_path / "m.onnx")
    code, out, err = run(path, "--batch", "5", "--json")
    assert code == 0
    assert [cost["batch"] for cost in json.loads(out)["costs"]] == [2]
    assert "the model's batch is fixed: 2" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.onnx"], 3, "no model file missing.onnx"),
        (["empty.onnx"], 2, "is empty; export"),
        (["nowhere"], 3, "no model file nowhere"),
        (["empty.onnx", "--batch", "0"], 2, "--batch"),
    ],
)
def test_mistakes(run, tmp_path: Path, monkeypatch, arguments: list[str], code: int, message: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.onnx").write_bytes(b"")
    got, _, err = run(*arguments)
    assert got == code
    assert message in err
    assert "Traceback" not in err


def test_help(run):
    code, out, _ = run("--help")
    assert code == 0
    assert "Examples:" in out
    assert "enginecrate inspect model.onnx" in out
