import json
from pathlib import Path


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
    assert "from the cache" in outcome.out
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
