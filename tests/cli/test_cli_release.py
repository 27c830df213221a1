"""Releases and their verification on the command line, with images of a few kilobytes."""

import json
from pathlib import Path

import pytest

from tiny_release import KEY, OTHER_KEY, TAG, make_release

PASSPHRASE = "correct horse"


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> dict[str, Path]:
    from enginecrate.release.key_files import write_key_pair

    folder = tmp_path_factory.mktemp("keys")
    named = {"isv": KEY, "auditor": OTHER_KEY}
    for name, key in named.items():
        write_key_pair(folder / name, key, PASSPHRASE.encode(), rounds=1000)
    return {
        f"{name}.{half}": folder / f"{name}.{half}" for name in named for half in ("key", "pub")
    }


@pytest.fixture
def layout(tmp_path) -> str:
    make_release(tmp_path / "layout")
    return f"oci:{tmp_path / 'layout'}"


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch):
    monkeypatch.setenv("ENGINECRATE_KEY_PASSPHRASE", PASSPHRASE)


def test_show(run, layout):
    for name in (TAG, "v1.2.0-release"):
        shown = run("release", "show", f"{layout}:{name}")
        assert shown.code == 0
        assert "colours 1.2.0" in shown.out
        assert "sbom-cyclonedx" in shown.out
        assert "plan cpu fp32" in shown.out
    answer = json.loads(run("release", "show", f"{layout}:{TAG}", "--json").out)
    assert answer["release"]["images"][0]["tag"] == TAG


def test_another_signer_signs_later(run, layout, keys):
    outcome = run("release", "sign", f"{layout}:v1.2.0-release", "--key", keys["auditor.key"])
    assert outcome.code == 0
    assert "6 signatures added" in outcome.out
    again = run("release", "sign", f"{layout}:{TAG}", "--key", keys["auditor.key"], "--json")
    assert json.loads(again.out)["signatures"] == 0
    verified = run(
        "verify", f"{layout}:{TAG}", "--no-boot", "--json", "--require", 2,
        "--key", keys["isv.pub"], "--key", keys["auditor.pub"],
    )  # fmt: skip
    rows = {one["name"]: one["status"] for one in json.loads(verified.out)["checks"]}
    assert rows["signatures"] == rows["release"] == rows["statements"] == "passed"


def test_rows_and_the_exit_code_of_a_failure(run, layout, keys):
    outcome = run("verify", f"{layout}:{TAG}", "--key", keys["auditor.pub"], "--no-boot")
    assert outcome.code == 1
    assert "FAILED   signatures" in outcome.out
    assert "passed   blobs" in outcome.out
    assert "VERIFICATION FAILED; do not run it" in outcome.err
    answer = run("verify", f"{layout}:{TAG}", "--key", keys["auditor.pub"], "--no-boot", "--json")
    assert answer.code == 1
    assert json.loads(answer.out)["verdict"] == "failed"


def test_what_could_not_run_has_an_exit_code_of_its_own(run, layout, keys, monkeypatch):
    """The tiny image breaks rules of hardening, which other tests look at."""
    monkeypatch.setattr("enginecrate.release.hardening.audit_hardening", lambda *_: [])
    outcome = run("verify", f"{layout}:{TAG}", "--key", keys["isv.pub"], "--no-boot")
    assert outcome.code == 11
    assert "skipped  boot" in outcome.out
    assert "--no-boot was given" in outcome.out
    assert "not everything could be examined" in outcome.err
    monkeypatch.setenv("PATH", "/nonexistent")
    without = run("verify", f"{layout}:{TAG}", "--key", keys["isv.pub"], "--json")
    assert without.code == 11
    assert json.loads(without.out)["verdict"] == "skipped"


def test_a_trust_file_is_enough(run, layout, keys):
    run("keys", "trust", keys["isv.pub"])
    outcome = run("verify", f"{layout}:{TAG}", "--trust", "keys.toml", "--no-boot", "--offline")
    assert "passed   signatures   signed by 'isv'" in outcome.out
    run("keys", "revoke", "isv", "--reason", "stolen")
    outcome = run("verify", f"{layout}:{TAG}", "--trust", "keys.toml", "--no-boot")
    assert outcome.code == 1
    assert "is revoked: stolen" in outcome.out


def words_with(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("registry.example.com/isv/app:v1", "--offline", "--key", "{isv.pub}"), 2, "--offline"),
        (("oci:nowhere:v1", "--key", "{isv.pub}"), 3, "not an OCI layout"),
        (("{layout}:v9", "--key", "{isv.pub}"), 3, "no image 'v9'"),
        (("{layout}:v1.2.0-ort-cpu",), 2, "no key to verify with"),
        (("{layout}:v1.2.0-ort-cpu", "--key", "missing.pub"), 2, "cannot read the key"),
        (("{layout}:v1.2.0-ort-cpu", "--key", "{isv.key}"), 2, "a private one"),
        (("{layout}:v1.2.0-ort-cpu", "--key", "{isv.pub}", "--require", "2"), 2, "cannot be met"),
    ],
)
def test_mistakes(run, layout, keys, words, code, said):
    values = {"layout": layout, **{name: str(path) for name, path in keys.items()}}
    filled = [words_with(word, values) for word in words]
    outcome = run("verify", *filled)
    assert outcome.code == code
    assert said in outcome.err


def test_a_release_needs_images_and_a_lock(run, project, keys):
    no_images = run("release", "create", "--project", project, "--key", keys["isv.key"])
    assert no_images.code == 3
    assert "enginecrate image build" in no_images.err
    (project / "build").mkdir(exist_ok=True)
    make_release(project / "build" / "image")
    no_lock = run("release", "create", "--project", project, "--key", keys["isv.key"])
    assert no_lock.code == 2
    assert "enginecrate lock" in no_lock.err
