import json
import re
from pathlib import Path

import pytest


def test_a_build_without_golden_samples_is_unproven(run, project: Path):
    outcome = run("build", "--project", project)
    assert outcome.code == 0
    assert outcome.err == ""
    assert "colours 0.1.0 (classification)" in outcome.out
    assert "unproven: there are no golden samples" in outcome.out
    assert (project / "build" / "report.html").is_file()


def test_a_build_with_golden_samples_is_proven(run, project: Path, photos: Path):
    assert run("golden", "record", photos / "red.png", "-p", project).code == 0
    outcome = run("build", "--project", project)
    assert outcome.code == 0
    assert re.search(r"cache +1 of 1 plans", outcome.out)
    assert "1 of 1 samples give their expected result" in outcome.out
    assert outcome.out.endswith("\nproven\n")

    outcome = run("build", "--project", project, "--json")
    report = json.loads(outcome.out)
    assert report["verdict"] == "proven"
    assert report == json.loads((project / "build" / "report.json").read_text())


def test_a_wrong_expectation_fails_the_build(run, project: Path, photos: Path):
    assert run("golden", "record", photos / "red.png", "-p", project).code == 0
    golden = project / "golden" / "golden.json"
    golden.write_text(golden.read_text().replace('"red"', '"crimson"'))
    outcome = run("build", "--project", project, "--json")
    assert outcome.code == 1
    error = json.loads(outcome.out)["error"]
    assert (error["code"], error["kind"]) == ("EC1502", "failed")
    assert "crimson" in error["message"]


def test_options_in_place_of_the_manifest(run, project: Path):
    outcome = run(
        "build", "--project", project, "--json", "--stack", "ort-cpu , ort-cpu",
        "--stack", "ort-cpu", "--precision", "fp16,fp32",
    )  # fmt: skip
    assert outcome.code == 0
    targets = json.loads(outcome.out)["result"]["targets"]
    assert [(one["stack"], one["asked"]) for one in targets] == [
        ("ort-cpu", "fp16"), ("ort-cpu", "fp32"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("option", "word", "message"),
    [
        ("--precision", "fp31", r"no precision 'fp31'; did you mean 'fp32'\?.*fp16"),
        ("--precision", "mixed", r"no precision 'mixed'"),
        ("--precision", "int8", r"int8 needs photos to calibrate with"),
        ("--stack", "ort-cp", r"'ort-cp'; did you mean 'ort-cpu'\?"),
        ("--gpu", "A101", r"there is no GPU 'A101'; did you mean 'A10"),
    ],
)
def test_names_that_do_not_exist(run, project: Path, option: str, word: str, message: str):
    outcome = run("build", "--project", project, option, f"{word},")
    assert outcome.code not in (0, 1)
    assert re.search(message, outcome.err, re.DOTALL)
    assert not (project / "build").exists()


def test_what_is_not_built_is_an_error_with_strict_alone(run, project: Path):
    options = ("build", "--project", project, "--stack", "ort-cpu,trt1016-cuda130", "--gpu", "L4")
    outcome = run(*options)
    assert outcome.code == 0
    assert re.search(r"no plan +trt1016-cuda130, fp32 for sm89: ", outcome.out)
    strict = run(*options, "--strict")
    assert strict.code == 1
    assert "not everything that the manifest wants was built" in strict.err
    assert "trt1016-cuda130, fp32 for sm89" in strict.err
    assert (project / "build" / "report.html").is_file()
