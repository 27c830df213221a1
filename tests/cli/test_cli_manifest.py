import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

SAMPLES = Path(__file__).parents[2] / "samples"


def test_check_says_what_it_read(run, project: Path):
    outcome = run("manifest", "check", "--project", project)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"{project}/enginecrate.toml is valid: colours 0.1.0\n"
    answer = json.loads(run("manifest", "check", "-p", project / "enginecrate.toml", "--json").out)
    assert answer["valid"] is True
    assert answer["app"]["name"] == "colours"


@pytest.mark.parametrize("sample", ["detection", "classification", "custom"])
def test_the_schema_accepts_the_samples(run, sample: str):
    schema = json.loads(run("manifest", "schema").out)
    text = (SAMPLES / sample / "enginecrate.toml").read_text(encoding="utf-8")
    jsonschema.validate(tomllib.loads(text), schema)


def test_check_names_every_fault_and_its_place(run, project: Path):
    path = project / "enginecrate.toml"
    text = path.read_text(encoding="utf-8").replace('version = "0.1.0"', 'version = "1"')
    path.write_text(f'{text}\n[build]\nnonsense = "\\u001b[2J"\n', encoding="utf-8")
    outcome = run("manifest", "check", "-p", project)
    assert outcome.code == 2
    assert "2 faults" in outcome.err
    assert "\x1b" not in outcome.err
    outcome = run("manifest", "check", "-p", project, "--json")
    answer = json.loads(outcome.out)
    assert (outcome.code, answer["valid"]) == (2, False)
    assert [fault["key"] for fault in answer["faults"]] == ["app.version", "build.nonsense"]
    assert all(fault["line"] and fault["column"] and fault["code"] for fault in answer["faults"])


def test_a_build_for_a_gpu_that_no_stack_runs_on_fails(run, project: Path):
    outcome = run("build", "-p", project, "--gpu", "L4")
    assert outcome.code != 0
    assert "nothing is built for L4 (compute capability 8.9): ort-cpu does not run" in outcome.err
