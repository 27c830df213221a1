"""The bundle for the vendor's support: what is in it, and what never is."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from enginecrate.settings import load_settings
from enginecrate.stacks.doctor import examine
from enginecrate.stacks.doctor.bundle import make_bundle
from enginecrate.stacks.doctor.project_facts import probe_project
from enginecrate.stacks.doctor.scrub import Scrubber, allowed_environment
from enginecrate.stacks.machine.machine import probe_machine

SCRUBBER = Scrubber(home=Path("/home/alice"), users=["alice", "root", ""], host="box7.example.com")
SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f'password = "{SECRET}"',
        f"password = '{SECRET}'",
        f"DB_PASSWORD={SECRET}",
        f'"apiKey": "{SECRET}"',
        f'"api_keys": ["a", "{SECRET}"]',
        f"my-secret-thing: two words {SECRET}",
        f'token = "with \\" quote {SECRET}"',
        f"aws_secret_access_key={SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"authorization: Basic {SECRET}==",
        f"curl -H 'X-Auth: bearer {SECRET}'",
        f"https://bob:{SECRET}@registry.example.com/isv",
        f"https://{SECRET}@github.com/isv/app.git",
        f"https://store.example.com/blob?sv=1&sig={SECRET}",
        f"ghp_{SECRET}",
        f"hf_{SECRET}",
        f"nvapi-{SECRET}",
        f"glpat-{SECRET}",
        f"sk-proj-{SECRET}",
        "AKIAHUNTER2HUNTER2HU",
        f"eyJ{SECRET}.eyJ{SECRET}.{SECRET}",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n",
        f"{SECRET}@example.com",
        f"/home/{SECRET}/models",
        f"/Users/{SECRET}/models",
        "GPU-78ec9f4f-956c-313d-a5b8-7f80d07b013a",
    ],
)
def test_secrets_are_removed(text: str):
    scrubbed = SCRUBBER.text(f"before\n{text}\nafter")
    for secret in (SECRET, SECRET.upper(), "78ec9f4f"):
        assert secret not in scrubbed
    assert scrubbed.startswith("before\n")


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("/home/alice/models/m.onnx", "~/models/m.onnx"),
        ("/home/alice2/m.onnx", "/home/<user>/m.onnx"),
        ("alice built it on box7", "<user> built it on <host>"),
        ("box7.example.com", "<host>"),
        ("malice, alice-spring, boxer", "malice, alice-spring, boxer"),
        ("/root/.cache", "/root/.cache"),
        ("https://example.com/path and 580.65.06", "https://example.com/path and 580.65.06"),
        ("score_threshold = 0.4", "score_threshold = 0.4"),
    ],
)
def test_names_are_replaced_and_the_rest_stays(text: str, scrubbed: str):
    assert SCRUBBER.text(text) == scrubbed


def test_json_stays_json():
    value = {
        "api_keys_file": {"value": "/etc/keys", "origin": "default"},
        "token": "abc",
        "tokens": [1, 2],
        "path": "/home/alice",
    }
    assert json.loads(SCRUBBER.text(json.dumps(value, indent=2))) == {
        "api_keys_file": {"value": "/etc/keys", "origin": "default"},
        "token": "<removed>",
        "tokens": "<removed>",
        "path": "~",
    }


def test_the_environment_is_a_short_list():
    environment = {
        "PATH": "/bin",
        "ENGINECRATE_HTTP_PORT": "1",
        "ENGINECRATE_API_KEYS_FILE": "/etc/keys",
        "ENGINECRATE_API_KEY": SECRET,
        "AWS_REGION": SECRET,
        "MY_APP": SECRET,
        "CUDA_VISIBLE_DEVICES": "0",
    }
    assert list(allowed_environment(environment)) == [
        "CUDA_VISIBLE_DEVICES",
        "ENGINECRATE_API_KEYS_FILE",
        "ENGINECRATE_HTTP_PORT",
        "PATH",
    ]


MANIFEST = f"""\
# deploy with https://ci:{SECRET}@git.example.com/isv/app.git, ask {SECRET}@example.com
[app]
name = "app"
version = "1.0.0"
summary = "token: {SECRET}"

[model]
path = "m.onnx"

[pipeline]
task = "tensors"
"""


def unpack(content: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_a_bundle_holds_what_helps_and_no_planted_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", f"/home/{SECRET}")
    monkeypatch.setenv("USER", f"user{SECRET}")
    monkeypatch.setenv("DATABASE_PASSWORD", SECRET)
    monkeypatch.setenv("ENGINECRATE_TOKEN", SECRET)
    monkeypatch.setenv("LD_LIBRARY_PATH", f"/home/{SECRET}/lib:/srv/user{SECRET}/lib")
    (tmp_path / "enginecrate.toml").write_text(MANIFEST)
    (tmp_path / "enginecrate.lock").write_text(f'password = "{SECRET}"')
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "report.json").write_text(f'{{"api_key": "{SECRET}", "plans": 3}}')
    settings_file = tmp_path / "settings.toml"
    settings_file.write_text(f'cache_dir = "{tmp_path}/cache"\nhost = "127.0.0.1"\n')
    settings = load_settings(file=settings_file, environment={"ENGINECRATE_HTTP_PORT": "0"})
    machine = probe_machine(settings, 2)
    project = probe_project(tmp_path)
    findings = examine(machine, project)

    content = make_bundle(findings, machine, settings, project)
    files = unpack(content)

    for name, text in files.items():
        assert SECRET not in text, name
    assert next(iter(files)) == "README.txt"
    assert {"enginecrate.toml", "enginecrate.lock", "report.json"} <= set(files)
    assert len(json.loads(files["findings.json"])) == len(findings)
    assert json.loads(files["settings.json"])["http_port"] == {"value": 0, "origin": "environment"}
    assert json.loads(files["settings.json"])["cache_dir"]["origin"].endswith("settings.toml")
    assert json.loads(files["report.json"]) == {"api_key": "<removed>", "plans": 3}
    assert "onnxruntime" in json.loads(files["versions.json"])["packages"]
    assert json.loads(files["machine.json"])["system"] == machine.system
    assert "DATABASE_PASSWORD" not in files["environment.json"]
    assert make_bundle(findings, machine, settings, project) == content


def test_a_bundle_of_a_broken_project_holds_its_manifest(tmp_path: Path):
    (tmp_path / "enginecrate.toml").write_text("[app")
    settings = load_settings(environment={"ENGINECRATE_HTTP_PORT": "0"})
    machine = probe_machine(settings, 2)
    for path in (tmp_path, tmp_path / "enginecrate.toml"):
        files = unpack(make_bundle([], machine, settings, probe_project(path)))
        assert files["enginecrate.toml"] == "[app"
    assert "enginecrate.toml" not in unpack(make_bundle([], machine, settings))
