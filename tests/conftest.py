"""Fixtures that several packages share."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from containers import Podman, Registry, running_registry
from sample_image import TAG, build_sample_image


@pytest.fixture(scope="session", autouse=True)
def ctrl_c() -> None:
    """Lets Ctrl-C reach this process and those that tests start.

    A test run in the background (`nohup`, `&` of a script) inherits that SIGINT is ignored, and
    every child would inherit it from there: no test could then interrupt one.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
