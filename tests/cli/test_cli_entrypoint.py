"""The program as an image's entry point."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from enginecrate.cli.entrypoint import as_verb
from enginecrate.server.healthcheck import check_health
from enginecrate.settings import OTHER_VARIABLES, SETTINGS, unknown_variables
from namespaces import FirstProcess, as_init, first_process

SOURCE = Path(__file__).parents[2] / "src" / "enginecrate"
ENTRY = [sys.executable, "-c", "import sys\nfrom enginecrate.cli.entrypoint import main\n"
         "sys.exit(main())"]  # fmt: skip
CALIBRATE = ["calibrate", "--use", "--require-volume"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("", "serve"),
        ("--http-port 9000", "serve --http-port 9000"),
        ("--debug", "--debug serve"),
        ("--debug --http-port 9000", "--debug serve --http-port 9000"),
        ("serve --host ::", "serve --host ::"),
        ("--doctor --json", "doctor --json"),
        ("--bench", "bench"),
        ("--bench=http://server:8000 --duration 3", "bench http://server:8000 --duration 3"),
        ("--verify REF", "verify REF"),
        ("predict photo.jpg", "predict photo.jpg"),
        ("--version", "--version"),
        ("--healthcheck", "--healthcheck"),
        ("--help", "--help"),
        ("-h", "-h"),
    ],
)
def test_what_a_command_line_means(given: str, meant: str):
    assert as_verb(given.split()) == meant.split()


@pytest.mark.parametrize("given", ["--calibrate /data", "--calibrate=/data", "calibrate /data"])
def test_calibrate_means_an_engine_that_is_kept(given: str):
    assert as_verb(given.split()) == [*CALIBRATE, "/data"]


@pytest.fixture
def sleeper() -> Iterator[FirstProcess]:
    """Init with a child that waits for a signal."""
    script = "import signal\nprint('up', flush=True)\nwhile True: signal.pause()"
    with first_process(as_init(script)) as process:
        assert process.line() == "up"
        yield process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_a_signal_to_process_1_ends_the_program(sleeper: FirstProcess, number: int):
    sleeper.send(number)
    assert sleeper.end() == (128 + number, "")


def test_a_handler_in_the_program_gets_the_signal_once():
    script = (
        "import signal, sys, time\n"
        "seen = []\n"
        "def interrupted(*_):\n"
        "    seen.append('int')\n"
        "    print('interrupted', flush=True)\n"
        "signal.signal(signal.SIGINT, interrupted)\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(len(seen)))\n"
        "print('up', flush=True)\n"
        "while True: time.sleep(0.02)\n"
    )
    with first_process(as_init(script)) as process:
        assert process.line() == "up"
        process.send(signal.SIGINT)
        assert process.line() == "interrupted"
        process.send(signal.SIGTERM)
        assert process.end() == (1, "")


@pytest.mark.parametrize("code", [0, 3, 255])
def test_the_exit_code_is_the_programs(code: int):
    with first_process(as_init(f"import sys\nsys.exit({code})")) as process:
        assert process.end() == (code, "")


def test_a_program_that_is_killed_is_told_as_shells_do():
    with first_process(
        as_init("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    ) as process:
        assert process.end() == (137, "")


ORPHANS = """
import os, pathlib, threading
orphans = []
for _ in range(3):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0)
        os.write(writer, str(grandchild).encode())
        os._exit(0)
    os.waitpid(child, 0)
    orphans.append(os.read(reader, 20).decode())
left = orphans
for _ in range(1000):
    left = [pid for pid in orphans if pathlib.Path('/proc', pid).exists()]
    if not left:
        break
    threading.Event().wait(0.01)
