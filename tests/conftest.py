"""Fixtures that several packages share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from containers import Podman, Registry, running_registry
from sample_image import TAG, build_sample_image


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


@pytest.fixture(scope="session")
def built_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout with the sample detector's image for `ort-cpu`; nobody changes it."""
    return build_sample_image(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="session")
def loaded_image(podman: Podman, built_image: Path) -> str:
    """The id of that image in the storage of `podman`."""
    return podman.run("pull", "--quiet", f"oci:{built_image}:{TAG}").stdout.strip()
