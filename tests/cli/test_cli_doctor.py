import json
import zipfile


def test_the_doctor_speaks_json(run):
    outcome = run("doctor", "--http-port", "0", "--json")
    answer = json.loads(outcome.out)
    assert outcome.code == 0
    assert answer["healthy"] is True
    assert {finding["check"] for finding in answer["findings"]} >= {"python", "cache", "nvidia"}


def test_a_fault_ends_it_with_1(run, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    outcome = run("doctor", "--cache-dir", file)
    assert outcome.code == 1
    assert "fail" in outcome.out
    assert "--cache-dir" in outcome.out


def findings(outcome) -> dict[str, str]:
    return {row["check"]: row["status"] for row in json.loads(outcome.out)["findings"]}


def test_a_project_is_examined_when_it_is_named_or_here(run, project, monkeypatch):
    named = findings(run("doctor", "--project", project, "--http-port", "0", "--json"))
    assert (named["manifest"], named["lock"], named["stack ort-cpu"]) == ("ok", "warn", "ok")
    assert "manifest" not in findings(run("doctor", "--http-port", "0", "--json"))
    monkeypatch.chdir(project)
    run("lock", "--versions-only")
    assert findings(run("doctor", "--http-port", "0", "--json"))["lock"] == "ok"
    (project / "enginecrate.toml").write_text("[app")
    broken = run("doctor", "--http-port", "0", "--json")
    assert broken.code == 1
    assert findings(broken)["manifest"] == "fail"


def test_a_bundle_is_written_whole_and_never_over_another(run, project, tmp_path):
    file = tmp_path / "support.zip"
    arguments = ("doctor", "--project", project, "--http-port", "0", "--bundle", file)
    first = run(*arguments)
    assert first.code == 0
    assert str(file) in first.err
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert {"findings.json", "settings.json", "enginecrate.toml"} <= set(archive.namelist())
    file.write_bytes(b"mine")
    again = run(*arguments)
    assert again.code == 4
    assert "--force" in again.err
    assert file.read_bytes() == b"mine"
    assert run(*arguments, "--force").code == 0
    assert zipfile.is_zipfile(file)
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_a_bundle_in_a_folder_that_there_is_not(run, tmp_path):
    outcome = run("doctor", "--http-port", "0", "--bundle", tmp_path / "no" / "support.zip")
    assert outcome.code == 6
    assert "No such file" in outcome.err