print('left', left)
"""


def test_orphans_are_buried():
    with first_process(as_init(ORPHANS)) as process:
        assert process.end() == (0, "left []\n")


def test_without_init_they_are_not():
    """The test before would pass without any init if somebody else did it."""
    script = ORPHANS.replace("range(1000)", "range(20)")
    with first_process([sys.executable, "-c", script]) as process:
        assert re.search(r"left \['\d+', '\d+', '\d+'\]", process.end()[1])


def test_process_1_serves_logs_json_on_stdout_and_stops(
    project: Path, cache_dir: Path, tmp_path: Path
):
    file = tmp_path / "settings.toml"
    file.write_text('log_stream = "stdout"\nlog_format = "text"\nhttp_port = 1\n')
    variables = {
        "ENGINECRATE_SETTINGS": str(file),
        "ENGINECRATE_HTTP_PORT": "0",
        "ENGINECRATE_CACHE_DIR": str(cache_dir),
        "ENGINECRATE_HTPP_PORT": "9",
    }
    with first_process([*ENTRY, "--log-format", "json"], project, **variables) as process:
        records = []
        while not records or not records[-1]["message"].startswith("serving with"):
            records.append(json.loads(process.line()))
        assert records[0]["level"] == "warning"
        assert "ENGINECRATE_HTPP_PORT is no setting" in records[0]["message"]
        assert "did you mean 'ENGINECRATE_HTTP_PORT'" in records[0]["message"]
        url = next(record["url"] for record in records if "url" in record)
        photo = project.parent / "red.png"
        from PIL import Image

        Image.new("RGB", (20, 10), "red").save(photo)
        answer = httpx.post(f"{url}/v1/predict", content=photo.read_bytes()).json()
        assert answer["results"][0]["classes"][0]["label"] == "red"
        parent = Path(f"/proc/{process.pid}/status").read_text()
        resident = int(re.search(r"VmRSS:\s+(\d+) kB", parent)[1])
        assert resident < 20_000, "init has imported too much"
        process.send(signal.SIGTERM)
        code, rest = process.end()
        assert code == 0
        assert json.loads(rest.splitlines()[-1])["message"] == "stopped"


def test_an_error_that_ends_the_server_is_in_the_log_too(tmp_path: Path, project: Path):
    (project / "enginecrate.toml").write_text("[app]\n")
    done = subprocess.run(
        ENTRY, cwd=project, capture_output=True, text=True, timeout=60,
        env={**os.environ, "ENGINECRATE_LOG_STREAM": "stdout", "ENGINECRATE_HTTP_PORT": "0"},
    )  # fmt: skip
    assert done.returncode != 0
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["level"], last["code"]) == ("error", re.search(r"\[(EC\d+)\]", done.stderr)[1])


def test_a_settings_file_that_is_wrong_is_an_error(tmp_path: Path, project: Path):
    for text, words in (("http_prt = 1", "did you mean 'http_port'"), ("= 1", "not valid TOML")):
        file = tmp_path / "settings.toml"
        file.write_text(text)
        done = subprocess.run(
            ENTRY, cwd=project, capture_output=True, text=True, timeout=60,
            env={**os.environ, "ENGINECRATE_SETTINGS": str(file)},
        )  # fmt: skip
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr


def test_every_variable_of_ours_is_known():
    """A variable that somebody adds to the code, and not to the table, would bring a warning."""
    texts = (file.read_text(encoding="utf-8") for file in SOURCE.rglob("*.py"))
    used = {name for text in texts for name in re.findall(r"\bENGINECRATE_[A-Z_]*[A-Z]\b", text)}
    assert used <= OTHER_VARIABLES | {setting.environment for setting in SETTINGS}
    assert unknown_variables(dict.fromkeys(used, "")) == []
    (words,) = unknown_variables({"ENGINECRATE_LOG_FORMT": "json", "OTHER": "1"})
    assert "did you mean 'ENGINECRATE_LOG_FORMAT'" in words


PROGRAM = "/opt/enginecrate/bin/enginecrate"
COMMAND_LINES = [
    [PROGRAM, "--http-port", "PORT"],
    ["/sbin/docker-init", "--", PROGRAM, "serve", "--http-port=PORT"],
    ["python3.11", "-I", PROGRAM, "--settings", "FILE"],
]


def test_the_health_check_finds_the_servers_port(project: Path, tmp_path: Path, capsys):
    file, command, none = (tmp_path / name for name in ("settings.toml", "cmdline", "none"))
    with first_process([*ENTRY, "--http-port", "0", "--log-stream", "stdout"], project) as process:
        record: dict = {}
        port = 0
        while not record.get("message", "").startswith("serving with"):
            record = json.loads(process.line())
            port = record.get("port", port)
        file.write_text(f"http_port = {port}\n")
        for words in COMMAND_LINES:
            line = [word.replace("PORT", str(port)).replace("FILE", str(file)) for word in words]
            command.write_bytes("\0".join([*line, ""]).encode())
            assert check_health({}, command) == 0
        assert check_health({"ENGINECRATE_HTTP_PORT": str(port)}, none) == 0
        assert check_health({}, none) == 1  # port 8000: no server is there
        command.write_bytes(f"/bin/other\0--http-port\0{port}\0".encode())
        assert check_health({}, command) == 1
    assert check_health({"ENGINECRATE_HTTP_PORT": "0"}, none) == 1
    assert "any free port" in capsys.readouterr().err


def test_the_health_check_imports_next_to_nothing():
    script = (
        "import sys\n"
        "from enginecrate.cli.entrypoint import main\n"
        "main(['--healthcheck'])\n"
        "heavy = ('http.client', 'httpx', 'msgspec', 'numpy', 'onnx', 'onnxruntime', 'typer')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_calibrate_refuses_a_cache_that_is_lost_before_it_works(project: Path, tmp_path: Path):
    """Bound to a folder of its own in a mount namespace, the same cache is taken."""
    photos = tmp_path / "my photos"
    cache = tmp_path / "volume"
    for folder in (photos, cache):
        folder.mkdir()
    script = f'mount -t tmpfs tmpfs {cache} && exec "$@"'
    refused = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *ENTRY, "--calibrate", str(photos)],
        cwd=project, capture_output=True, text=True, timeout=60,
        env={**os.environ, "ENGINECRATE_CACHE_DIR": str(cache), "ENGINECRATE_IMAGE": "isv/app:v1"},
    )  # fmt: skip
    assert refused.returncode == 4, refused.stderr
    assert "is in memory (tmpfs)" in refused.stderr
    shown = re.search(r"^  ((docker|podman) run .*)$", refused.stderr, re.MULTILINE)
    assert shlex.split(shown[1])[1:] == [
        "run", "--rm", "-v", f"enginecrate-cache:{cache}", "-v", f"HOST_FOLDER:{photos}:ro",
        "isv/app:v1", "--calibrate", str(photos),
    ]  # fmt: skip
    assert "in place of HOST_FOLDER" in refused.stderr
    bound = script.replace("-t tmpfs tmpfs", f"--bind {shutil.copytree(photos, tmp_path / 'kept')}")
    taken = subprocess.run(
        ["unshare", "--mount", "sh", "-c", bound, "sh", *ENTRY, "--calibrate", str(photos)],
        cwd=project, capture_output=True, text=True, timeout=60,
        env={**os.environ, "ENGINECRATE_CACHE_DIR": str(cache)},
    )  # fmt: skip
    assert "holds no photos" in taken.stderr  # it came as far as that
