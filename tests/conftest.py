"""Fixtures that several packages share."""

from collections.abc import Iterator

import pytest

from containers import Podman, Registry, running_registry


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """podman with a storage of this test run."""
    tools = Podman(tmp_path_factory.mktemp("podman"))
    yield tools
    tools.close()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry without authentication; every test uses repositories of its own."""
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running
