"""Mistakes of users: each mistake gives one clear message and an exit code, no traceback."""

import json
import shutil
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

MANIFEST = """\
[app]
name = "colours"
version = "1.0.0"
[model]
path = "model.onnx"
[pipeline]
task = "tensors"
"""

# (the command line, exit code, words of the message); {model}, {photo} and so on are files
# of the fixture `files`.
MISTAKES = [
    ("biuld", 2, "Did you mean 'build'"),
    ("--version build", 2, "stands alone"),
    ("golden", 2, "enginecrate golden --help"),
    ("build --projcet x", 2, "--project"),
    ("predict", 2, "PHOTO"),
    ("init", 2, "NAME"),
    ("init {existing}", 4, "exists already"),
    ("init x --sample detektion", 2, "'detection'"),
    ("init x --sample detection --model {model}", 2, "exclude each other"),
    ("init x --task tensors", 2, "--model FILE"),
    ("init x --labels {text}", 2, "--model FILE"),
    ("init 检测", 2, "--app-name"),
    ("init x --app-name a/b", 2, "lower-case letters"),
    ("init x --model none.onnx", 3, "none.onnx"),
    ("init x --model {photo}", 2, "not an ONNX file"),
    ("init x --model {cut}", 2, "cut short"),
    ("init x --model {model} --task detection", 2, "--task"),
    ("init x --model {model} --labels none.txt", 3, "none.txt"),
    ("init x --model {model} --labels {text}", 2, "3 classes"),
    ("init {text}/x", 6, "choose another folder"),
    ("build", 3, "no manifest"),
    ("build --project none", 3, "enginecrate init"),
    ("build --project {damaged}", 2, "cut short"),
    ("build --project {good} --cache-dir {text}", 6, "cache"),
    ("build --project {good} --precision int7", 2, "did you mean 'int8'"),
    ("build --project {good} --precision int8", 2, "photos to calibrate with"),
    ("build --project {good} --stack ort-cpuu", 3, "ort-cpu"),
    ("build --project {good} --stack trtrtx17-cuda130 --gpu K9", 3, "K9"),
    ("inspect none.onnx", 3, "none.onnx"),
    ("inspect {photo}", 2, "not an ONNX file"),
    ("inspect {model} --batch 0", 2, "--batch"),
    ("calibrate --project {good}", 2, "no folder of photos"),
    ("calibrate none --project {good}", 3, "none"),
    ("calibrate {existing} --project {good}", 2, "photo"),
    ("calibrate {existing} --project {good} --method median", 2, "percentile"),
    ("stacks ort-cpuu", 3, "ort-cpu"),
    ("stacks --gpu K9", 3, "K9"),
    ("stacks --driver new", 2, "550.54.14"),
    ("lock --check --project {good}", 4, "enginecrate lock"),
    ("conformance --backend tensort", 3, "did you mean 'tensorrt'"),
    ("manifest check --project {syntax}", 2, "not valid TOML"),
    ("manifest check --project {unknown}", 2, "did you mean 'version'"),
    ("manifest check --project {missing}", 2, "there is no file 'model.onnx'"),
    ("predict none.jpg", 3, "none.jpg"),
    ("predict {existing}", 3, "directory"),
    ("predict {text} --project {good}", 2, ""),
    ("predict {photo} {photo} --annotate out.png", 2, "only one"),
    ("predict {photo} --annotate none/out.png --project {good}", 6, "none/out.png"),
    ("predict {photo} --url ftp://example.com", 2, "http://localhost:8000"),
    ("predict {photo} --url localhost:8000", 2, "http://localhost:8000"),
    ("predict {photo} --url http://localhost:http", 2, "http://localhost:8000"),
    ("predict {photo} --url http://127.0.0.1:{closed}", 6, "enginecrate serve"),
    ("predict {photo} --url http://127.0.0.1:{stranger}", 6, "is it an enginecrate server"),
    ("golden check --project {good}", 2, "golden record"),
    ("golden record none.png --project {good}", 3, "none.png"),
    ("serve --http-port eighty", 2, "--http-port must be a whole number"),
    ("serve --http-port 70000", 2, "at most 65535"),
    ("serve --log-format jsn", 2, "did you mean 'json'"),
    ("serve --minimum-engine tpu", 2, "auto, gpu, cpu"),
    ("serve --settings none.toml", 3, "none.toml"),
    ("serve --settings {text}", 2, "not valid TOML"),
    ("serve --project {good} --http-port {taken}", 4, "{taken}"),
    ("doctor --http-port -1", 2, "at least 0"),
    ("doctor --bundle {text}", 4, "--force"),
]


@pytest.fixture
def files(
    tmp_path: Path, tiny_model: Path, photos: Path, project: Path, ports: dict[str, int]
) -> dict[str, object]:
    existing = tmp_path / "existing"
    existing.mkdir()
    (existing / "precious.txt").write_text("keep me")
    (tmp_path / "text.txt").write_text("just some words")
    data = tiny_model.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(data[: len(data) // 2])
    for name, text in {
        "syntax": "[app\n",
        "unknown": MANIFEST.replace("version", "vesion"),
        "missing": MANIFEST,
        "damaged": MANIFEST,
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "enginecrate.toml").write_text(text)
    shutil.copy(tmp_path / "cut.onnx", tmp_path / "damaged" / "model.onnx")
    folders = {name: tmp_path / name for name in ("syntax", "unknown", "missing", "damaged")}
    return {
        "existing": existing,
        "text": tmp_path / "text.txt",
        "model": tiny_model,
        "cut": tmp_path / "cut.onnx",
        "photo": photos / "red.png",
        "good": project,
        **folders,
        **ports,
    }


class Stranger(BaseHTTPRequestHandler):
    """Some other HTTP server."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>hello</html>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def ports() -> Iterator[dict[str, int]]:
    """A port without a listener, one that is taken, and one with another HTTP server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        HTTPServer(("127.0.0.1", 0), Stranger) as stranger,
    ):
        Thread(target=stranger.serve_forever, daemon=True).start()
        yield {
            "closed": closed,
            "taken": taken.getsockname()[1],
            "stranger": stranger.server_port,
        }
        stranger.shutdown()


@pytest.mark.parametrize(("line", "code", "words"), MISTAKES)
def test_a_mistake_gives_one_clear_message(run, files, line: str, code: int, words: str):
    arguments = [word.format(**files) for word in line.split()]
    outcome = run(*arguments)
    assert outcome.code == code, outcome
    assert outcome.out == ""
    assert outcome.err.startswith("Error: ")
    assert words.format(**files) in outcome.err
    assert "Traceback" not in outcome.err
    assert "bug" not in outcome.err

    outcome = run(*arguments, "--json")
    assert outcome.code == code, outcome
    error = json.loads(outcome.out)["error"]
    assert set(error) == {"code", "kind", "message"}
    assert words.format(**files) in error["message"]
    assert error["code"].startswith(("EC1", "EC0002"))


def test_a_mistake_in_the_environment(run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ENGINECRATE_HTTP_PORT", "eighty")
    outcome = run("doctor")
    assert outcome.code == 2
    assert "ENGINECRATE_HTTP_PORT must be a whole number" in outcome.err


def test_the_real_program_ends_with_the_code(program):
    outcome = program("build", "--json")
    assert outcome.code == 3
    assert json.loads(outcome.out)["error"]["code"] == "EC1101"
    assert outcome.err == ""
