"""Real server processes on free ports, and the small projects that they serve."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from server_process import Launcher, RunningServer
from tiny_projects import GATED_PIPELINE, Gate, scale_model, write_project, write_tiny_project

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture(scope="session")
def session_launcher(tmp_path_factory) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path_factory.mktemp("servers"))
    yield launcher
    launcher.close()


@pytest.fixture
def launch(tmp_path, session_launcher) -> Iterator[Launcher]:
    """Starts servers for one test. They share the session's cache of plans."""
    launcher = Launcher(tmp_path, session_launcher.front_ends)
    launcher.folder = tmp_path
    (tmp_path / "cache").symlink_to(_made(session_launcher.folder / "cache"))
    yield launcher
    launcher.close()


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def sample_server(session_launcher) -> RunningServer:
    """The detection sample, ready."""
    return session_launcher(SAMPLES / "detection", max_body_bytes=8 * 1024 * 1024)


@pytest.fixture(scope="session")
def tiny_server(session_launcher, tmp_path_factory) -> RunningServer:
    """A tiny model without a pipeline: see `write_tiny_project`."""
    project = write_tiny_project(tmp_path_factory.mktemp("tiny"))
    return session_launcher(project, max_body_bytes=1024 * 1024)


@pytest.fixture
def photo() -> Callable[[str], bytes]:
    """The bytes of a golden sample of the detection sample."""
    return lambda name: (SAMPLES / "detection" / "golden" / name).read_bytes()


@pytest.fixture
def gated(tmp_path) -> Iterator[tuple[Path, Gate]]:
    """A project whose pipeline waits for the test."""
    project = write_project(tmp_path / "gated", scale_model(), pipeline='module = "gated:Pipeline"')
    (project / "gated.py").write_text(GATED_PIPELINE)
    os.mkfifo(project / "gate")
    gate = Gate(project / "gate")
    yield project, gate
    gate.open()
