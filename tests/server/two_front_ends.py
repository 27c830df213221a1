"""Tests of one process once more, against servers with two front ends.

A test module takes the tests of others over, and has the fixtures of this one. Their names are
those of `conftest`, so that a test need not know which kind of server it has.
"""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from server_process import Launcher, RunningServer
from tiny_projects import write_tiny_project

FRONT_ENDS = 2
SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture(scope="module")
def session_launcher(tmp_path_factory) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path_factory.mktemp("servers"), FRONT_ENDS)
    yield launcher
    launcher.close()


@pytest.fixture(scope="module")
def sample_server(session_launcher) -> RunningServer:
    return session_launcher(SAMPLES / "detection", max_body_bytes=8 * 1024 * 1024)


@pytest.fixture(scope="module")
def tiny_server(session_launcher, tmp_path_factory) -> RunningServer:
    project = write_tiny_project(tmp_path_factory.mktemp("tiny"))
    return session_launcher(project, max_body_bytes=1024 * 1024)


FIXTURES = {"session_launcher": session_launcher, "sample_server": sample_server,
            "tiny_server": tiny_server}  # fmt: skip


def taken_over(*modules: ModuleType, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Names for a module: everything of others but some tests, and the fixtures."""
    names: dict[str, Any] = {}
    for module in modules:
        for name, value in vars(module).items():
            if name.startswith("__") or name in without:
                continue
            if name.startswith("test_") and callable(value):
                assert name not in names, f"two tests are called {name}"
            names[name] = value
    return names | FIXTURES
