import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import enginecrate

PROGRAM = Path(sys.executable).with_name("enginecrate")
HEAVY = ("httpx", "ml_dtypes", "msgspec", "numpy", "onnx", "onnxruntime", "PIL", "rich", "uvloop")


def test_version(program):
    assert program("--version").out == f"enginecrate {enginecrate.__version__}\n"


def test_no_argument_shows_the_verbs(run):
    outcome = run()
    assert outcome.code == 0
    for verb in ("init", "doctor", "build", "serve", "predict", "golden", "manifest"):
        assert f"\n  {verb} " in outcome.out


@pytest.mark.parametrize(
    "verb",
    ["init", "doctor", "build", "serve", "predict", "golden record", "golden check",
     "manifest check", "manifest schema"],
)  # fmt: skip
def test_every_verb_has_help_with_examples_and_json(run, verb: str):
    outcome = run(*verb.split(), "--help")
    assert outcome.code == 0
    assert "Examples:\n" in outcome.out
    assert f"    enginecrate {verb}" in outcome.out
    assert "--json" in outcome.out


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["serve", "--help"]])
def test_a_quick_start_loads_nothing_heavy(arguments: list[str]):
    script = (
        "import sys\n"
        "from enginecrate.cli.main import main\n"
        f"main({arguments!r})\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr == "[]\n"


def test_a_reader_that_goes_away_ends_it_without_a_word():
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [PROGRAM, "manifest", "schema"], stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    os.close(reader)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (141, b"")


def test_interrupt_ends_it_without_a_word(photos: Path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [PROGRAM, "predict", photos / "red.png", "--url", url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        connection, _ = silent.accept()
        with connection:
            connection.recv(10)
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30) == (b"", b"")
    assert process.returncode == 130


def test_debug_shows_the_traceback_wherever_it_stands(run, monkeypatch: pytest.MonkeyPatch):
    for arguments in (["--debug", "manifest", "check"], ["manifest", "check", "--debug"]):
        outcome = run(*arguments)
        assert outcome.code == 3
        assert "Traceback" in outcome.err
    monkeypatch.setenv("ENGINECRATE_DEBUG", "1")
    assert "Traceback" in run("manifest", "check").err
    monkeypatch.setenv("ENGINECRATE_DEBUG", "0")
    assert "Traceback" not in run("manifest", "check").err


def test_a_bug_of_ours_is_called_one(tmp_path: Path):
    # A real one: a package of ours that is damaged on disk.
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import sys\nsys.modules['enginecrate.stacks.machine.machine'] = object()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(broken)}
    done = subprocess.run([PROGRAM, "doctor"], capture_output=True, text=True, env=environment)
    assert done.returncode == 70
    assert "this is a bug in enginecrate" in done.stderr
    assert "--debug" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_no_bug_of_ours():
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run(
            [PROGRAM, "manifest", "schema"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 6
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
