import json


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
