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
