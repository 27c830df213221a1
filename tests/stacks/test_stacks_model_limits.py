"""Models that are newer than the onnxruntime of a stack: refused with both versions and a cure."""

from pathlib import Path

import onnx
import onnxruntime
import pytest

from enginecrate.builder.check.manifest import check_manifest
from enginecrate.cli.main import main
from enginecrate.stacks.catalog import get_stack, load_stacks
from enginecrate.stacks.model_limits import NEWEST_MODELS, model_refusal
from enginecrate.stacks.versions import numbers
from tiny_models import relu, save

MANIFEST = """\
[app]
name = "newer"
version = "1.0.0"

[model]
path = "m.onnx"

[pipeline]
task = "tensors"

[targets]
stacks = ["{stack}"]
"""
OLDER = "ort-cuda130"


def opens(proto: onnx.ModelProto) -> bool:
    try:
        onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True


def make(root: Path, stack: str, ir_version: int, opset: int) -> Path:
    save(relu(ir_version=ir_version, opset=opset), root / "m.onnx")
    (root / "enginecrate.toml").write_text(MANIFEST.format(stack=stack))
    return root


def test_the_limits_of_the_installed_onnxruntime_are_those_that_it_has():
    ir_version, opset = NEWEST_MODELS[numbers(onnxruntime.__version__)[:2]]
    assert opens(relu(ir_version=ir_version))
    assert not opens(relu(ir_version=ir_version + 1))
    assert opens(relu(ir_version=10, opset=opset))
    assert not opens(relu(ir_version=10, opset=opset + 1))


def test_the_limits_of_every_stack_are_known():
    for stack in load_stacks().values():
        if version := stack.versions.get("onnxruntime"):
            assert numbers(version)[:2] in NEWEST_MODELS, stack.name


@pytest.mark.parametrize(
    ("ir_version", "opset", "words"),
    [
        (14, 17, ("IR version 14", "up to IR version 13", "ir_version to 13")),
        (10, 27, ("opset 27", "up to opset 26", "export the model with opset 26")),
        (14, 28, ("IR version 14 and opset 28", "IR version 13 and opset 26")),
    ],
)
def test_a_newer_model_is_refused_with_both_versions_and_a_cure(
    ir_version: int, opset: int, words: tuple[str, ...],
    tmp_path: Path, capfd: pytest.CaptureFixture[str],
):  # fmt: skip
    root = make(tmp_path, OLDER, ir_version, opset)
    for arguments, code in (
        (("build", "--project", str(root)), 5),
        (("lock", "--project", str(root), "--offline"), 5),
        (("inspect", str(root)), 0),
        (("inspect", str(root / "m.onnx")), 0),
    ):
        assert main(list(arguments)) == code, arguments
        said = " ".join(capfd.readouterr().err.split())
        for word in ("onnxruntime 1.31.1", OLDER, *words):
            assert word in said, arguments
    (fault,) = check_manifest(root).faults
    assert fault.line == 12
    assert words[0] in str(fault)


@pytest.mark.parametrize(("ir_version", "opset"), [(13, 17), (10, 26)])
def test_what_the_older_onnxruntime_reads_is_built(ir_version: int, opset: int, tmp_path: Path):
    root = make(tmp_path, OLDER, ir_version, opset)
    assert check_manifest(root).faults == ()
    assert model_refusal(get_stack(OLDER), ir_version, opset) == ""


def test_a_stack_with_a_newer_onnxruntime_takes_it(tmp_path: Path):
    root = make(tmp_path, "ort-cpu", 14, 28)
    assert check_manifest(root).faults == ()
    assert main(["build", "--project", str(root)]) == 0


def test_the_last_resort_alone_is_a_warning(tmp_path: Path):
    root = make(tmp_path, "trt114-cuda130", 14, 17)
    outcome = check_manifest(root)
    assert outcome.faults == ()
    assert any("IR version 14" in str(warning) for warning in outcome.warnings)
