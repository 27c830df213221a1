from collections.abc import Iterator
from pathlib import Path

import pytest

from running import SAMPLES, RunningServer, serving


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def detector(cache: Path) -> Iterator[RunningServer]:
    with serving(SAMPLES / "detection", cache) as server:
        yield server


@pytest.fixture(scope="module")
def classifier(cache: Path) -> Iterator[RunningServer]:
    with serving(SAMPLES / "classification", cache) as server:
        yield server
