"""Broken inputs to a build: one message with the place and the cure, and the cache stays whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.external_data_helper import convert_model_to_external_data

import tiny_models
from enginecrate import errors
from enginecrate.builder.golden.samples import record_golden
from enginecrate.builder.ladder.predictor import open_predictor
from enginecrate.cli.main import main
from enginecrate.cli.shared.exit_codes import exit_code
from tiny_project import make_project, settings, write_photos

Break = Callable[[Path], None]

GPU = '\n[targets]\nstacks = ["trtrtx17-cuda130"]\ngpus = ["L4"]\n'
INT8 = '\n[precision]\nmode = "int8"\ncalibration = { images = "photos/" }\n'


@dataclass(frozen=True)
class Case:
    """How to break a project, which error it gives, and words for the place and for the cure."""

    name: str
    apply: Break
    error: type[errors.EnginecrateError]
    place: str
    cure: str
    flags: tuple[str, ...] = ()


def model_bytes(content: bytes) -> Break:
    return lambda root: (root / "colors.onnx").write_bytes(content) and None


def model_change(change: Callable[[onnx.ModelProto], onnx.ModelProto | None]) -> Break:
    def apply(root: Path) -> None:
        proto = onnx.load(root / "colors.onnx")
        tiny_models.save(change(proto) or proto, root / "colors.onnx")

    return apply


def manifest(extra: str = "", **replaced: str) -> Break:
    def apply(root: Path) -> None:
        file = root / "enginecrate.toml"
        text = file.read_text()
        for old, new in replaced.items():
            assert old in text
            text = text.replace(old, new)
        file.write_text(text + extra)

    return apply


def both(*breaks: Break) -> Break:
    def apply(root: Path) -> None:
        for one in breaks:
            one(root)

    return apply


def cut_short(root: Path) -> None:
    content = (root / "colors.onnx").read_bytes()
    (root / "colors.onnx").write_bytes(content[: len(content) // 2])


def opset(version: int) -> Break:
    def change(proto: onnx.ModelProto) -> None:
        proto.opset_import[0].version = version

    return model_change(change)


def newer_ir(proto: onnx.ModelProto) -> None:
    proto.ir_version = 99


def unknown_operator(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].op_type = "GlobalAveragePoool"


def custom_operator(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].domain = "com.example"
    proto.opset_import.append(helper.make_opsetid("com.example", 1))


def cycle(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].input[0] = "flat"


def duplicate_output(proto: onnx.ModelProto) -> None:
    proto.graph.node[2].output[0] = "flat"


def missing_weight(proto: onnx.ModelProto) -> None:
    del proto.graph.initializer[0]


def no_outputs(proto: onnx.ModelProto) -> None:
    del proto.graph.output[:]


def wrong_weight_shape(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].CopyFrom(tiny_models.constant("weight", np.ones((5, 3), np.float32)))


def missing_attribute(proto: onnx.ModelProto) -> None:
    proto.graph.node[1].op_type = "Concat"


def bad_attribute(proto: onnx.ModelProto) -> None:
    proto.graph.node[1].attribute.append(helper.make_attribute("axes_typo", 3))


def nan_weight(proto: onnx.ModelProto) -> None:
    bad = np.full((3, 3), np.nan, np.float32)
    proto.graph.initializer[0].CopyFrom(tiny_models.constant("weight", bad))


def external(root: Path) -> None:
    proto = onnx.load(root / "colors.onnx")
    convert_model_to_external_data(proto, location="colors.data", size_threshold=0)
    onnx.save(proto, root / "colors.onnx")


def external_missing(root: Path) -> None:
    external(root)
    (root / "colors.data").unlink()


def external_truncated(root: Path) -> None:
    external(root)
    content = (root / "colors.data").read_bytes()
    (root / "colors.data").write_bytes(content[:-8])


def external_outside(root: Path) -> None:
    external(root)
    proto = onnx.load(root / "colors.onnx", load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../colors.data"
    shutil.move(root / "colors.data", root.parent / "colors.data")
    (root / "colors.onnx").write_bytes(proto.SerializeToString())


def sequence_output(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(helper.make_node("SequenceConstruct", ["logits"], ["list"]))
    info = helper.make_tensor_sequence_value_info("list", TensorProto.FLOAT, None)
    proto.graph.output[0].CopyFrom(info)


def dynamic_size(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"


def empty_photos(root: Path) -> None:
    (root / "photos").mkdir()


def broken_photos(root: Path) -> None:
    empty_photos(root)
    for number in range(3):
        (root / "photos" / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")


def some_photos(root: Path) -> None:
    write_photos(root / "photos")


def coco(content: str) -> Break:
    def apply(root: Path) -> None:
        some_photos(root)
        (root / "photos" / "truth.json").write_text(content)

    return apply


def unknown_class(root: Path) -> None:
    write_photos(root / "truth" / "purple")


def golden_file(content: str) -> Break:
    return lambda root: (root / "golden" / "golden.json").write_text(content) and None


def golden_photo_gone(root: Path) -> None:
    (root / "golden" / "red.png").unlink()


def lock_of_another_manifest(root: Path) -> None:
    assert main(["lock", "--project", str(root)]) == 0
    manifest('\n[image]\ndebs = ["libgomp1"]\n')(root)


ACCURACY = "\n[precision]\naccuracy = {{ {} }}\n"
CASES = [
    Case("empty model", model_bytes(b""), errors.ModelInvalid, "colors.onnx", "again"),
    Case("no onnx", model_bytes(b"\x89PNG\r\n\x1a\n"), errors.ModelInvalid, "colors.onnx",
         "export"),
    Case("cut short", cut_short, errors.ModelInvalid, "colors.onnx", "again"),
    Case("lfs pointer", model_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
         errors.ModelInvalid, "colors.onnx", "git lfs pull"),
    Case("no model", lambda root: (root / "colors.onnx").unlink(), errors.ManifestInvalid,
         "model.path", "colors.onnx"),
    Case("opset 3", opset(3), errors.ModelUnsupported, "opset 3", "export"),
    Case("opset 99", opset(99), errors.ModelUnsupported, "opset 99", "older"),
    Case("newer IR", model_change(newer_ir), errors.ModelUnsupported, "IR version 99", "older"),
    Case("unknown operator", model_change(unknown_operator), errors.ModelInvalid,
         "GlobalAveragePoool", "export"),
    Case("custom operator", model_change(custom_operator), errors.PlanBuildFailed,
         "com.example", "colors.onnx"),
    Case("cycle", model_change(cycle), errors.ModelInvalid, "flat", "export"),
    Case("duplicate name", model_change(duplicate_output), errors.ModelInvalid, "flat", "export"),
    Case("missing weight", model_change(missing_weight), errors.ModelInvalid, "weight", "export"),
    Case("no outputs", model_change(no_outputs), errors.ModelInvalid, "colors.onnx", "export"),
    Case("shapes that do not fit", model_change(wrong_weight_shape), errors.EnginecrateError,
         "colors.onnx", "Gemm"),
    Case("missing attribute", model_change(missing_attribute), errors.ModelInvalid, "axis",
         "export"),
    Case("unknown attribute", model_change(bad_attribute), errors.ModelInvalid, "axes_typo",
         "export"),
    Case("external data missing", external_missing, errors.ModelInvalid, "colors.data", "copy"),
    Case("external data cut short", external_truncated, errors.ModelInvalid, "colors", "again"),
    Case("external data outside", external_outside, errors.ModelInvalid, "../colors.data", "model"),
    Case("sequence output", model_change(sequence_output), errors.ModelUnsupported, "list",
         "tensor"),
    Case("profile out of order", manifest(**{
        'path = "colors.onnx"': 'path = "colors.onnx"\n'
        "profiles = [{ image = [[4, 3, 8, 8], [2, 3, 8, 8], [8, 3, 8, 8]] }]"}),
        errors.ManifestInvalid, "profiles", "min <= opt <= max"),
    Case("profile of an unknown input", manifest(**{
        'path = "colors.onnx"': 'path = "colors.onnx"\n'
        "profiles = [{ imagee = [[1, 3, 8, 8], [2, 3, 8, 8], [8, 3, 8, 8]] }]"}),
        errors.ManifestInvalid, "imagee", "did you mean 'image'"),
    Case("profile of another shape", manifest(**{
        'path = "colors.onnx"': 'path = "colors.onnx"\n'
        "profiles = [{ image = [[1, 3, 9, 8], [2, 3, 9, 8], [8, 3, 9, 8]] }]"}),
        errors.ManifestInvalid, "[1, 3, 9, 8]", "image"),
    Case("dynamic size without a profile", both(
        model_change(dynamic_size), manifest(GPU), manifest(**{
        "top_k = 3": "top_k = 3\nsize = [8, 8]"})),
        errors.BuildError, "image", "profiles", ("--strict",)),
    Case("int8 without photos", manifest('\n[precision]\nmode = "int8"\n'),
         errors.ManifestInvalid, "calibration", "images"),
    Case("no folder of photos", manifest(INT8), errors.ManifestInvalid, "photos/", "line"),
    Case("empty folder of photos", both(empty_photos, manifest(INT8)), errors.CalibrationInvalid,
         "photos", "photo"),
    Case("photos that nobody can read", both(broken_photos, manifest(INT8)),
         errors.CalibrationInvalid, "0.png", "photos"),
    Case("weights that are no numbers", both(some_photos, model_change(nan_weight), manifest(INT8)),
         errors.EnginecrateError, "finite", "model"),
    Case("unknown precision", manifest('\n[precision]\nmode = "int7"\n'), errors.ManifestInvalid,
         "precision.mode", "int8"),
    Case("agreement above 1", manifest(ACCURACY.format("min_agreement = 95")),
         errors.ManifestInvalid, "min_agreement", "1"),
    Case("no folder of truth", manifest(ACCURACY.format('labelled = "truth/"')),
         errors.ManifestInvalid, "labelled", "truth/"),
    Case("a class that the labels lack", both(unknown_class, manifest(
        ACCURACY.format('labelled = "truth/"'))), errors.EvaluationInvalid, "purple",
        "name of a label"),
    Case("unknown stack", manifest('\n[targets]\nstacks = ["ort-cpuu"]\n'), errors.StackUnknown,
         "ort-cpuu", "'ort-cpu'"),
    Case("unknown GPU", manifest(GPU.replace("L4", "A1000000")),
         errors.GpuUnknown, "A1000000", "enginecrate stacks"),
    Case("broken TOML", manifest("\n[precision\n"), errors.ManifestSyntax, "line", "TOML"),
    Case("broken golden file", golden_file("{"), errors.GoldenInvalid, "golden.json", "record"),
    Case("golden photo gone", golden_photo_gone, errors.GoldenInvalid, "red.png", "copy"),
    Case("too few labels", lambda root: (root / "labels.txt").write_text("red\ngreen\n") and None,
         errors.EnginecrateError, "labels", "3"),
    Case("stale lock", lock_of_another_manifest, errors.LockStale, "sha256:", "enginecrate lock"),
]  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project that builds, and the cache of its build."""
    root = tmp_path_factory.mktemp("sound")
    project = make_project(root / "project")
    photos = write_photos(root / "photos")
    predictor = open_predictor(project, settings(root / "cache"))
    record_golden(predictor.predict, project / "golden", photos)
    predictor.close()
    assert main(["build", "--project", str(project), "--cache-dir", str(root / "cache")]) == 0
    return root


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in (".onnx", ".json", ".engine")
    }


def test_there_are_enough_cases():
    assert len(CASES) >= 40
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_broken(case: Case, sound: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]):
    shutil.copytree(sound / "project", tmp_path / "project")
    shutil.copytree(sound / "cache", tmp_path / "cache")
    before = content(tmp_path / "cache" / "plans")
    case.apply(tmp_path / "project")
    capfdbinary.readouterr()
    arguments = ["build", "--json", *case.flags, "--project", str(tmp_path / "project")]
    code = main([*arguments, "--cache-dir", str(tmp_path / "cache")])
    output, noise = capfdbinary.readouterr()
    answer = json.loads(output)["error"]
    error = errors.error_class(answer["code"])
    assert issubclass(error, case.error), answer
    assert error is not errors.EnginecrateError, answer
    assert code == exit_code(error.__new__(error))
    assert case.place in answer["message"]
    assert case.cure in answer["message"]
    assert b"Traceback" not in noise
    after = content(tmp_path / "cache" / "plans")
    assert {name: after.get(name) for name in before} == before
    assert not list((tmp_path / "cache").rglob("*.partial"))
