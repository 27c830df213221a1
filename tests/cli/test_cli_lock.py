import json


def test_it_is_written_once_and_checked(run, project):
    first = run("lock", "--project", project)
    file = project / "enginecrate.lock"
    content = file.read_bytes()
    assert first.code == 0
    assert "is written: ort-cpu" in first.out
    assert "is current" in run("lock", "--project", project).out
    assert file.read_bytes() == content
    answer = json.loads(run("lock", "--project", project, "--check", "--json").out)
    assert answer["written"] is False
    assert answer["lock"]["stacks"][0]["name"] == "ort-cpu"


def test_a_check_fails_when_it_is_missing_or_stale(run, project):
    missing = run("lock", "--project", project, "--check")
    assert missing.code == 4
    assert not (project / "enginecrate.lock").exists()
    run("lock", "--project", project)
    manifest = project / "enginecrate.toml"
    manifest.write_text(manifest.read_text() + "\n# changed\n")
    stale = run("lock", "--project", project, "--check")
    assert stale.code == 4
    assert stale.err.count("sha256:") == 2
    assert "EC1107" in stale.err
    assert run("lock", "--project", project).code == 0
    assert run("lock", "--project", project, "--check").code == 0


def test_a_folder_that_may_not_be_written(run, project):
    (project / "enginecrate.lock").mkdir()
    outcome = run("lock", "--project", project)
    assert outcome.code == 6
    assert "enginecrate.lock" in outcome.err
