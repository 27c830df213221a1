"""The front end process: what it holds, and what it leaves to the engine process."""

import subprocess
import sys

import pytest

HEAVY = ("onnx", "onnxruntime", "google.protobuf", "httpx", "rich", "typer", "jinja2")


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("enginecrate.server.processes.front_end", HEAVY),
        ("enginecrate.server.processes.supervisor", (*HEAVY, "numpy", "PIL")),
    ],
)
def test_processes_import_only_what_they_need(module: str, without: tuple[str, ...]):
    code = f"import sys, {module}; print([name for name in {without!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
