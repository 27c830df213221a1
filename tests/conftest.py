"""Fixtures that several packages share."""

import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from containers import Podman, Registry, running_registry
from sample_image import TAG, build_sample_image


@pytest.fixture(scope="session", autouse=True)
def signals_that_arrive() -> None:
    """Lets the signals of a terminal reach the processes that tests start.

    A test run in the background (`nohup`, `&` of a script) inherits that they are ignored, and
    every child would inherit it from there: no test could then interrupt one. A handler is not
    inherited. This process goes on ignoring all but Ctrl-C, which tests send to itself, too.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            is_ctrl_c = number is signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_ctrl_c else ignore)


def ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing about a signal."""


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
