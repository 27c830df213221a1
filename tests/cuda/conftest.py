from pathlib import Path

import pytest

from fake_driver import FakeDriver, compiled


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver's library without a GPU."""
    return compiled("cuda.c", tmp_path_factory.mktemp("driver") / "libcuda.so.1")


@pytest.fixture
def fake(library: Path) -> FakeDriver:
    return FakeDriver(library)
