"""A real browser before real servers: both samples, and a tiny app that takes tensors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request

from browsers import running_browser
from doubler_project import image_project, tensors_project
from running import SAMPLES, serving


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


class Watched:
    """A page, with all that it asked for and complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.outside: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _on_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("blob", "data") and parts.hostname != "127.0.0.1":
            self.outside.append(request.url)


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    """A fresh page. Whatever a test does with it: nothing leaves this machine."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, service_workers="block")
    context.set_default_timeout(20_000)
    watched = Watched(context.new_page())
    yield watched
    context.close()
    assert watched.outside == []


@pytest.fixture
def page(watched: Watched) -> Iterator[Page]:
    """A page that must not complain, either."""
    yield watched.page
    assert watched.complaints == []


@pytest.fixture(scope="session")
def photos() -> Path:
    return SAMPLES / "detection/golden"


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def detection_url(cache: Path) -> Iterator[str]:
    with serving(SAMPLES / "detection", cache) as server:
        yield server.url


@pytest.fixture(scope="session")
def classification_url(cache: Path) -> Iterator[str]:
    with serving(SAMPLES / "classification", cache) as server:
        yield server.url


@pytest.fixture(scope="session")
def tensors_url(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An app that doubles three numbers; it has no golden samples."""
    project = tensors_project(tmp_path_factory.mktemp("tensors") / "doubler")
    with serving(project, cache) as server:
        yield server.url


@pytest.fixture(scope="session")
def image_url(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An app that answers the tensors of photos; it has no golden samples."""
    with serving(image_project(tmp_path_factory.mktemp("image") / "means"), cache) as server:
        yield server.url


@pytest.fixture(scope="session")
def failed_url(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same app, with a golden sample that expects something else."""
    project = tensors_project(tmp_path_factory.mktemp("failed") / "doubler")
    golden = project / "golden"
    golden.mkdir(exist_ok=True)
    np.savez(golden / "ones.npz", x=np.ones((1, 3), np.float32))
    output = {"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [7.0, 7.0, 7.0]}
    sample = {"input": "ones.npz", "expected": {"outputs": [output]}}
    (golden / "golden.json").write_text(json.dumps({"format": 1, "samples": [sample]}))
    with serving(project, cache) as server:
        yield server.url
