"""A server of our own for a load run, on a free port, gone with the run."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from enginecrate.errors import ModelNotReady, ServerUnreachable
from enginecrate.values import Progress

__all__ = ["own_server"]

_PROGRAM = "from enginecrate.cli.main import main; raise SystemExit(main())"
_START_SECONDS = 600.0
_STOP_SECONDS = 15.0
_LOOK_SECONDS = 0.1
_KEPT_LINES = 20


@contextmanager
def own_server(project: Path, settings_file: Path | None, progress: Progress) -> Iterator[str]:
    """A server of the project that is ready. Gives its URL.

    Raises:
        ServerUnreachable: it ended instead of becoming ready; the message has its words.
        ModelNotReady: it did not become ready in time.
    """
    words = ["serve", "--project", str(project), "--host", "127.0.0.1", "--http-port", "0",
             "--json", "--log-level", "warning", "--log-format", "text",
             "--log-stream", "stderr"]  # fmt: skip
    if settings_file is not None:
        words += ["--settings", str(settings_file)]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    process = subprocess.Popen(  # noqa: S603 (our own interpreter and program)
        [sys.executable, "-P", "-c", _PROGRAM, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C ends the run, and then the run ends the server
    )
    output = _Output(process)
    try:
        url = output.address()
        _wait(process, url, output, progress)
        yield url
    finally:
        _stop(process)
        output.read_all()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


class _Output:
    """The output of the server: JSON documents for us, and its log, of which the end is kept."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._documents = _documents(process.stdout)
        self._log: deque[str] = deque(maxlen=_KEPT_LINES)
        self._reader = threading.Thread(
            target=self._log.extend, args=(process.stderr,), daemon=True
        )
        self._reader.start()

    def address(self) -> str:
        """The URL that it announces. Raises `ServerUnreachable`: it ended instead."""
        first = next(self._documents, {})
        if "url" not in first:
            raise self.ended(first)
        url: str = first["url"]
        return url

    def ended(self, last: dict[str, Any] | None = None) -> ServerUnreachable:
        """The reason why it ended. `last`: the document that says it; else it is read."""
        self.read_all()
        document = next(self._documents, {}) if last is None else last
        words = document.get("error", {}).get("message") or "".join(self._log).strip()
        return ServerUnreachable(
            f"the server ended while it started: {words or 'nothing was said'}"
        )

    def read_all(self) -> None:
        """Wait for the end of its log."""
        self._reader.join()


def _documents(output: IO[str] | None) -> Iterator[dict[str, Any]]:
    text = ""
    for line in output or ():
        text += line
        if line.startswith("}"):
            yield json.loads(text)
            text = ""


def _wait(process: subprocess.Popen[str], url: str, output: _Output, progress: Progress) -> None:
    until = time.monotonic() + _START_SECONDS
    progress("start the server", 0, 0)
    while not _is_ready(url):
        if process.poll() is not None:
            raise output.ended()
        if time.monotonic() > until:
            raise ModelNotReady(f"the server was not ready after {_START_SECONDS:g} s")
        time.sleep(_LOOK_SECONDS)


def _is_ready(url: str) -> bool:
    """Raises `ModelNotReady` when it never will be."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/v2/health/ready")
            answer = connection.getresponse()
            body = json.loads(answer.read())
        except (OSError, ValueError, http.client.HTTPException):
            return False
    if body.get("state") in ("failed", "degraded"):
        raise ModelNotReady(f"the server will never be ready: {body.get('reason')}")
    return bool(answer.status == http.client.OK)


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
